r"""The reduced flow of least squares and its Jacobian, compiled (theory T8).

.. math::

    \theta' = -\alpha\,(M\theta - b + \lambda\theta), \qquad
    U' = \beta\, c(\theta, v), \qquad (M + \lambda I)\, v = \nabla F(\theta),

with :math:`M = E_w[x x^\top]`, :math:`b = E_w[y x]` and, for the Jacobian,
:math:`dE_w[\phi] = \mathrm{Cov}_w(\phi)\,dU`.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from ..compiling import INNER
from ..tilting import LOG2E, add_shares, block_sums, combine, covariance_sums
from .dense import cholesky, cholesky_solve

__all__ = ["Data", "Work", "field", "jacobian", "make_work"]


class Data(NamedTuple):
    """What all cells share; read only.

    Attributes
    ----------
    rows, log2_w0 : (K, d, R), (K, R)
        As :func:`~warmflow.dynamics.tilting.pack` returns them.
    position : (p, p)
        Place of ``x_a x_b`` among the features.
    val_hessian, val_target : (p, p), (p,)
        grad F = val_hessian theta - val_target.
    ridge : float
    """

    rows: np.ndarray
    log2_w0: np.ndarray
    position: np.ndarray
    val_hessian: np.ndarray
    val_target: np.ndarray
    ridge: float


class Work(NamedTuple):
    """Room for one thread: the law at the last state, the adjoint there, and scratch."""

    w: np.ndarray
    top: np.ndarray
    sums: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    part: np.ndarray
    shares: np.ndarray
    cov: np.ndarray
    U2: np.ndarray
    factor: np.ndarray
    v: np.ndarray
    column: np.ndarray
    dv: np.ndarray


def make_work(data: Data) -> Work:
    """Return uninitialised room for one thread."""
    num_blocks, d, size = data.rows.shape
    p = data.val_target.size
    return Work(
        np.empty((num_blocks, size)),
        np.empty(num_blocks),
        np.empty((num_blocks, d + 1)),
        np.empty(num_blocks),
        np.empty(d),
        np.empty((1, size)),
        np.empty((d, d)),
        np.empty((d, d)),
        np.empty(d),
        np.empty((p, p)),
        np.empty(p),
        np.empty(p),
        np.empty((p, p + d)),
    )


@numba.njit(**INNER)
def field(data, alpha, beta, z, out, work):  # type: ignore[no-untyped-def]
    """Write dz/dt; return whether the inner system could be solved."""
    position, val_hessian, val_target = data.position, data.val_hessian, data.val_target
    U2, mean, factor, v = work.U2, work.mean, work.factor, work.v
    p = v.size
    for f in range(U2.size):
        U2[f] = z[p + f] * LOG2E
    block_sums(data.rows, data.log2_w0, U2, 0, work.top.size, work.w, work.top, work.sums)
    combine(work.top, work.sums, work.scale, mean)
    first_b = U2.size - p
    for a in range(p):
        slope, gradient = data.ridge * z[a] - mean[first_b + a], -val_target[a]
        for b in range(p):
            moment = mean[position[a, b]]
            factor[a, b] = moment
            slope += moment * z[b]
            gradient += val_hessian[a, b] * z[b]
        factor[a, a] += data.ridge
        v[a] = gradient
        out[a] = -alpha * slope
    if not cholesky(factor):
        return False
    cholesky_solve(factor, v)
    f = p
    for a in range(p):
        out[f] = beta * z[a] * v[a]
        f += 1
        for b in range(a + 1, p):
            out[f] = beta * (z[a] * v[b] + z[b] * v[a])
            f += 1
    for a in range(p):
        out[f + a] = -beta * v[a]
    return True


@numba.njit(**INNER)
def jacobian(data, alpha, beta, z, out, work):  # type: ignore[no-untyped-def]
    """Write the Jacobian at the state where :func:`field` was evaluated last."""
    position, val_hessian, ridge = data.position, data.val_hessian, data.ridge
    mean, cov, factor, v = work.mean, work.cov, work.factor, work.v
    dv, column = work.dv, work.column
    p, d = v.size, mean.size
    _covariance(data.rows, work)
    for a in range(p):
        for b in range(p):
            out[a, b] = -alpha * mean[position[a, b]]
            dv[a, b] = val_hessian[a, b]
        out[a, a] -= alpha * ridge
        for f in range(d):
            moved_theta, moved_v = -cov[f, d - p + a], 0.0
            for b in range(p):
                entry = cov[f, position[a, b]]
                moved_theta += entry * z[b]
                moved_v += entry * v[b]
            out[a, p + f] = -alpha * moved_theta
            dv[a, p + f] = -moved_v
    for k in range(p + d):
        for a in range(p):
            column[a] = dv[a, k]
        cholesky_solve(factor, column)
        _coefficients_derivative(beta, z, v, column, k, out)


@numba.njit(**INNER)
def _covariance(rows, work):  # type: ignore[no-untyped-def]
    """Fill ``cov``, block by block: all shares at once would take as much as the features."""
    for f in range(rows.shape[1]):
        for g in range(rows.shape[1]):
            work.cov[f, g] = 0.0
    for k in range(rows.shape[0]):
        covariance_sums(rows, work.w, work.scale, work.mean, k, k + 1, work.part, work.shares)
        add_shares(work.shares, work.cov)


@numba.njit(**INNER)
def _coefficients_derivative(beta, z, v, dv, k, out):  # type: ignore[no-untyped-def]
    """Write column k of d(beta c(theta, v)), where v moves by dv and theta_k, if any, by 1."""
    p = v.size
    f = p
    for a in range(p):
        moved = 1.0 if a == k else 0.0
        out[f, k] = beta * (z[a] * dv[a] + moved * v[a])
        f += 1
        for b in range(a + 1, p):
            value = z[a] * dv[b] + z[b] * dv[a]
            if a == k:
                value += v[b]
            if b == k:
                value += v[a]
            out[f, k] = beta * value
            f += 1
    for a in range(p):
        out[f + a, k] = -beta * dv[a]
