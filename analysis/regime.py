r"""Which regime a pair of rates is in: one dimensionless axis for all methods."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from ..dynamics import Problem, SoftmaxRegression, checks
from ..dynamics.types import Array
from .optimality import checked_problem, checked_weights

__all__ = ["rate_ratio", "smallest_curvature"]

DENSE = 2000
NETWORK_TOLERANCE = 1e-3
"""Relative accuracy of the smallest eigenvalue where H may be indefinite."""


def spread_of(psi: Array, w: Array) -> float:
    r"""Return :math:`\mathrm{sd}_w(\Psi)`, the standard deviation of a field ``(n,)`` under w."""
    return float(np.sqrt((w * (psi - w @ psi) ** 2).sum()))


def smallest_curvature(problem: Problem, theta: Array, w: Array) -> float:
    r"""Return :math:`\lambda_{\min}(H(\theta, w))` at one point.

    For softmax regression it is exactly the ridge: adding one vector to all classes changes no
    probability. Otherwise from the dense Hessian, or by Lanczos iterations for p > 2000 (to
    three digits for networks).

    Parameters
    ----------
    theta : (p,)
    w : (n,)
        Any finite weights.

    Raises
    ------
    ValueError, TypeError
        For wrong shapes or a problem that does not hold NumPy arrays.
    """
    problem = checked_problem(problem, "smallest_curvature")
    w = checks.array("w", w, shape=(problem.num_samples,))
    theta = checks.array("theta", theta, shape=(problem.num_params,))
    return softest_direction(problem, theta, w)[0]


def softest_direction(problem: Problem, theta: Array, w: Array) -> tuple[float, np.ndarray]:
    """Return the smallest eigenvalue of H(theta, w) and a unit eigenvector ``(p,)``."""
    p = problem.num_params
    if isinstance(problem, SoftmaxRegression):
        vector = np.zeros((p // problem.num_classes, problem.num_classes))
        vector[0] = problem.num_classes**-0.5
        return problem.ridge, vector.ravel()
    if p <= DENSE:
        columns = problem.hvp(theta, w, np.eye(p))
        values, vectors = np.linalg.eigh(columns)
        return float(values[0]), vectors[:, 0]
    product = problem.hvp_at(theta, w)
    operator = LinearOperator((p, p), matvec=product, dtype=np.float64)
    tol = 0.0 if problem.is_convex else NETWORK_TOLERANCE
    start = np.cos(np.arange(p))  # SciPy's own is random
    values, vectors = eigsh(operator, k=1, which="SA", tol=tol, v0=start)
    return float(values[0]), np.asarray(vectors[:, 0])


def rate_ratio(
    problem: Problem, alpha: Any, beta: Any, w: Array | None = None, theta: Array | None = None
) -> float:
    r"""Return the dimensionless ratio R of the speed of the weights to that of theta.

    .. math::

        R = \frac{\beta\,\mathrm{sd}_w(\Psi)}{\alpha\,\lambda_{\min}(H)}, \qquad
        \mathrm{sd}_w(\Psi) = \sqrt{\Psi^\top P(w)\,\Psi},

    at :math:`(\theta^\star(w), w)` with w uniform by default, or at a given theta. R << 1: theta
    follows the weights and the exact flow is recovered; R >> 1: the weights run ahead on a frozen
    theta and collapse.

    Parameters
    ----------
    problem : Problem
        With ``theta_star``.
    alpha, beta : float
        Speeds, or the steps rho and eta of an algorithm: only their ratio counts.
    w : (n,), optional
    theta : (p,), optional
        For problems without ``theta_star``, and for networks, where it takes long. R is infinite
        where H is not positive definite.

    Raises
    ------
    ValueError
        For rates that are not positive, or a problem without ``theta_star`` where theta is not
        given.
    ConvergenceError
        When an inner solve fails.
    """
    needs = ("theta_star",) if theta is None else ()
    problem = checked_problem(problem, "rate_ratio", *needs)
    alpha, beta = checks.positive("alpha", alpha), checks.nonnegative("beta", beta)
    uniform = np.full(problem.num_samples, 1.0 / problem.num_samples)
    w = uniform if w is None else checked_weights(problem, w)
    if theta is None:
        theta = problem.theta_star(w)
    else:
        theta = checks.array("theta", theta, shape=(problem.num_params,))
    psi = problem.hypergradient(theta, w, tol=1e-8)
    spread = spread_of(psi, w)
    curvature = smallest_curvature(problem, theta, w)
    return beta * spread / (alpha * curvature) if curvature > 0 else float("inf")
