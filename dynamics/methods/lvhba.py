"""The proximal value gap: single loop, first order, with an optional constraint on theta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .. import checks
from ..geometries import Geometry
from ..linalg import norm
from ..problems import Problem
from ..status import ConvergenceError
from ..types import Array
from .base import Method, State, in_order, rate, rates, step_size
from .stationary import differences, inner_solution, stationary
from .value_gap import project_ball

__all__ = ["LVHBA", "LVHBAState"]

MAX_ROUNDS = 2000
ROUND = 100


@dataclass(frozen=True, kw_only=True)
class LVHBAState(State):
    """The state of :class:`LVHBA`.

    Attributes
    ----------
    other : (..., p)
        The proximal point u.
    multiplier, lag : (..., 1)
        z of the constraint at u, and the y that trails it; zero without a constraint.
    """

    other: Array
    multiplier: Array
    lag: Array


@dataclass(frozen=True, kw_only=True)
class LVHBA(Method):
    r"""Hessian-free bilevel method on the proximal (Lagrangian) value function, Yao et al. (2024).

    With the Moreau envelope of G in theta, :math:`\min_u G(u, w) + |u - \theta|^2/2\gamma`, as the
    value,

    .. math::

        u^+ &= u - \rho\,\big(\nabla G(u) + (u - \theta)/\gamma\big), \\
        \theta^+ &= \theta - \rho\,\big(\sigma\nabla F + \nabla G(\theta)
            - (\theta - u)/\gamma\big), \\
        w^+ &= \mathrm{step}\big(w, (l(\theta) - l(u))/\sigma, \eta\big).

    In continuous time the same with speeds alpha, alpha, beta. A step costs one ``val_grad``, two
    ``train_grad`` and two ``per_sample_losses``. It works with ridge 0, where argmin G is no point.

    At rest in (theta, u), for quadratics: ``H (theta - u) = -sigma grad F`` and
    ``grad G(theta) = (H + 1/gamma)(theta - u)``; so the field tends to grad h as sigma -> 0, for
    any gamma. It is biased by O(sigma) and by the lag of a single loop. gamma -> infinity is F2SA
    with the same sigma; gamma -> 0 with ``gamma/sigma`` fixed is Penalty with that penalty. Equal
    steps of theta and u are part of the method: then the linearised pair has the double eigenvalue
    ``1 - rho H`` for any gamma, while theta alone (u solved slowly) would be unstable for small
    gamma. The paper (arXiv 2401.16164) and its scripts differ: gamma or 1/gamma, F multiplied by a
    falling factor or the rest by a growing c = 1/sigma. Above is the consistent reading.

    With a ``radius``, theta is projected onto ``|theta| <= radius``, and u obeys
    ``g(u) = (|u|^2 - radius^2)/2 <= 0`` by a multiplier z with a proximal term of its own,

    .. math::

        u^+ = \frac{u - \rho(\dots)}{1 + \rho z}, \qquad
        z^+ = [z + \rho_z(g(u) - (z - y)/\gamma_z)]_+, \qquad
        y^+ = y + \rho_z (z^+ - y)/\gamma_z .

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step.
    sigma : float or (...)
        1/c, the weight of F, > 0.
    exponent : float
        r of ``sigma_k = sigma (k + 1)^-r``, in [0, 1/2); 0.3 in the reference code's toy.
        ``direction`` uses the first sigma.
    gamma : float or (...)
        Proximal parameter, > 0.
    radius : float, optional
        Bound on ``|theta|``.
    rho_dual : float, optional
        Step of z; ``(mu + 1/gamma)/(2 radius^2)`` when left out, stable by the curvature of u.
    gamma_dual : float, optional
        Proximal parameter of z; ``10 rho_dual`` when left out.
    num_warmup : int
        Steps of the points at w0 before the first step: ``theta0`` is only a first guess.
    """

    rho: Any = None
    eta: Any = 0.05
    sigma: Any = 1e-2
    exponent: float = 0.0
    gamma: Any = 1.0
    radius: float | None = None
    rho_dual: float | None = None
    gamma_dual: float | None = None
    num_warmup: int = 0

    points: ClassVar[tuple[str, ...]] = ("theta", "other")

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        for name in ("sigma", "gamma"):
            rate(name, getattr(self, name))
            if np.min(getattr(self, name)) <= 0:
                raise ValueError(f"`{name}` must be > 0; got {np.min(getattr(self, name))}.")
        if not 0 <= checks.real("exponent", self.exponent) < 0.5:
            raise ValueError(f"`exponent` must lie in [0, 1/2); got {self.exponent}.")
        for name in ("radius", "rho_dual", "gamma_dual"):
            if getattr(self, name) is not None:
                checks.positive(name, getattr(self, name))
        checks.integer("num_warmup", self.num_warmup, minimum=0)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> LVHBAState:
        theta = project_ball(theta, self.radius)
        zero, w = problem.xp.zeros_like(theta[..., :1]), geometry.weights(outer)
        points = (theta, theta, zero, zero)
        for _ in range(self.num_warmup):
            points = self._inner(problem, points, w, step_size(problem, self.sigma))
        return _state(points, outer, 0, seed)

    def step(self, problem: Problem, geometry: Geometry, state: LVHBAState) -> LVHBAState:
        sigma = self._sigma(problem, state.step)
        eta = step_size(problem, self.eta)

        def move_inner(points: tuple[Array, ...], outer: Array) -> tuple[Array, ...]:
            return self._inner(problem, points, geometry.weights(outer), sigma)

        def move_outer(points: tuple[Array, ...], outer: Array) -> Array:
            return geometry.step(outer, _field(problem, points, sigma), eta)

        points, outer = in_order(self.order, _points(state), state.outer, move_inner, move_outer)
        return _state(points, outer, state.step + 1, state.seed)

    def relax(self, problem: Problem, geometry: Geometry, state: LVHBAState) -> LVHBAState:
        w, sigma = geometry.weights(state.outer), self._sigma(problem, state.step)
        points = self._inner(problem, _points(state), w, sigma)
        return _state(points, state.outer, state.step, state.seed)

    def settle(
        self, problem: Problem, geometry: Geometry, state: LVHBAState, num_steps: int | None = None
    ) -> LVHBAState:
        w, sigma = geometry.weights(state.outer), self._sigma(problem, state.step)
        if self.radius is not None:
            points = self._settle(problem, _points(state), w, sigma)
            return _state(points, state.outer, state.step, state.seed)
        u = state.other if num_steps else inner_solution(problem, state.other, w)
        theta, u = self._rest(problem, u, w, sigma, num_steps)
        return replace(state, theta=theta, other=u)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        sigma = step_size(problem, self.sigma)
        theta = theta + problem.xp.zeros_like(w[..., :1])
        if self.radius is not None:
            zero = problem.xp.zeros_like(theta[..., :1])
            points = (project_ball(theta, self.radius), theta, zero, zero)
            return _field(problem, self._settle(problem, points, w, sigma), sigma)
        u = inner_solution(problem, theta, w)
        return _field(problem, self._rest(problem, u, w, sigma), sigma)

    def _sigma(self, problem: Problem, count: int) -> Any:
        """Return the weight of F after ``count`` steps."""
        return step_size(problem, self.sigma) * (count + 1.0) ** -self.exponent

    def _rest(
        self, problem: Problem, u: Array, w: Array, sigma: Any, num_steps: int | None = None
    ) -> tuple[Array, Array]:
        """Return theta and u at rest, from a guess of u, without a constraint."""
        gamma = step_size(problem, self.gamma)
        u = _proximal_point(problem, u, w, sigma, gamma, num_steps)
        return u + gamma * problem.train_grad(u, w), u

    def _inner(
        self, problem: Problem, points: tuple[Array, ...], w: Array, sigma: Any
    ) -> tuple[Array, ...]:
        """Return theta, u, z and y after one step at weights w."""
        theta, u, z, y = points
        rho, pull = step_size(problem, self.rho), (theta - u) / step_size(problem, self.gamma)
        slope = sigma * problem.val_grad(theta) + problem.train_grad(theta, w) - pull
        theta_new = project_ball(theta - rho * slope, self.radius)
        u_new = (u - rho * (problem.train_grad(u, w) - pull)) / (1.0 + rho * z)
        if self.radius is None:
            return theta_new, u_new, z, y
        rho_z, share = self._dual_steps(problem)
        z_new = z + rho_z * 0.5 * (norm(u) ** 2 - self.radius**2) - share * (z - y)
        z_new = problem.xp.where(z_new > 0, z_new, problem.xp.zeros_like(z_new))
        return theta_new, u_new, z_new, y + share * (z_new - y)

    def _dual_steps(self, problem: Problem) -> tuple[Any, Any]:
        """Return the step of z, and the share of its distance to y that y makes up in a step."""
        rho_z: Any = self.rho_dual
        if rho_z is None:
            problem.require(("constants",), "`rho_dual=None`")
            curvature = problem.constants()[0] + 1.0 / step_size(problem, self.gamma)
            rho_z = curvature / (2.0 * self.radius**2) if self.radius is not None else 0.0
        return rho_z, 0.1 if self.gamma_dual is None else rho_z / self.gamma_dual

    def _settle(
        self, problem: Problem, points: tuple[Array, ...], w: Array, sigma: Any
    ) -> tuple[Array, ...]:
        """Return the points of the constrained form at rest, by its own steps."""
        eps = float(problem.xp.finfo(points[0].dtype).eps)
        for _ in range(MAX_ROUNDS):
            for _ in range(ROUND):
                before, points = points, self._inner(problem, points, w, sigma)
            moved = max(
                float(problem.xp.max(problem.xp.abs(new - old)))
                for new, old in zip(points, before, strict=True)
            )
            if not moved < float("inf"):
                break
            if moved <= 8 * eps * (1.0 + max(float(problem.xp.max(norm(a))) for a in points)):
                return points
        raise ConvergenceError(
            f"the constrained points still move by {moved:.1e} a step after {MAX_ROUNDS * ROUND} "
            "steps; lower `rho_dual` or raise `gamma`."
        )


def _points(state: LVHBAState) -> tuple[Array, ...]:
    """Return theta, u, z and y of a state."""
    return state.theta, state.other, state.multiplier, state.lag


def _state(points: tuple[Array, ...], outer: Array, step: int, seed: int) -> LVHBAState:
    """Return the state with the given points."""
    theta, other, multiplier, lag = points
    return LVHBAState(
        theta=theta,
        outer=outer,
        step=step,
        seed=seed,
        other=other,
        multiplier=multiplier,
        lag=lag,
    )


def _field(problem: Problem, points: Sequence[Array], sigma: Any) -> Array:
    """Return ``(l(theta) - l(u))/sigma``."""
    theta, u = points[0], points[1]
    return (problem.per_sample_losses(theta) - problem.per_sample_losses(u)) / sigma


def _proximal_point(
    problem: Problem, u: Array, w: Array, sigma: Any, gamma: Any, num_steps: int | None = None
) -> Array:
    """Return u at rest in (theta, u), from a guess.

    u is the proximal point of ``theta = u + gamma grad G(u)``, which leaves one equation,
    ``sigma grad F(theta) + grad G(theta) - grad G(u) = 0``; times ``I + gamma H(u)`` its
    linearisation is symmetric.
    """
    curve = differences(problem.val_grad)

    def lift(u: Array) -> Array:
        return u + gamma * problem.train_grad(u, w)

    def stretch(u: Array, v: Array) -> Array:
        return v + gamma * problem.hvp(u, w, v)

    def slope(u: Array) -> Array:
        top = lift(u)
        rest = problem.train_grad(top, w) - problem.train_grad(u, w)
        return stretch(u, rest + sigma * problem.val_grad(top))

    def product(u: Array, v: Array) -> Array:
        top, a = lift(u), stretch(u, v)
        rest = problem.hvp(top, w, a) - problem.hvp(u, w, v)
        return stretch(u, rest + sigma * curve(top, a))

    return stationary(slope, u, product=product, num_steps=num_steps)
