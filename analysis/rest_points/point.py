r"""A rest point of the weights at frozen theta, and the linearised flow around it.

.. math::

    (\log w)_i' = \beta\,(a_i - \langle w, a\rangle), \qquad
    a_i = \langle\nabla l_i, v\rangle = -\Psi_i, \qquad H(\theta, w)\,v = \nabla F(\theta) .

At rest :math:`a_i = s` on the support S. The linearisation is block triangular: absent samples
grow at the rates :math:`\beta(a_i - s)`, and the weights of S among themselves follow
:math:`\delta w' = -\beta P(w)\,\partial_w\Psi\,\delta w`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ...dynamics import LeastSquares, Problem
from ...dynamics.types import Array
from ..stability.jacobian import simplex_tangent

__all__ = ["FrozenRestPoint", "describe"]

TINY = 1e-300
STATIONARY = "grad F(theta) = 0: every weight stays as it is."
NEUTRAL = 1e-9
"""Growth rates below this share of the largest size of Psi count as zero: round-off."""


@dataclass(frozen=True)
class FrozenRestPoint:
    r"""A rest point of the frozen flow, or why there is none.

    Attributes
    ----------
    status : str
        ``"attracting"``; ``"unstable"``; ``"several"`` (it attracts, and another one too);
        ``"degenerate"`` (more samples tie than the weights of which are determined, or fewer span
        than the Hessian needs); ``"stationary"`` (no weight moves: grad F = 0, or all fitted);
        ``"outside_cone"``, ``"fitted"`` and ``"repelled"`` (there is none with s > 0);
        ``"not_converged"`` (of Newton's method).
    message : str
        The same as a sentence.
    support : (k,) int
        Samples with a positive weight; empty where there is no point.
    w : (n,)
        Weights; NaN where there is no point.
    v : (p,)
        The adjoint ``H^{-1} grad F``.
    s : float
        The common value of ``<grad l_i, v>`` on the support, in units of the loss; ``c = -s``.
    gaps : (n,)
        Growth rates ``<grad l_i, v> - s`` per unit beta: negative for samples that cannot invade,
        zero on the support.
    face_eigenvalues : (k-1,) complex
        Eigenvalues of the flow within the face per unit beta.
    residual : float
        Spread of Psi over the support plus the residual of the adjoint system, both relative.
    """

    status: str
    message: str
    support: np.ndarray
    w: np.ndarray = field(repr=False)
    v: np.ndarray = field(repr=False)
    s: float
    gaps: np.ndarray = field(repr=False)
    face_eigenvalues: np.ndarray = field(repr=False)
    residual: float

    @property
    def c(self) -> float:
        """The common value of Psi on the support, ``<w, Psi>``."""
        return -self.s

    @property
    def nu(self) -> np.ndarray:
        """The solution ``v/s`` of the linear or quadratic program (theory T5b)."""
        return self.v / self.s

    @property
    def largest_gap(self) -> float:
        """The largest growth rate of an absent sample per unit beta; -inf where none is absent."""
        absent = np.delete(self.gaps, self.support)
        return float(absent.max(initial=-np.inf))

    @property
    def attracting(self) -> bool:
        """Whether no absent sample grows and no perturbation within the face does.

        Zero rates are allowed within the face: the ratio of duplicated samples is conserved.
        """
        neutral = NEUTRAL * (np.abs(self.gaps).max(initial=0.0) + abs(self.s))
        inside = self.face_eigenvalues.real.max(initial=-np.inf)
        return bool(self.support.size and self.largest_gap < 0.0 and inside <= neutral)

    @property
    def largest_mirror_step(self) -> float:
        r"""The eta below which mirror steps are stable within the face.

        .. math:: \min_k\; -2\,\mathrm{Re}\,\mu_k / |\mu_k|^2 ,

        for the eigenvalues :math:`\mu_k` of ``face_eigenvalues``: ``2/s`` with ridge 0.
        """
        moving = self.face_eigenvalues[np.abs(self.face_eigenvalues) > NEUTRAL * abs(self.s)]
        step = (-2.0 * moving.real / np.abs(moving) ** 2).min(initial=np.inf)
        return max(float(step), 0.0)


def describe(
    problem: Problem, theta: Array, w: Array, support: Array, status: str, message: str
) -> FrozenRestPoint:
    """Return the point with weights w: its adjoint, rates and residual by the problem's oracles.

    An empty ``status`` becomes ``"attracting"`` or ``"unstable"``.
    """
    grad = problem.in_range(problem.val_grad(theta))
    v = problem.adjoint(theta, w)
    a = problem.per_sample_jvp(theta, v)
    s = float(w[support] @ a[support])
    spread = np.abs(a[support] - s).max() / max(float(np.abs(a).max()), TINY)
    error = np.linalg.norm(problem.hvp(theta, w, v) - grad) / max(float(np.linalg.norm(grad)), TINY)
    gaps = a - s
    gaps[support] = 0.0
    point = FrozenRestPoint(
        status, message, support, w, v, s, gaps,
        _face_eigenvalues(problem, theta, w, v, support), float(spread + error),
    )  # fmt: skip
    if status:
        return point
    if no_pull(problem, theta):
        return replace(point, status="stationary", message=STATIONARY)
    kind = "attracting" if point.attracting else "unstable"
    return replace(point, status=kind, message=f"{kind} rest point.")


def no_pull(problem: Problem, theta: Array) -> bool:
    """Return whether grad F(theta) is zero; for least squares, within the round-off of its sum."""
    f = problem.val_grad(theta)
    if not isinstance(problem, LeastSquares):
        return not f.any()
    X_val = np.abs(problem.X_val)
    terms = X_val.T @ (X_val @ np.abs(theta) + np.abs(problem.y_val)) / problem.num_val
    round_off = 4.0 * np.finfo(float).eps * (problem.num_params + problem.num_val)
    return bool((np.abs(f) <= round_off * terms).all())


def nowhere(problem: Problem, status: str, message: str) -> FrozenRestPoint:
    """Return the answer that there is no rest point."""
    n, p = problem.num_samples, problem.num_params
    empty = np.zeros(0)
    return FrozenRestPoint(
        status, message, empty.astype(int), np.full(n, np.nan), np.full(p, np.nan), np.nan,
        np.full(n, np.nan), empty.astype(complex), np.nan,
    )  # fmt: skip


def _face_eigenvalues(
    problem: Problem, theta: Array, w: Array, v: Array, support: Array
) -> np.ndarray:
    """Return the eigenvalues of ``-P(w) dPsi/dw`` on the face, within sum(dw) = 0."""
    k = support.size
    if k < 2:
        return np.zeros(0, dtype=complex)
    gamma = problem.per_sample_grads(theta)[support]
    curvature = problem.per_sample_hvp(theta, v)[support]
    slope = gamma @ problem.solve_columns(problem.hessian(theta, w), curvature.T)
    weights = w[support]
    change = weights[:, None] * (slope - weights @ slope)
    basis = simplex_tangent(k)  # the image of the change lies there already
    return -np.linalg.eigvals(basis.T @ change @ basis).astype(complex)
