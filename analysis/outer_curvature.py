r"""How strongly h curves along the weights: what the outer step has to be measured by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from ..dynamics import Problem, checks
from ..dynamics.linalg import cg
from ..dynamics.methods.stationary import differences
from ..dynamics.problems import DENSE_LIMIT
from ..dynamics.types import Array
from .optimality import checked_problem, checked_weights

__all__ = ["outer_curvature"]

TOLERANCE = 1e-6
"""Relative accuracy of the eigenvalue."""


def outer_curvature(problem: Problem, w: Array | None = None, theta: Array | None = None) -> float:
    r"""Return the largest curvature of h along the weights in the metric P(w), at any point.

    .. math::

        \kappa_{\max} = \lambda_{\max}\bigl(D^\top J^\top H^{-1}\,\nabla^2 F\,H^{-1} J D\bigr)
        = \lambda_{\max}\bigl(H^{-1} C H^{-1}\nabla^2 F\bigr), \qquad
        P(w) = D D^\top,\; C = J P(w) J^\top .

    The first matrix is the part of the Hessian of :math:`h(w) = F(\theta^\star(w))` without second
    derivatives of :math:`\theta^\star`; at a solved point, where grad F = 0, it is all of it, and
    the value is the largest of :func:`~warmflow.analysis.stability.kappa`. There the simultaneous
    algorithm needs ``eta kappa < 1`` and the exact one ``eta kappa < 2`` (theory T7c). Elsewhere
    it is the scale of the outer step: it does not change when theta is expressed in other units,
    and it is blind to directions of theta that neither the losses nor F feel, unlike the ratio R
    with its :math:`\lambda_{\min}(H)`.

    Lanczos iterations in n dimensions with products alone; each takes two solves with H.

    Parameters
    ----------
    problem : Problem
        With an inner Hessian that is positive definite at the point.
    w : (n,), optional
        Non-negative, normalised first; uniform when left out.
    theta : (p,), optional
        ``problem.initial_theta(w)``, that is theta_star(w) where it exists, when left out.

    Returns
    -------
    float
        In units of 1/eta; 0 where no weight moves F to second order.

    Raises
    ------
    ValueError, TypeError
        For wrong shapes, or a problem that does not hold NumPy arrays.
    """
    problem = checked_problem(problem, "outer_curvature")
    n, p = problem.num_samples, problem.num_params
    w = np.full(n, 1.0 / n) if w is None else checked_weights(problem, w)
    w = checks.array("w", w, shape=(n,))
    theta = problem.initial_theta(w) if theta is None else theta
    theta = checks.array("theta", theta, shape=(p,))
    solve, curve = _inverse(problem, theta, w), partial(differences(problem.val_grad), theta)
    nothing = problem.train_grad(theta, np.zeros(n))
    root = np.sqrt(w)

    def centre(x: np.ndarray) -> np.ndarray:
        return np.asarray(root * (x - root * (root @ x)))

    def product(x: np.ndarray) -> np.ndarray:
        moved = solve(problem.train_grad(theta, centre(x.ravel())) - nothing)
        pulled = problem.per_sample_jvp(theta, solve(curve(moved))) * root
        return np.asarray(pulled - root * (root @ pulled))

    start = np.cos(np.arange(n))  # SciPy's own is random
    if not np.any(product(start)):
        return 0.0
    if n < 3:  # one direction, which Lanczos iterations cannot start from
        columns = np.stack([product(column) for column in np.eye(n)])
        return float(np.linalg.eigvalsh(0.5 * (columns + columns.T))[-1])
    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    values = eigsh(operator, k=1, which="LA", tol=TOLERANCE, v0=start, return_eigenvectors=False)
    return max(float(values[0]), 0.0)


def _inverse(problem: Problem, theta: Array, w: Array) -> Callable[[Array], Array]:
    """Return ``b -> H^{-1} b``: dense where that is cheap, else by conjugate gradients."""
    if "hessian" in problem.capabilities and problem.num_params <= DENSE_LIMIT:
        H = problem.hessian(theta, w)
        return lambda b: problem.solve(H, b)
    multiply = problem.hvp_at(theta, w)
    return lambda b: cg(multiply, b, tol=1e-8).x
