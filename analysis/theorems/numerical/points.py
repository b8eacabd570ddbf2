"""Where oracles are compared, and in what units."""

from __future__ import annotations

import numpy as np

from ....dynamics import Problem
from ....dynamics.types import Array

__all__ = ["random_point", "relative_error"]


def random_point(problem: Problem, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return theta, interior weights, and a direction of the weights of size at most w."""
    rng = np.random.default_rng([seed, problem.num_samples, problem.num_params])
    w = rng.dirichlet(np.full(problem.num_samples, 2.0))
    theta = rng.standard_normal(problem.num_params) / np.sqrt(problem.num_params)
    return theta, w, w * rng.uniform(-1.0, 1.0, size=w.size)


def relative_error(a: Array, b: Array) -> float:
    """Return the largest difference in units of the largest entry."""
    return float(np.abs(a - b).max() / np.abs(b).max())
