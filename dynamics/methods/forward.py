"""Forward mode: tangents carried along with the inner steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from ..geometries import Geometry
from ..linalg import cg
from ..problems import Problem
from ..status import ConvergenceError
from ..types import Array
from .base import Method, State, gradient_step, in_order, rates, step_size
from .unrolled import Unrolled

__all__ = ["ForwardMode", "RealTimeForward", "RealTimeState", "response"]


@dataclass(frozen=True, kw_only=True)
class ForwardMode(Unrolled):
    r"""The derivative of T inner steps by tangents.

    .. math::

        Z_0 = 0, \qquad Z_{t+1} = (I - \rho H(\theta_t, w)) Z_t - \rho J(\theta_t), \qquad
        w^+ = \mathrm{step}(w, Z_T^\top \nabla F(\theta_T), \eta).

    The same field as `ReverseMode` to round-off, at another price: :math:`Z_T` is
    :math:`d\theta_T/dw`. Memory p n whatever T; one step costs T ``train_grad``, T ``hvp`` of n
    vectors at once, T ``per_sample_jvp`` of p vectors at once and one ``val_grad``: for p n up to
    about 1e6. Biased as `ReverseMode` is, with the same continuous limit: that of `Joint` as T
    grows. Defined for every problem. Franceschi et al. (2017), arXiv 1703.01785; in S. Li's (14)
    the initial condition must be Phi_0(u), and (15) must use grad_v g.

    Parameters
    ----------
    rho, eta : float or (...)
        Inner step (None means 1/L) and outer step.
    num_inner_steps : int
        T.
    cold_start : bool
        Whether every unrolling starts at theta_0 of the run instead of the last theta.
    """

    def respond(self, problem: Problem, theta: Array, w: Array, rho: Any) -> tuple[Array, Array]:
        tangents = _no_tangents(problem, theta, w)
        for _ in range(self.num_inner_steps):
            theta, tangents = _inner(problem, theta, tangents, w, rho)
        return theta, _pull(problem, tangents, theta)


@dataclass(frozen=True, kw_only=True)
class RealTimeState(State):
    r"""The state of :class:`RealTimeForward`: rows :math:`\partial\theta/\partial w_i`.

    Attributes
    ----------
    tangents : (..., n, p)
    """

    tangents: Array


@dataclass(frozen=True, kw_only=True)
class RealTimeForward(Method):
    r"""Forward mode in real time: the tangents are never reset.

    .. math::

        \theta^+ = \theta - \rho\,\nabla_\theta G(\theta, w), \qquad
        Z^+ = (I - \rho H) Z - \rho J(\theta), \qquad
        w^+ = \mathrm{step}(w, Z^\top \nabla F(\theta), \eta).

    In continuous time ``Z' = -alpha (H Z + J)``: at constant w, Z tends to :math:`-H^{-1}J` and the
    field to Psi. Biased by the lag of theta and Z, a low-pass filter of the exact method: less
    sparse. Z starts at zero. One step costs one ``train_grad``, one ``val_grad``, one ``hvp`` of n
    vectors at once and one ``per_sample_jvp`` of p vectors at once; memory p n. Defined for every
    problem. Franceschi et al. (2017), arXiv 1703.01785.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step.
    """

    rho: Any = None
    eta: Any = 1e-2

    points: ClassVar[tuple[str, ...]] = ("theta", "tangents")

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> RealTimeState:
        tangents = _no_tangents(problem, theta, outer)
        return RealTimeState(theta=theta, outer=outer, step=0, seed=seed, tangents=tangents)

    def step(self, problem: Problem, geometry: Geometry, state: RealTimeState) -> RealTimeState:
        rho, eta = step_size(problem, self.rho), step_size(problem, self.eta)

        def move_inner(inner: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            return _inner(problem, *inner, geometry.weights(outer), rho)

        def move_outer(inner: tuple[Array, Array], outer: Array) -> Array:
            theta, tangents = inner
            return geometry.step(outer, _pull(problem, tangents, theta), eta)

        (theta, tangents), outer = in_order(
            self.order, (state.theta, state.tangents), state.outer, move_inner, move_outer
        )
        return RealTimeState(
            theta=theta, outer=outer, step=state.step + 1, seed=state.seed, tangents=tangents
        )

    def relax(self, problem: Problem, geometry: Geometry, state: RealTimeState) -> RealTimeState:
        w, rho = geometry.weights(state.outer), step_size(problem, self.rho)
        theta, tangents = _inner(problem, state.theta, state.tangents, w, rho)
        return replace(state, theta=theta, tangents=tangents)

    def settle(
        self,
        problem: Problem,
        geometry: Geometry,
        state: RealTimeState,
        num_steps: int | None = None,
    ) -> RealTimeState:
        state = super().settle(problem, geometry, state, num_steps)
        tangents = response(problem, state.theta, geometry.weights(state.outer), state.tangents)
        return replace(state, tangents=tangents)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        """Return Psi, the field where the tangents have settled."""
        return problem.hypergradient(theta, w)


def _no_tangents(problem: Problem, theta: Array, w: Array) -> Array:
    """Return zeros ``(..., n, p)`` with the leading axes of theta and w."""
    xp, n = problem.xp, problem.num_samples
    ones = xp.ones((n, 1), dtype=theta.dtype, device=theta.device)
    return 0.0 * (theta[..., None, :] + w[..., :1, None]) * ones


def response(problem: Problem, theta: Array, w: Array, guess: Array) -> Array:
    r"""Return the rows :math:`\partial\theta^\star/\partial w_i = -H^{-1}\nabla l_i(\theta)`.

    Shape ``(..., n, p)``, by conjugate gradients from a guess.

    Raises
    ------
    ConvergenceError
        When they do not reach round-off.
    """
    b = 0.0 * guess - _rows(problem, theta)
    product = partial(problem.hvp, theta[..., None, :], w[..., None, :])
    tol = max(1e-12, 10.0 * float(problem.xp.finfo(b.dtype).eps))
    result = cg(product, b, guess=guess, tol=tol)
    if not result.converged:
        worst = float(problem.xp.max(result.residual))
        raise ConvergenceError(
            f"the response of theta stopped at a relative residual of {worst:.1e}; raise `ridge`."
        )
    return result.x


def _inner(
    problem: Problem, theta: Array, tangents: Array, w: Array, rho: Any
) -> tuple[Array, Array]:
    r"""Return theta and the rows of :math:`Z - \rho(HZ + J)`, ``(..., n, p)``, after one step."""
    point = theta[..., None, :]
    speed = rho if isinstance(rho, float) else rho[..., None]
    slope = problem.hvp(point, w[..., None, :], tangents) + _rows(problem, theta)
    return gradient_step(problem, theta, w, rho), tangents - speed * slope


def _rows(problem: Problem, theta: Array) -> Array:
    r"""Return the rows :math:`\nabla l_i(\theta)`, shape ``(..., n, p)``, by p jvps at once."""
    xp = problem.xp
    eye = xp.eye(problem.num_params, dtype=theta.dtype, device=theta.device)
    return xp.matrix_transpose(problem.per_sample_jvp(theta[..., None, :], eye))


def _pull(problem: Problem, tangents: Array, theta: Array) -> Array:
    r"""Return :math:`Z^\top\nabla F(\theta)`, shape ``(..., n)``."""
    return (tangents @ problem.val_grad(theta)[..., None])[..., 0]
