r"""The linearised warm-started flow in coordinates of the tangent space (theory T7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dynamics import checks
from ...dynamics.types import Array
from .points import checked_point, checked_state

__all__ = ["joint_jacobian", "simplex_tangent", "transversal_rates"]


def simplex_tangent(num_samples: int) -> np.ndarray:
    r"""Return an orthonormal basis of the tangent space of the simplex.

    .. math:: E^\top E = I, \qquad 1^\top E = 0

    Parameters
    ----------
    num_samples : int
        n >= 1.

    Returns
    -------
    (n, n-1)
        Helmert's contrasts: column k compares sample k + 1 with the mean of those before it.
    """
    n = checks.integer("num_samples", num_samples, minimum=1)
    E = np.triu(np.ones((n, n - 1)))
    k = np.arange(1, n)
    E[k, k - 1] = -k
    return E / np.sqrt(k * (k + 1.0))


def joint_jacobian(problem: Any, theta: Array, w: Array, alpha: float, beta: float) -> np.ndarray:
    r"""Return the Jacobian of the warm-started flow on the parameters times the simplex.

    With :math:`a = -\Psi = \Gamma v`, rows :math:`(x_i\cdot v)\,x_i` of K, and
    :math:`\delta v = H^{-1}(\nabla^2 F\,\delta\theta - K^\top\delta w)`,

    .. math::

        \delta\theta' &= -\alpha\,(H\,\delta\theta + J\,\delta w), \\
        \delta w' &= \beta\,\bigl[(a - \langle w, a\rangle)\odot\delta w - w\,\langle a, \delta w
        \rangle + P(w)\,(K\,\delta\theta + \Gamma\,\delta v)\bigr] .

    Theory T7. The weights themselves, not their logarithms, are the coordinates, so that absent
    samples have their eigenvalues too. At a rest point these are :func:`transversal_rates`, and
    the matrix is block triangular: first the face, then the absent samples.

    Parameters
    ----------
    problem : LeastSquares
    theta : (p,)
    w : (n,)
        Normalised first; zeros are allowed as long as H has full rank.
    alpha, beta : float
        Speeds per unit of time, >= 0.

    Returns
    -------
    (p+n-1, p+n-1)
        For :math:`(\delta\theta, s)` with :math:`\delta w = E s`, E of :func:`simplex_tangent`;
        units 1/time. The block ``[p:, p:]`` is the Jacobian of the flow at frozen theta.

    Raises
    ------
    ValueError, TypeError
        For wrong shapes, negative speeds or weights, or another problem.
    """
    alpha, beta = checks.nonnegative("alpha", alpha), checks.nonnegative("beta", beta)
    problem, theta, w = checked_point(problem, theta, w, "joint_jacobian")
    E = simplex_tangent(problem.num_samples)
    H, v = problem.hessian(theta, w), problem.adjoint(theta, w)
    gamma, K = problem.per_sample_grads(theta), problem.per_sample_hvp(theta, v)
    a = gamma @ v
    by_theta = K + gamma @ problem.solve_columns(H, problem.val_hessian)
    by_w = -gamma @ problem.solve_columns(H, K.T @ E)
    moved = (a - w @ a)[:, None] * E - np.outer(w, a @ E) + _spread(w, by_w)
    return np.block([
        [-alpha * H, -alpha * (gamma.T @ E)],
        [beta * (E.T @ _spread(w, by_theta)), beta * (E.T @ moved)],
    ])  # fmt: skip


def _spread(w: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return P(w) times columns."""
    result: np.ndarray = w[:, None] * (columns - w @ columns)
    return result


def transversal_rates(problem: Any, theta: Array, w: Array, beta: float) -> np.ndarray:
    r"""Return the rates at which absent samples come in (positive) or die out (negative).

    .. math:: \frac{d}{dt}\log w_i = \beta\,(c - \Psi_i), \qquad c = \langle w, \Psi\rangle

    Theory T7: at a rest point they are eigenvalues of the flow, with theta moving or frozen.

    Parameters
    ----------
    problem : Problem
        With NumPy arrays; any losses.
    theta : (p,)
    w : (n,)
        Absent are the samples with a weight of exactly zero.
    beta : float
        Speed of the weights per unit of time, >= 0.

    Returns
    -------
    (k,)
        For the k absent samples in their order; units 1/time.

    Raises
    ------
    ValueError, TypeError
        For wrong shapes, a negative speed or weights, or what is no problem.
    """
    beta = checks.nonnegative("beta", beta)
    problem, theta, w = checked_state(problem, theta, w, "transversal_rates")
    psi = problem.hypergradient(theta, w)
    rates: np.ndarray = beta * (w @ psi - psi)[w == 0]
    return rates
