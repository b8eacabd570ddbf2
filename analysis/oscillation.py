"""Do the weights keep moving to and fro? A test on their path, not on one summary of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dynamics.simplex import ess
from ..dynamics.types import Array

__all__ = ["oscillation"]

AMPLITUDE = 0.05
"""Smallest l1 diameter of the last half of a path that counts as movement."""
TURNS = 2.5
"""How many times its own diameter a path must be long to count as to and fro."""
DECAY = 0.5
"""Largest fall of the diameter, from the third quarter to the last, that counts as sustained."""


def oscillation(history: Array, tail: Array | None) -> dict[str, Any]:
    """Return ``oscillating`` and its evidence for a history of weights.

    ``ess_median`` is the median effective sample size of the last half.

    The path of the weights oscillates when its last half is wide (l1 diameter over 0.05), winds
    (longer than 2.5 times its diameter) and does not die out (its last quarter not under half as
    wide as the one before); or when consecutive steps undo each other. ``moved`` is the largest l1
    distance from the start.

    Parameters
    ----------
    history : (k, n)
        Normalised weights at increasing times.
    tail : (j, n), optional
        Weights after the last consecutive steps, where the history has gaps.
    """
    quarter = max(len(history) // 4, 2)
    half, last, before = (
        history[-2 * quarter :],
        history[-quarter:],
        history[-2 * quarter : -quarter],
    )
    width, length = _diameter(half), _length(half)
    sustained = len(before) < 2 or _diameter(last) >= DECAY * _diameter(before)
    winds = len(last) >= 4 and width > AMPLITUDE and length > TURNS * width and sustained
    reversal = _reversal(history[-4:] if tail is None else tail)
    return {
        "moved": float(np.abs(history - history[0]).sum(axis=-1).max()),
        "ess_median": float(np.median(ess(half))),
        "path_width": width,
        "path_turns": length / width if width > 0 else 0.0,
        "step_reversal": reversal,
        "oscillating": bool(winds or reversal > AMPLITUDE),
    }


def _length(path: Array) -> float:
    """Return the l1 length of a path."""
    return float(np.abs(np.diff(path, axis=0)).sum())


def _diameter(path: Array) -> float:
    """Return the largest l1 distance from the first, last or middle point of a path."""
    if len(path) < 2:
        return 0.0
    anchors = path[[0, len(path) // 2, -1]]
    return float(max(np.abs(path - anchor).sum(axis=-1).max() for anchor in anchors))


def _reversal(steps: Array) -> float:
    """Return the l1 size of the last step if the step before it went the other way, else 0."""
    if len(steps) < 3:
        return 0.0
    new, old = steps[-1] - steps[-2], steps[-2] - steps[-3]
    size = np.linalg.norm(new) * np.linalg.norm(old)
    if size == 0 or (new @ old) / size > -0.5:
        return 0.0
    return float(np.abs(new).sum())
