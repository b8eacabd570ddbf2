"""Linear algebra shared by everything above: the one conjugate gradient, and dense SPD solves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_cupy_namespace, is_jax_namespace

from .types import Array, Namespace

__all__ = [
    "CGResult",
    "SingularMatrixError",
    "apply_last",
    "cg",
    "cg_within",
    "norm",
    "solve_each",
    "solve_spd",
]


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
    cap = 10 * b.shape[-1] if max_iterations is None else max_iterations
    if b.ndim == 1:
        return _cg_single(matvec, b, guess, tol, cap)
    run = _ConjugateGradients(matvec, b, guess, tol)
    xp, count = run.xp, 0
    while count < cap and bool(xp.any(run.active)):
        run.iterate()
        count += 1
    return CGResult(run.x, run.residual, bool(xp.all(run.solved)), count)


def cg_within(
    matvec: Callable[[Array], Array],
    b: Array,
    *,
    guess: Array,
    tol: float,
    budget: int,
) -> tuple[Array, Array, Array]:
    """Conjugate gradients without a decision on the host: exactly ``budget`` iterations.

    Systems that are done are frozen, as in :func:`cg`, so that more iterations than needed change
    nothing. Nothing waits for the device.

    Returns
    -------
    x : (..., p)
    solved : bool (...)
        Which systems reached the tolerance.
    used : int (...)
        Iterations that each system took.
    """
    run = _ConjugateGradients(matvec, b, guess, tol)
    used = run.xp.zeros(run.active.shape, dtype=run.xp.int64, device=b.device)
    for _ in range(budget):
        used = used + run.xp.astype(run.active, run.xp.int64)
        run.iterate()
    return run.x, run.solved[..., 0], used[..., 0]


def solve_each(H: Array, b: Array, *, may_be_singular: bool = False) -> tuple[Array, Array]:
    """Solve ``H_k x_k = b_k`` for all k; a singular system harms no other.

    Parameters
    ----------
    H : (A, p, p)
    b : (A, p)
    may_be_singular : bool
        Whether H is semidefinite and can lack rank (ridge 0). Whether it does is then decided as in
        :func:`solve_spd`: a pivot of exactly zero would be luck of rounding.

    Returns
    -------
    x : (A, p)
        Anything where a system is singular.
    solved : bool (A,)
        Which systems are regular, or have no pivot of exactly zero. Numbers that are not finite
        solve to such.
    """
    xp = array_namespace(H, b)
    if may_be_singular:
        sound = xp.all(xp.isfinite(H), axis=(-2, -1))
        regular = (_scaled(xp, H)[2] | ~sound)[..., None, None]
        identity = xp.eye(H.shape[-1], dtype=H.dtype, device=H.device)
        x, solved = solve_each(xp.where(regular, H, identity), b)
        return x, solved & regular[..., 0, 0]
    if hasattr(xp.linalg, "solve_ex"):  # torch, which would wait for the device to raise
        x, info = xp.linalg.solve_ex(H, b[..., None])
        return x[..., 0], info == 0
    try:
        x = _solve(xp, H, b[..., None])[..., 0]
    except SingularMatrixError:
        return _solve_one_by_one(xp, H, b)
    if is_cupy_namespace(xp) or is_jax_namespace(xp):  # they neither raise nor wait
        sound = xp.all(xp.isfinite(H), axis=(-2, -1)) & xp.all(xp.isfinite(b), axis=-1)
        return x, xp.all(xp.isfinite(x), axis=-1) | ~sound
    return x, xp.ones(b.shape[:-1], dtype=xp.bool, device=b.device)


def _solve_one_by_one(xp: Namespace, H: Array, b: Array) -> tuple[Array, Array]:
    """Solve system by system, where a library gives up all of them for one; zeros for that one."""
    rows, solved = [], []
    for k in range(b.shape[0]):
        try:
            rows.append(_solve(xp, H[k, ...], b[k, :, None])[:, 0])
            solved.append(True)
        except SingularMatrixError:
            rows.append(xp.zeros_like(b[k, :]))
            solved.append(False)
    return xp.stack(rows), xp.asarray(solved, device=b.device)


class _ConjugateGradients:
    """The state of conjugate gradients on systems over leading axes, and one iteration."""

    def __init__(
        self, matvec: Callable[[Array], Array], b: Array, guess: Array | None, tol: float
    ) -> None:
        xp = self.xp = array_namespace(b)
        self._matvec = matvec
        zero = xp.zeros_like(b)
        self.x = zero if guess is None else xp.broadcast_to(guess, b.shape) + zero
        self._r = b + zero if guess is None else b - matvec(self.x)
        self._scale = norm(b)
        self._goal = (tol * self._scale) ** 2
        self._d = self._r
        self._rr = xp.sum(self._r * self._r, axis=-1, keepdims=True)
        self.active = self._rr > self._goal

    def iterate(self) -> None:
        """Move the active systems; one with a direction of no curvature is given up."""
        xp = self.xp
        Ad = self._matvec(self._d)
        curvature = xp.sum(self._d * Ad, axis=-1, keepdims=True)
        active = self.active & (curvature > 0)
        zero, one = xp.zeros_like(curvature), xp.ones_like(curvature)
        step = xp.where(active, self._rr / xp.where(active, curvature, one), zero)
        self.x = self.x + step * self._d
        self._r = self._r - step * Ad
        new = xp.where(active, xp.sum(self._r * self._r, axis=-1, keepdims=True), self._rr)
        ratio = xp.where(active, new / xp.where(active, self._rr, one), zero)
        self._d = xp.where(active, self._r + ratio * self._d, xp.zeros_like(self._d))
        self._rr = new
        self.active = active & (new > self._goal)

    @property
    def solved(self) -> Array:
        """Which systems reached the tolerance, ``(..., 1)``."""
        return self._rr <= self._goal

    @property
    def residual(self) -> Array:
        """The norm of the residual relative to that of b, ``(...)``."""
        one = self.xp.ones_like(self._scale)
        return (self.xp.sqrt(self._rr) / self.xp.where(self._scale > 0, self._scale, one))[..., 0]


def _cg_single(
    matvec: Callable[[Array], Array], b: Array, guess: Array | None, tol: float, cap: int
) -> CGResult:
    """Do the same for one system: numbers instead of masks, which cost more than short products."""
    xp = array_namespace(b)
    x = xp.zeros_like(b) if guess is None else guess + xp.zeros_like(b)
    r = b + xp.zeros_like(b) if guess is None else b - matvec(x)
    scale = float(norm(b)[0])
    d, rr, goal, count = r, float(xp.sum(r * r)), (tol * scale) ** 2, 0
    while count < cap and rr > goal:
        Ad = matvec(d)
        curvature = float(xp.sum(d * Ad))
        if not curvature > 0:
            break
        x = x + (rr / curvature) * d
        r = r - (rr / curvature) * Ad
        last, rr = rr, float(xp.sum(r * r))
        d = r + (rr / last) * d
        count += 1
    residual = xp.asarray(rr**0.5 / (scale or 1.0), dtype=x.dtype, device=x.device)
    return CGResult(x, residual, rr <= goal, count)


class SingularMatrixError(np.linalg.LinAlgError):
    """A matrix that should be positive definite is singular."""


def solve_spd(H: Array, B: Array, *, may_be_singular: bool = False, may_wait: bool = True) -> Array:
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
    may_wait : bool
        Whether to ask the device if any matrix is singular at all, which saves work where none is.

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
    scaled, scale, full_rank = _scaled(xp, H)
    cutoff, full_rank = _cutoff(xp, H), full_rank[..., None, None]
    identity = xp.eye(H.shape[-1], dtype=H.dtype, device=H.device)
    direct = _solve(xp, xp.where(full_rank, scaled, identity), scale[..., None] * B)
    direct = scale[..., None] * direct
    if may_wait and bool(xp.all(full_rank)):
        return direct
    return xp.where(full_rank, direct, _minimum_norm(xp, H, B, cutoff))


def _cutoff(xp: Namespace, H: Array) -> float:
    """Return the size relative to one, or to the largest, from which on eigenvalues count."""
    return H.shape[-1] * float(xp.finfo(H.dtype).eps)


def _scaled(xp: Namespace, H: Array) -> tuple[Array, Array, Array]:
    """Return H with its diagonal scaled to one, the factors (..., p), and who has full rank (...).

    A matrix that is not finite has none; the eigenvalues of the others are not disturbed by it.
    """
    diagonal = xp.linalg.diagonal(H)
    scale = 1.0 / xp.sqrt(xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal)))
    scaled = scale[..., :, None] * H * scale[..., None, :]
    sound = xp.all(xp.isfinite(scaled), axis=(-2, -1))
    identity = xp.eye(H.shape[-1], dtype=H.dtype, device=H.device)
    spectrum = xp.linalg.eigvalsh(xp.where(sound[..., None, None], scaled, identity))
    return scaled, scale, sound & (xp.min(spectrum, axis=-1) > _cutoff(xp, H))


def _minimum_norm(xp: Namespace, H: Array, B: Array, cutoff: float) -> Array:
    """Return pinv(H) B, leaving out eigenvalues below ``cutoff`` times the largest."""
    sound = xp.all(xp.isfinite(H), axis=(-2, -1))[..., None, None]
    H = xp.where(sound, H, xp.zeros_like(H))
    eigenvalues, vectors = xp.linalg.eigh(H)
    largest = xp.max(xp.abs(eigenvalues), axis=-1, keepdims=True)
    keep = eigenvalues > cutoff * largest
    inverse = xp.where(keep, 1.0 / xp.where(keep, eigenvalues, 1.0), 0.0)
    solution = vectors @ (inverse[..., None] * (xp.matrix_transpose(vectors) @ B))
    return xp.where(sound, solution, xp.full_like(solution, float("nan")))


def _solve(xp: Namespace, H: Array, B: Array) -> Array:
    """Solve by factorisation; every library's own error for a singular matrix becomes one."""
    try:
        return xp.linalg.solve(H, B)
    except Exception as error:
        if "LinAlgError" not in type(error).__name__:
            raise
        raise SingularMatrixError("the inner Hessian is singular; raise `ridge`.") from None
