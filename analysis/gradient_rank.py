r"""How many directions the weights feel: the rank of the per-sample gradients (theory T5)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..dynamics import Problem, checks
from ..dynamics.types import Array
from .optimality import checked_problem

__all__ = ["GradientRank", "gradient_rank"]


@dataclass(frozen=True)
class GradientRank:
    r"""The spectrum of the centred per-sample gradients at one theta.

    Attributes
    ----------
    rank : int
        Singular values above ``tol`` times the largest: :math:`r = \mathrm{rank}[\Gamma, 1] - 1`.
    effective : float
        :math:`\exp(-\sum_k q_k\log q_k)` with :math:`q_k = \sigma_k^2/\sum_j\sigma_j^2`, between 1
        and ``rank`` (0 where all gradients are equal).
    singular_values : (min(n, p),)
        In decreasing order, in units of the gradients.
    tol : float
        Relative size from which on a singular value counts.
    """

    rank: int
    effective: float
    singular_values: np.ndarray = field(repr=False)
    tol: float


def gradient_rank(problem: Problem, theta: Array, *, tol: float | None = None) -> GradientRank:
    r"""Return the numerical and the effective rank of the per-sample gradients.

    .. math:: \Gamma - \tfrac1n 1 1^\top\Gamma = \sum_k \sigma_k\, a_k b_k^\top, \qquad
              \Gamma = J(\theta)^\top

    A constant that is added to :math:`\Gamma v` moves no weight, so the mean gradient is taken
    away first; the rank of what is left is that of :math:`[\Gamma, 1]`, less one. At frozen theta
    and fast weights at most so many distinct samples keep weight, where the gradients are in
    general position and H is invertible (theory T5). The effective rank is the exponential of the
    entropy of the squared singular values (Roy and Vetterli 2007, for squares).

    Parameters
    ----------
    problem : Problem
        With NumPy arrays; ``problem.to(xp=numpy)`` for a network.
    theta : (p,)
    tol : float, optional
        ``max(n, p)`` times the machine epsilon when left out.

    Raises
    ------
    ValueError, TypeError
        For a theta of the wrong shape, or a problem that does not hold NumPy arrays.
    """
    problem = checked_problem(problem, "gradient_rank")
    theta = checks.array("theta", theta, shape=(problem.num_params,))
    gamma = problem.per_sample_grads(theta)
    if tol is None:
        tol = max(gamma.shape) * float(np.finfo(gamma.dtype).eps)
    tol = checks.positive("tol", tol)
    size = float(np.abs(gamma).max(initial=0.0))
    # Round-off of the mean must not pass for a direction where all gradients are equal.
    values = np.linalg.svd(gamma - gamma.mean(axis=0), compute_uv=False)
    floor = max(gamma.shape) * float(np.finfo(gamma.dtype).eps) * size
    if values[0] <= floor:
        return GradientRank(0, 0.0, values, tol)
    share = (values / values[0]) ** 2
    share = share / share.sum()
    positive = share[share > 0]
    effective = float(np.exp(-(positive * np.log(positive)).sum()))
    return GradientRank(int((values > tol * values[0]).sum()), effective, values, tol)
