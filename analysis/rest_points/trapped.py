r"""Trapped points: stationary points of h on a face of the simplex where theta is not optimal.

On the face of a support S, a rest point of the exact flow, and with ``theta = theta_star(w)`` of
the warm-started one, solves (theory T6 b)

.. math:: \Psi_i(\theta^\star(w), w) = c \quad (i \in S), \qquad \sum_{i \in S} w_i = 1 .

For least squares the Hessian of h has the closed form

.. math::

    \nabla^2 h = K H^{-1}\Gamma^\top + \Gamma H^{-1} K^\top
    + \Gamma H^{-1}\,\nabla^2 F\,H^{-1}\Gamma^\top,
    \qquad \Gamma = J^\top, \quad K_i = \nabla^2 l_i\, v,

which makes Newton's method quadratic, and the inertia of the face's Hessian tells what the point
is. Where ``grad F != 0``, h is constant on a fibre of dimension at least ``|S| - p`` through w, so
that a regular Hessian has at least ``|S| - p`` eigenvalues of each sign, and ``|S| <= 2p - 1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...dynamics import LeastSquares, Problem, checks
from ...dynamics.types import Array
from ..optimality import checked_problem, checked_support
from ..stability.jacobian import simplex_tangent

__all__ = ["FacePoint", "face_hessian", "outer_hessian", "stationary_point_on_face"]

SOLVED = 1e-9
"""|grad F|, relative to its size at theta = 0 and at the point, below which a point is solved."""
DEGENERATE = 1e-9
"""Eigenvalue, relative to the largest, that counts as zero."""


@dataclass(frozen=True, kw_only=True)
class FacePoint:
    """Where Newton's method on a face ended, and what is there.

    Attributes
    ----------
    support : (k,) int
        The face, S.
    w : (n,)
        Weights, zero off the face.
    theta : (p,)
        ``theta_star(w)``.
    c : float
        The common value ``<w, Psi>``.
    residual : float
        Largest ``|Psi_i - c|`` on the face.
    converged : bool
        Whether the residual reached the tolerance with positive weights.
    grad_norm : float
        ``|grad F(theta)|``.
    solved : bool
        Whether grad F vanishes to round-off.
    eigenvalues : (k - 1,)
        Of the Hessian of h on the face, increasing.
    transversal : (n - k,)
        ``c - Psi_i`` of absent samples, in increasing i: positive where they can invade. Times
        beta, the rate.
    """

    support: np.ndarray
    w: np.ndarray
    theta: np.ndarray
    c: float
    residual: float
    converged: bool
    grad_norm: float
    solved: bool
    eigenvalues: np.ndarray
    transversal: np.ndarray

    @property
    def kind(self) -> str:
        """What it is: "not converged", "solved", or by the inertia on the face.

        "minimum", "maximum", "saddle" (strict) or "degenerate" (no negative eigenvalue, some zero).
        A vertex is a minimum of its own face.
        """
        if not self.converged:
            return "not converged"
        if self.solved:
            return "solved"
        size = np.abs(self.eigenvalues).max(initial=0.0)
        negative = (self.eigenvalues < -DEGENERATE * size).sum()
        positive = (self.eigenvalues > DEGENERATE * size).sum()
        if negative == 0:
            return "minimum" if positive == self.eigenvalues.size else "degenerate"
        return "saddle" if positive else "maximum"

    @property
    def attracting(self) -> bool:
        """Whether it is a strict minimum of its face that no absent sample can invade."""
        return self.kind == "minimum" and bool((self.transversal < 0).all())


def outer_hessian(problem: Problem, w: Array) -> np.ndarray:
    r"""Return the Hessian of :math:`h(w) = F(\theta^\star(w))` over all of R^n.

    .. math::

        \nabla^2 h = K H^{-1}\Gamma^\top + \Gamma H^{-1} K^\top
        + \Gamma H^{-1}\,\nabla^2 F\,H^{-1}\Gamma^\top

    Parameters
    ----------
    problem : LeastSquares
    w : (n,)
        Any weights at which H is regular.

    Returns
    -------
    (n, n)

    Raises
    ------
    TypeError
        For a problem that is not quadratic: third derivatives of the losses would enter.
    """
    problem = _quadratic(problem, "outer_hessian")
    w = checks.array("w", w, shape=(problem.num_samples,))
    theta = problem.theta_star(w)
    H, v = problem.hessian(theta, w), problem.adjoint(theta, w)
    K, gamma = problem.per_sample_hvp(theta, v), problem.per_sample_grads(theta)
    back = problem.solve_columns(H, gamma.T)
    cross = K @ back
    return np.asarray(cross + cross.T + back.T @ problem.val_hessian @ back)


def face_hessian(problem: Problem, w: Array, support: Sequence[int] | Array) -> np.ndarray:
    """Return the Hessian of h on a face, in an orthonormal basis of its tangent space.

    Parameters
    ----------
    problem : LeastSquares
    w : (n,)
    support : (k,) int
        The samples of the face.

    Returns
    -------
    (k - 1, k - 1)
        Its eigenvalues do not depend on the basis.
    """
    chosen = checked_support(support, problem.num_samples)
    basis = simplex_tangent(chosen.size)
    inner = outer_hessian(problem, w)[np.ix_(chosen, chosen)]
    return np.asarray(basis.T @ inner @ basis)


def stationary_point_on_face(
    problem: Problem,
    support: Sequence[int] | Array,
    w0: Array | None = None,
    *,
    tol: float = 1e-12,
    max_iterations: int = 60,
) -> FacePoint:
    r"""Find a stationary point of h on a face by Newton's method, from given weights.

    .. math:: \Psi_S(\theta^\star(w), w) = c\,\mathbf 1, \qquad \textstyle\sum_S w_i = 1,
              \qquad w_S > 0

    Steps stay inside the face and are halved until the residual falls, so that a start near a rest
    point finds it, whatever its stability. Steps of minimum norm are taken where the Hessian is
    singular: at solved points it is, along the polytope.

    Parameters
    ----------
    problem : LeastSquares
    support : (k,) int
    w0 : (n,) or (k,), optional
        Start: weights of all samples or of the face; uniform on the face when left out.
    tol : float
        Goal for the residual, relative to the terms that cancel in Psi.
    max_iterations : int

    Returns
    -------
    FacePoint
        With ``converged`` False where Newton's method got stuck or left the face.

    Raises
    ------
    TypeError, ValueError
        For a problem that is not quadratic, a support that is not one, or a start off the face.
    """
    problem = _quadratic(problem, "stationary_point_on_face")
    chosen = checked_support(support, problem.num_samples)
    tol = checks.positive("tol", tol)
    w = _checked_start(problem, chosen, w0)
    basis = simplex_tangent(chosen.size)
    for _ in range(checks.integer("max_iterations", max_iterations, minimum=1)):
        size, scale = _residual(problem, chosen, w)
        if size <= 0.01 * tol * scale or chosen.size == 1:
            break
        slope = basis.T @ problem.outer_grad(w)[chosen]
        inner = basis.T @ outer_hessian(problem, w)[np.ix_(chosen, chosen)] @ basis
        step = basis @ -np.linalg.lstsq(inner, slope, rcond=1e-12)[0]
        moved = _damped(problem, chosen, w, step, size)
        if moved is None:
            break
        w = moved
    return _describe(problem, chosen, w, tol)


def _residual(problem: LeastSquares, chosen: Array, w: Array) -> tuple[float, float]:
    """Return the largest ``|Psi_i - c|`` on the face, and the size of what is subtracted."""
    theta = problem.theta_star(w)
    v = problem.adjoint(theta, w)
    psi = -problem.per_sample_jvp(theta, v)[chosen]
    gamma = problem.per_sample_grads(theta)[chosen]
    H = problem.hessian(theta, w)
    # grad F is a difference of these two: what is left of them at a solved point is round-off.
    terms = np.column_stack([problem.val_hessian @ theta, problem.val_target])
    sizes = np.linalg.norm(problem.solve_columns(H, terms), axis=0).sum()
    scale = float(np.linalg.norm(gamma, axis=1).max() * sizes)
    return float(np.abs(psi - w[chosen] @ psi).max()), scale


def _damped(
    problem: LeastSquares, chosen: Array, w: Array, step: Array, size: float
) -> np.ndarray | None:
    """Return w after a Newton step, shortened to stay inside the face and to lower the residual."""
    shrinking = step < 0
    room = (w[chosen][shrinking] / -step[shrinking]).min(initial=np.inf)
    length = min(1.0, 0.9 * float(room))
    while length > 1e-6:
        moved = w.copy()
        moved[chosen] += length * step
        moved /= moved.sum()
        if _residual(problem, chosen, moved)[0] < size:
            return moved
        length *= 0.5
    return None


def _describe(problem: LeastSquares, chosen: Array, w: Array, tol: float) -> FacePoint:
    residual, scale = _residual(problem, chosen, w)
    theta = problem.theta_star(w)
    gradient = problem.val_grad(theta)
    reference = np.linalg.norm(problem.val_hessian @ theta) + np.linalg.norm(problem.val_target)
    psi = problem.hypergradient(theta, w)
    c = float(w @ psi)
    return FacePoint(
        support=chosen,
        w=w,
        theta=theta,
        c=c,
        residual=residual,
        converged=bool(residual <= tol * scale or scale == 0.0),
        grad_norm=float(np.linalg.norm(gradient)),
        solved=bool(np.linalg.norm(gradient) <= SOLVED * reference),
        eigenvalues=np.linalg.eigvalsh(face_hessian(problem, w, chosen)),
        transversal=c - np.delete(psi, chosen),
    )


def _quadratic(problem: Problem, who: str) -> LeastSquares:
    if not isinstance(problem, LeastSquares):
        raise TypeError(f"`problem` must be LeastSquares for {who}; got {type(problem).__name__}.")
    checked_problem(problem, who)
    return problem


def _checked_start(problem: Problem, chosen: Array, w0: Array | None) -> np.ndarray:
    w = np.zeros(problem.num_samples)
    if w0 is None:
        w[chosen] = 1.0 / chosen.size
        return w
    given = checks.weights_like("w0", w0)
    if given.shape not in ((problem.num_samples,), (chosen.size,)):
        raise ValueError(
            f"`w0` must have shape ({problem.num_samples},) or ({chosen.size},); got {given.shape}."
        )
    part = given if given.size == chosen.size else given[chosen]
    if part.min() <= 0:
        raise ValueError("`w0` must be > 0 on the whole support.")
    part = part / part.max()  # so that the sum cannot overflow
    w[chosen] = part / part.sum()
    return w
