"""Losses of all saved states, for engines that keep theta and theta_star and no weights.

Each state is summed by itself, in one order: matrix products would round a state differently beside
other states, and a cell must not depend on which cells share its chunk.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..compiling import compile_cached
from ..problems import LeastSquares
from ..types import Array

__all__ = ["losses"]

LANES = 64
"""Samples whose squares are summed side by side."""


def losses(problem: LeastSquares, theta: Array, theta_star: Array) -> dict[str, np.ndarray]:
    """Return ``val_loss``, ``test_loss`` where known, and ``outer_loss``; all (cells, saves).

    Parameters
    ----------
    theta, theta_star : (cells, saves, p)
    """
    val = problem.X_val, problem.y_val
    out = {"val_loss": _risks(*val, theta)}
    if problem.X_test is not None:
        out["test_loss"] = _risks(problem.X_test, problem.y_test, theta)
    return {**out, "outer_loss": _risks(*val, theta_star)}


def _risks(X: Array, y: Array, theta: Array) -> np.ndarray:
    """Return half the mean square of ``X theta - y`` of each state, (cells, saves)."""
    m, p = X.shape
    padded = np.zeros((p + 1, -(-m // LANES) * LANES))
    padded[:p, :m], padded[p, :m] = X.T, y
    states = np.ascontiguousarray(theta, dtype=np.float64).reshape(-1, p)
    sums = np.empty(states.shape[0])
    _kernel()(padded, states, np.empty((2, LANES)), sums)
    return (0.5 / m * sums).reshape(theta.shape[:-1]).astype(theta.dtype, copy=False)


@lru_cache(maxsize=1)
def _kernel() -> Any:
    def sums_of_squares(padded, states, lanes, sums):  # type: ignore[no-untyped-def]
        p = padded.shape[0] - 1
        residuals, squares = lanes[0], lanes[1]
        for b in range(states.shape[0]):
            squares[:] = 0.0
            for i in range(0, padded.shape[1], LANES):
                for j in range(LANES):
                    residuals[j] = -padded[p, i + j]
                for k in range(p):
                    for j in range(LANES):
                        residuals[j] += states[b, k] * padded[k, i + j]
                for j in range(LANES):
                    squares[j] += residuals[j] * residuals[j]
            total = 0.0
            for j in range(LANES):
                total += squares[j]
            sums[b] = total

    return compile_cached(sums_of_squares)
