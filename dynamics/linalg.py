"""Linear algebra shared by everything above: the one conjugate gradient, and dense SPD solves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from .types import Array, Namespace

__all__ = ["CGResult", "SingularMatrixError", "apply_last", "cg", "norm", "solve_spd"]


class CGResult(NamedTuple):
    """What :func:`cg` returns: the last iterate, its residual and how it went."""

    x: Array
    """(..., p), the last iterate."""
    residual: Array
    """(...), norm of ``b - A x`` relative to the norm of b (as updated by the recursion)."""
    converged: bool
    """Whether every system reached the tolerance."""
    num_iterations: int
    """Products with A, beyond the one that a non-zero guess costs."""


def apply_last(a: Array, matrix: Array) -> Array:
    """Return ``a @ matrix`` for a ``(..., k)`` and matrix ``(k, l)`` as one matrix product."""
    xp = array_namespace(a, matrix)
    flat = xp.reshape(a, (-1, a.shape[-1])) @ matrix
    return xp.reshape(flat, (*a.shape[:-1], matrix.shape[-1]))


def norm(a: Array) -> Array:
    """Return the Euclidean norm over the last axis, kept: shape ``(..., 1)``."""
    xp = array_namespace(a)
    return xp.sqrt(xp.sum(a * a, axis=-1, keepdims=True))


def cg(
    matvec: Callable[[Array], Array],
    b: Array,
    *,
    guess: Array | None = None,
    tol: float = 1e-12,
    max_iterations: int | None = None,
) -> CGResult:
    """Solve ``A x = b`` for symmetric positive definite A by conjugate gradients.

    Leading axes are independent systems; a system that has converged is frozen, so that the others
    do not change it. Hestenes and Stiefel (1952).

    Parameters
    ----------
    matvec : callable
        ``v (..., p) -> A v (..., p)``.
    b : (..., p)
        Right-hand sides.
    guess : (..., p), optional
        First iterate; zero when left out.
    tol : float
        A system is done when its residual is at most ``tol`` times the norm of its b.
    max_iterations : int, optional
        Cap; ``10 p`` when left out, since round-off delays the p-step termination.

    Returns
    -------
    CGResult
        Never raises on non-convergence: the caller decides what it means.
    """
    xp = array_namespace(b)
    cap = 10 * b.shape[-1] if max_iterations is None else max_iterations
    x = xp.zeros_like(b) if guess is None else xp.broadcast_to(guess, b.shape) + xp.zeros_like(b)
    r = b + xp.zeros_like(b) if guess is None else b - matvec(x)
    scale = norm(b)
    goal = (tol * scale) ** 2
    d = r
    rr = xp.sum(r * r, axis=-1, keepdims=True)
    zero = xp.zeros_like(rr)
    count = 0
    while count < cap and bool(xp.any(rr > goal)):
        active = rr > goal
        Ad = matvec(d)
        curvature = xp.sum(d * Ad, axis=-1, keepdims=True)
        active = active & (curvature > 0)
        if not bool(xp.any(active)):
            break
        step = xp.where(active, rr / xp.where(active, curvature, zero + 1.0), zero)
        x = x + step * d
        r = r - step * Ad
        rr_new = xp.where(active, xp.sum(r * r, axis=-1, keepdims=True), rr)
        ratio = xp.where(active, rr_new / xp.where(active, rr, zero + 1.0), zero)
        d = xp.where(active, r + ratio * d, xp.zeros_like(d))
        rr = rr_new
        count += 1
    residual = xp.sqrt(rr) / xp.where(scale > 0, scale, zero + 1.0)
    return CGResult(x, residual[..., 0], bool(xp.all(rr <= goal)), count)


class SingularMatrixError(np.linalg.LinAlgError):
    """A matrix that should be positive definite is singular."""


def solve_spd(H: Array, B: Array, *, may_be_singular: bool = False) -> Array:
    """Solve ``H X = B`` for symmetric positive (semi)definite H, per leading axis.

    Parameters
    ----------
    H : (..., p, p)
    B : (..., p, k)
        Columns to solve for.
    may_be_singular : bool
        Whether H can lack rank (ridge 0). Whether it does is decided after scaling its diagonal to
        one, so that features of different units do not matter: a smallest eigenvalue of at most
        ``p eps`` then means the solution of minimum norm in the least-squares sense.

    Returns
    -------
    (..., p, k)

    Raises
    ------
    SingularMatrixError
        When a matrix is exactly singular and ``may_be_singular`` is False.
    """
    xp = array_namespace(H, B)
    lead = np.broadcast_shapes(tuple(H.shape[:-2]), tuple(B.shape[:-2]))
    H = xp.broadcast_to(H, (*lead, *H.shape[-2:]))
    B = xp.broadcast_to(B, (*lead, *B.shape[-2:]))
    if not may_be_singular:
        return _solve(xp, H, B)
    diagonal = xp.linalg.diagonal(H)
    scale = 1.0 / xp.sqrt(xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal)))
    scaled = scale[..., :, None] * H * scale[..., None, :]
    cutoff = H.shape[-1] * float(xp.finfo(H.dtype).eps)
    smallest = xp.min(xp.linalg.eigvalsh(scaled), axis=-1)
    full_rank = (smallest > cutoff)[..., None, None]
    identity = xp.eye(H.shape[-1], dtype=H.dtype, device=H.device)
    direct = _solve(xp, xp.where(full_rank, scaled, identity), scale[..., None] * B)
    direct = scale[..., None] * direct
    if bool(xp.all(full_rank)):
        return direct
    return xp.where(full_rank, direct, _minimum_norm(xp, H, B, cutoff))


def _minimum_norm(xp: Namespace, H: Array, B: Array, cutoff: float) -> Array:
    """Return pinv(H) B, leaving out eigenvalues below ``cutoff`` times the largest."""
    eigenvalues, vectors = xp.linalg.eigh(H)
    largest = xp.max(xp.abs(eigenvalues), axis=-1, keepdims=True)
    keep = eigenvalues > cutoff * largest
    inverse = xp.where(keep, 1.0 / xp.where(keep, eigenvalues, 1.0), 0.0)
    return vectors @ (inverse[..., None] * (xp.matrix_transpose(vectors) @ B))


def _solve(xp: Namespace, H: Array, B: Array) -> Array:
    """Solve by factorisation; every library's own error for a singular matrix becomes one."""
    try:
        return xp.linalg.solve(H, B)
    except Exception as error:
        if "LinAlgError" not in type(error).__name__:
            raise
        raise SingularMatrixError("the inner Hessian is singular; raise `ridge`.") from None
