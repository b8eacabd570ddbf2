r"""Which pairs of steps (rho, eta) hold a solved point: theory T7c.

The one-step maps of the warm-started algorithm, linearised in the coordinates (delta theta, x) of
:mod:`~warmflow.analysis.stability.oscillator`, with :math:`N = C H^{-1}\nabla^2 F`:

==================  =========================================================================
order               one step
==================  =========================================================================
``simultaneous``    theta+ = theta - rho (H theta + x),   x+ = x + eta N theta
``theta_first``     theta+ as above,                      x+ = x + eta N theta+
``w_first``         theta+ = theta - rho (H theta + x+),  x+ = x + eta N theta
``exact``           theta = -H^{-1} x,                    x+ = x + eta N theta
==================  =========================================================================

``theta_first`` and ``w_first`` do the same two half steps in turn, so their spectra are equal.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.linalg import eigvalsh

from ...dynamics import checks
from ...dynamics.types import Array
from .points import SolvedPoint, solved_point

__all__ = ["ORDERS", "kappa", "learning_rate_limits", "spectral_radius", "update_matrix"]

ORDERS = ("simultaneous", "theta_first", "w_first", "exact")
"""Orders of the two updates; ``exact`` solves the inner problem at every step."""

COMMUTE = 1e-8
"""Largest off-diagonal entry, relative to the matrix, of what counts as simultaneously diagonal."""


def kappa(problem: Any, theta: Array, w: Array) -> np.ndarray:
    r"""Return the curvatures of h across the manifold of solved points, in the metric P(w).

    .. math:: \kappa = \mathrm{eig}\bigl(H^{-1} C H^{-1}\nabla^2 F\bigr), \qquad C = J P(w) J^\top

    A product of two positive semidefinite matrices: all are real and >= 0, whether or not H, C and
    the Hessian of F commute. The exact algorithm holds the point iff ``eta max(kappa) < 2``
    (theory T7c).

    Parameters
    ----------
    problem : LeastSquares
    theta : (p,)
        With grad F(theta) = 0.
    w : (n,)
        With grad_theta G(theta, w) = 0; zeros are allowed.

    Returns
    -------
    (p,)
        In increasing order, in units of 1/eta.

    Raises
    ------
    ValueError, TypeError
        For a point that is not solved, or another problem.
    """
    return curvatures(solved_point(problem, theta, w, "kappa"))


def curvatures(point: SolvedPoint) -> np.ndarray:
    """Return :func:`kappa` from the symmetric form of its matrix."""
    values, vectors = np.linalg.eigh(point.B)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    inner = np.linalg.solve(point.H, root)
    return np.maximum(eigvalsh(inner.T @ point.C @ inner), 0.0)


def update_matrix(
    problem: Any,
    theta: Array,
    w: Array,
    rho: float,
    eta: float,
    order: str = "simultaneous",
    num_inner_steps: int = 1,
) -> np.ndarray:
    r"""Return the linearised one-step map of the warm-started algorithm at a solved point.

    Parameters
    ----------
    problem : LeastSquares
    theta : (p,)
    w : (n,)
        A solved point, as for :func:`kappa`.
    rho, eta : float
        Inner and outer step, >= 0; ``order="exact"`` has no use for rho.
    order : {"simultaneous", "theta_first", "w_first", "exact"}
    num_inner_steps : int
        T, steps of theta at fixed weights for each step of the weights.

    Returns
    -------
    (2p, 2p), or (p, p) for ``"exact"``
        In the coordinates (delta theta, x), or x. All other directions keep the eigenvalue 1: they
        move along the manifold of solved points.

    Raises
    ------
    ValueError, TypeError
        For a point that is not solved, negative steps, fewer than one inner step or an unknown
        order.
    """
    rho, eta = checks.nonnegative("rho", rho), checks.nonnegative("eta", eta)
    checks.choice("order", order, ORDERS)
    T = checks.integer("num_inner_steps", num_inner_steps, minimum=1)
    return one_step(solved_point(problem, theta, w, "update_matrix"), rho, eta, order, T)


def one_step(
    point: SolvedPoint, rho: float, eta: float, order: str, num_inner_steps: int = 1
) -> np.ndarray:
    """Return the matrix of :func:`update_matrix`."""
    eye, zero = np.eye(point.H.shape[0]), np.zeros_like(point.H)
    if order == "exact":
        result: np.ndarray = (
            eye - eta * point.C @ np.linalg.solve(point.H, np.linalg.solve(point.H, point.B).T).T
        )
        return result
    theta_step = np.block([[eye - rho * point.H, -rho * eye], [zero, eye]])
    theta_step = np.linalg.matrix_power(theta_step, num_inner_steps)
    x_step = np.block([[eye, zero], [eta * point.N, eye]])
    if order == "theta_first":
        return x_step @ theta_step
    if order == "w_first":
        return theta_step @ x_step
    return theta_step + x_step - np.eye(len(theta_step))


def spectral_radius(
    problem: Any,
    theta: Array,
    w: Array,
    rho: float,
    eta: float,
    order: str = "simultaneous",
    num_inner_steps: int = 1,
) -> float:
    """Return the largest size of an eigenvalue of :func:`update_matrix`, for any matrices.

    The algorithm returns to the manifold of solved points where it is below 1. Arguments and errors
    are those of :func:`update_matrix`.
    """
    return radius(update_matrix(problem, theta, w, rho, eta, order, num_inner_steps))


def radius(matrix: np.ndarray) -> float:
    """Return the largest size of an eigenvalue."""
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def learning_rate_limits(
    problem: Any, theta: Array, w: Array, rho: float, order: str = "simultaneous"
) -> tuple[float, float]:
    r"""Return the open interval of outer steps eta at which a solved point is stable.

    For every common mode of H, C and the Hessian of F, with eigenvalue h of H and kappa,

    .. math::

        \text{simultaneous:}\quad & \eta\kappa < 1,\quad \rho h\,(1 - \eta\kappa/2) < 2; \\
        \text{theta or w first:}\quad & \rho h < 2,\quad \eta\kappa < 4/(\rho h) - 2; \\
        \text{exact:}\quad & \eta\kappa < 2 .

    Theory T7c. Above ``rho h = 2`` the simultaneous algorithm also has a lower limit: it needs fast
    weights. The limit of the exact algorithm holds for all matrices.

    Parameters
    ----------
    problem : LeastSquares
    theta : (p,)
    w : (n,)
        A solved point, as for :func:`kappa`.
    rho : float
        Inner step, > 0; ``order="exact"`` has no use for it.
    order : {"simultaneous", "theta_first", "w_first", "exact"}

    Returns
    -------
    (low, high) : float
        ``high`` is infinite where all kappa are 0; ``(0, 0)`` says that no eta is stable.

    Raises
    ------
    ValueError, TypeError
        For a point that is not solved, a step that is not positive, an unknown order, or (but for
        ``"exact"``) matrices that do not commute: use :func:`spectral_radius` there.
    """
    rho = checks.positive("rho", rho)
    checks.choice("order", order, ORDERS)
    point = solved_point(problem, theta, w, "learning_rate_limits")
    if order == "exact":
        return 0.0, _ratio(2.0, float(curvatures(point)[-1]))
    h, k = common_modes(point)
    if order == "simultaneous":
        low = max(max(0.0, _ratio(2.0 - 4.0 / (rho * a), b)) for a, b in zip(h, k, strict=True))
        high = min(_ratio(1.0, b) for b in k)
    else:
        low = 0.0
        high = min(_ratio(4.0 / (rho * a) - 2.0, b) for a, b in zip(h, k, strict=True))
    return (low, high) if low < high else (0.0, 0.0)


def _ratio(size: float, k: float) -> float:
    """Return ``size / k``, infinite with the sign of ``size`` for k = 0."""
    return float(size / k) if k > 0 else math.copysign(math.inf, size)


def common_modes(point: SolvedPoint) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues of H and kappa, mode by mode; raise where the matrices do not commute."""
    parts = (point.H, point.C, point.B)
    sizes = [np.linalg.norm(part) or 1.0 for part in parts]
    # Irrational shares keep a sum of three commuting matrices from merging their modes.
    mixed = sum(
        part / size * np.sqrt(q) for part, size, q in zip(parts, sizes, (2, 3, 5), strict=True)
    )
    Q = np.linalg.eigh(mixed)[1]
    turned = [Q.T @ part @ Q for part in parts]
    worst = max(
        float(np.abs(part - np.diag(np.diag(part))).max() / size)
        for part, size in zip(turned, sizes, strict=True)
    )
    if worst > COMMUTE:
        raise ValueError(
            "`problem` must have commuting H, C and Hessian of F for closed limits; they miss a "
            f"common basis by {worst:.1e}: use spectral_radius."
        )
    h, c, b = (np.diag(part) for part in turned)
    return h, np.maximum(c * b, 0.0) / h**2
