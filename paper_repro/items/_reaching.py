"""When a run has reached a risk, and which runs are not beaten in both speed and sparsity."""

from __future__ import annotations

import numpy as np

from ...dynamics.types import Array

__all__ = ["first_step", "fit_exponent", "pareto", "settled_step"]


def settled_step(steps: Array, risk: Array, target: float) -> Array:
    """Return the first kept step from which on the risk stays at or below `target`.

    ``steps`` is ``(k,)``, ``risk`` ``(..., k)``; the result ``(...)`` is infinite where the last
    risk is above the target (or NaN).
    """
    is_low = risk <= target
    stays = np.flip(np.logical_and.accumulate(np.flip(is_low, -1), -1), -1)
    return _first(steps, stays)


def first_step(steps: Array, risk: Array, target: float) -> Array:
    """Return the first kept step with a risk at or below `target`; infinite where there is none."""
    return _first(steps, risk <= target)


def _first(steps: Array, holds: Array) -> Array:
    return np.where(holds.any(-1), np.asarray(steps, dtype=float)[holds.argmax(-1)], np.inf)


def pareto(cost: Array, gain: Array) -> Array:
    """Return the indices of the entries that no other beats, from cheap to dear.

    An entry is beaten by one that costs no more and gains no less, one of the two strictly.
    Entries of infinite cost are left out; of equal entries the first is kept.
    """
    order = np.lexsort((-gain, cost))
    best, kept = -np.inf, []
    for k in order:
        if np.isfinite(cost[k]) and gain[k] > best:
            kept.append(k)
            best = gain[k]
    return np.array(kept, dtype=int)


def fit_exponent(x: Array, y: Array) -> float:
    """Return the slope of log y against log x over the finite y; NaN for fewer than two."""
    known = np.isfinite(y)
    if known.sum() < 2:
        return float("nan")
    return float(np.polyfit(np.log(x[known]), np.log(y[known]), 1)[0])
