"""Losses of all saved states, for engines that keep theta and theta_star and no weights."""

from __future__ import annotations

import numpy as np

from ..problems import LeastSquares
from ..statistics import describe_theta
from ..types import Array

__all__ = ["losses"]

CHUNK_NUMBERS = 100_000
"""Residuals on the validation samples at a time."""


def losses(problem: LeastSquares, theta: Array, theta_star: Array) -> dict[str, np.ndarray]:
    """Return ``val_loss``, ``test_loss`` where known, and ``outer_loss``; all (cells, saves).

    Parameters
    ----------
    theta, theta_star : (cells, saves, p)
    """
    cells, saves, p = theta.shape
    theta, theta_star = theta.reshape(-1, p), theta_star.reshape(-1, p)
    rows = max(1, CHUNK_NUMBERS // problem.num_val)
    parts: dict[str, list[np.ndarray]] = {}
    with np.errstate(all="ignore"):
        for start in range(0, cells * saves, rows):
            part = slice(start, start + rows)
            values = describe_theta(problem, theta[part])
            values["outer_loss"] = problem.val_loss(theta_star[part])
            for name, value in values.items():
                parts.setdefault(name, []).append(value)
    return {name: np.concatenate(part).reshape(cells, saves) for name, part in parts.items()}
