r"""The inner problem as a constraint grad G = 0: quadratic penalty and augmented Lagrangian.

Both minimise over theta, at given weights,

.. math:: F(\theta) - \nu^\top\nabla_\theta G + \tfrac\gamma2 |\nabla_\theta G|^2 ,

whose gradient is :math:`\nabla F - H v` with the target :math:`v = \nu - \gamma\nabla_\theta G`
(where H depends on theta, the derivative of the last two terms is exactly that too), and move w
along its partial derivative :math:`-J^\top v`. No system is solved. :class:`Penalty` keeps
:math:`\nu = 0`; :class:`AugmentedLagrangian` moves it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import checks
from ..geometries import Geometry
from ..linalg import norm
from ..problems import Problem
from ..types import Array
from .base import Method, State, in_order, positive_rate, rate, step_size
from .stationary import inner_solution, solved_theta, stationary

__all__ = ["AugmentedLagrangian", "MultiplierState", "Penalty", "PenaltyState"]


@dataclass(frozen=True, kw_only=True)
class PenaltyState(State):
    """The state of :class:`Penalty`: the penalty and the gradient norm at which it grows."""

    gamma: Array
    goal: Array


@dataclass(frozen=True, kw_only=True)
class Penalty(Method):
    r"""Quadratic penalty on the inner gradient, Mehra and Hamm (2019), arXiv 1911.03432.

    .. math::

        \theta^+ = \theta - \rho\,(\nabla F + \gamma H \nabla_\theta G)
        \quad (\text{T times}), \qquad
        w^+ = \mathrm{step}(w, \gamma J^\top\nabla_\theta G, \eta).

    In continuous time ``theta' = -alpha (grad F + gamma H grad G)``,
    ``w' = -beta gamma P(w) J' grad G``. At theta_gamma(w), the minimiser over theta,
    ``gamma grad G = -H^{-1} grad F``: the field there is Psi(theta_gamma, w), for any gamma, and
    the gradient in w of ``h_gamma(w) = min_theta F + gamma/2 |grad G|^2 <= h``.

    Biased by O(1/gamma) at theta_gamma, and without bound elsewhere: at frozen theta the weights
    descend on ``gamma/2 |grad G|^2``, which makes the present theta stationary and never sees F.
    Hence the warm-up, and hence weights must be slow. An inner step costs one ``val_grad``,
    ``train_grad`` and ``hvp``; the outer step one ``train_grad`` and one ``per_sample_jvp``.
    Defined for every problem; ``rho=None`` asks for ``constants``.

    gamma grows by ``growth`` whenever the gradient in theta is below a goal, which then shrinks by
    0.9 (the rule of the reference code). ``direction`` uses the first gamma.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; ``1/(L + gamma L^2)`` when left out, which takes L for the smoothness of F too.
        A given step must be stable for the gamma that is reached.
    eta : float or (...)
        Outer step.
    gamma : float or (...)
        The penalty, > 0; the first one where it grows.
    growth : float
        Factor >= 1; with 1 the penalty is constant.
    goal : float
        Norm of the gradient in theta below which gamma grows for the first time.
    num_inner_steps : int
        T.
    num_warmup : int
        Inner steps at w0 before the first step: ``theta0`` is only a first guess.
    """

    rho: Any = None
    eta: Any = 0.01
    gamma: Any = 10.0
    growth: float = 1.0
    goal: float = 1e-2
    num_inner_steps: int = 5
    num_warmup: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rates(self)
        positive_rate("gamma", self.gamma)
        if checks.real("growth", self.growth) < 1:
            raise ValueError(f"`growth` must be >= 1; got {self.growth}.")
        checks.positive("goal", self.goal)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> PenaltyState:
        ones = problem.xp.ones_like(theta[..., :1])
        gamma, w = ones * step_size(problem, self.gamma), geometry.weights(outer)
        rho = _inner_step(problem, self.rho, gamma)
        for _ in range(self.num_warmup):
            theta, _ = _descend(problem, theta, w, rho, gamma, None)
        return PenaltyState(
            theta=theta, outer=outer, step=0, seed=seed, gamma=gamma, goal=ones * self.goal
        )

    def step(self, problem: Problem, geometry: Geometry, state: PenaltyState) -> PenaltyState:
        eta, gamma = step_size(problem, self.eta), state.gamma
        rho = _inner_step(problem, self.rho, gamma)
        slope = state.theta

        def move_theta(theta: Array, outer: Array) -> Array:
            nonlocal slope
            w = geometry.weights(outer)
            for _ in range(self.num_inner_steps):
                theta, slope = _descend(problem, theta, w, rho, gamma, None)
            return theta

        def move_outer(theta: Array, outer: Array) -> Array:
            v = _target(problem, theta, geometry.weights(outer), gamma, None)
            return geometry.step(outer, -problem.per_sample_jvp(theta, v), eta)

        theta, outer = in_order(self.order, state.theta, state.outer, move_theta, move_outer)
        reached = norm(slope) < state.goal
        return PenaltyState(
            theta=theta,
            outer=outer,
            step=state.step + 1,
            seed=state.seed,
            gamma=problem.xp.where(reached, self.growth * gamma, gamma),
            goal=problem.xp.where(reached, 0.9 * state.goal, state.goal),
        )

    def relax(self, problem: Problem, geometry: Geometry, state: PenaltyState) -> PenaltyState:
        w, rho = geometry.weights(state.outer), _inner_step(problem, self.rho, state.gamma)
        theta, _ = _descend(problem, state.theta, w, rho, state.gamma, None)
        return replace(state, theta=theta)

    def settle(
        self,
        problem: Problem,
        geometry: Geometry,
        state: PenaltyState,
        num_steps: int | None = None,
    ) -> PenaltyState:
        w = geometry.weights(state.outer)
        theta = _penalised_point(problem, state.theta, w, state.gamma, num_steps)
        return replace(state, theta=theta)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return _penalised_field(problem, theta, w, step_size(problem, self.gamma))


@dataclass(frozen=True, kw_only=True)
class MultiplierState(State):
    """The state of :class:`AugmentedLagrangian`: the multiplier nu ``(..., p)``."""

    multiplier: Array


@dataclass(frozen=True, kw_only=True)
class AugmentedLagrangian(Method):
    r"""Method of multipliers on grad G = 0, proposed by S. Li.

    In the note 'Learning to Reweight and Bilevel Optimization'.

    .. math::

        \theta^+ = \theta - \rho\,(\nabla F - H v) \quad (\text{T times}), \qquad
        \nu^+ = \nu - \kappa\nabla_\theta G(\theta^+, w), \qquad
        w^+ = \mathrm{step}(w, -J^\top v, \eta), \qquad v = \nu - \mu\nabla_\theta G .

    In continuous time ``theta' = -alpha (grad F - H v)``, ``nu' = -kappa grad G``,
    ``w' = beta P(w) J' v``. At rest in (theta, nu): ``theta = theta_star(w)`` and
    ``nu = H^{-1} grad F``, so the field is grad h for any finite mu: unbiased but for the lag. nu
    is the adjoint v of SOBA with another equation. With exact minimisation over theta and
    ``kappa = mu`` its error obeys ``e+ = (I + mu H (Hess F)^{-1} H)^{-1} e`` for quadratics. At
    frozen (theta, nu) the weights descend on ``mu/2 |grad G - nu/mu|^2``, not on h.

    The signs are those of F - nu' grad G; written F + nu' grad G, the multiplier is
    ``-H^{-1} grad F``. The source takes a scalar for the multiplier of this vector constraint and
    the norm unsquared (its equation 21), and minimises over its two variables apart (20), where
    the minimum is joint; here nu is a vector and the norm is squared. With ``kappa = 0`` the method
    is :class:`Penalty` with ``gamma = mu``, bit for bit. nu belongs to the inner block: in every
    order it moves after theta. The costs are those of :class:`Penalty` and one ``train_grad``.
    Defined for every problem; ``rho=None`` and ``mu=None`` ask for ``constants``.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; ``1/(L + mu L^2)`` when left out, which takes L for the smoothness of F too.
    eta : float or (...)
        Outer step.
    mu : float or (...), optional
        Weight of the squared constraint, > 0; 10/L when left out.
    kappa : float or (...), optional
        Step of the multiplier; mu when left out. Larger ones need not be stable.
    num_inner_steps : int
        T.
    num_warmup : int
        Inner steps, with nu, at w0 before the first step: ``theta0`` is only a first guess.
    """

    rho: Any = None
    eta: Any = 0.05
    mu: Any = None
    kappa: Any = None
    num_inner_steps: int = 5
    num_warmup: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rates(self)
        if self.mu is not None:
            positive_rate("mu", self.mu)
        if self.kappa is not None:
            rate("kappa", self.kappa)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> MultiplierState:
        nu, w = problem.xp.zeros_like(theta), geometry.weights(outer)
        for _ in range(self.num_warmup):
            theta, nu = self._inner(problem, theta, nu, w, 1)
        return MultiplierState(theta=theta, outer=outer, step=0, seed=seed, multiplier=nu)

    def step(self, problem: Problem, geometry: Geometry, state: MultiplierState) -> MultiplierState:
        eta, mu = step_size(problem, self.eta), self._mu(problem)

        def move_inner(inner: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            return self._inner(problem, *inner, geometry.weights(outer), self.num_inner_steps)

        def move_outer(inner: tuple[Array, Array], outer: Array) -> Array:
            theta, nu = inner
            v = _target(problem, theta, geometry.weights(outer), mu, nu)
            return geometry.step(outer, -problem.per_sample_jvp(theta, v), eta)

        (theta, nu), outer = in_order(
            self.order, (state.theta, state.multiplier), state.outer, move_inner, move_outer
        )
        return MultiplierState(
            theta=theta, outer=outer, step=state.step + 1, seed=state.seed, multiplier=nu
        )

    def relax(
        self, problem: Problem, geometry: Geometry, state: MultiplierState
    ) -> MultiplierState:
        w = geometry.weights(state.outer)
        theta, nu = self._inner(problem, state.theta, state.multiplier, w, 1)
        return replace(state, theta=theta, multiplier=nu)

    def settle(
        self,
        problem: Problem,
        geometry: Geometry,
        state: MultiplierState,
        num_steps: int | None = None,
    ) -> MultiplierState:
        w, still = geometry.weights(state.outer), self._still(problem)
        theta, nu = state.theta, state.multiplier
        if still is not True:
            theta = solved_theta(problem, state.theta, w, num_steps)
            nu = problem.adjoint(theta, w, guess=state.multiplier)
        if still is not False:
            fixed = _penalised_point(
                problem, state.theta, w, self._mu(problem), num_steps, state.multiplier
            )
            theta = problem.xp.where(still, fixed, theta)
            nu = problem.xp.where(still, state.multiplier, nu)
        return replace(state, theta=theta, multiplier=nu)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        mu = self._mu(problem)
        settled = problem.hypergradient(inner_solution(problem, theta, w), w) + 0.0 * mu
        still = self._still(problem)
        if still is False:
            return settled
        return problem.xp.where(still, _penalised_field(problem, theta, w, mu), settled)

    def _still(self, problem: Problem) -> Any:
        """Return where the multiplier does not move, ``(..., 1)``; False where it does in all."""
        if self.kappa is None or np.all(np.asarray(self.kappa) > 0):
            return False
        kappa = problem.xp.asarray(self.kappa, dtype=problem.dtype, device=problem.device)
        return (kappa == 0)[..., None]

    def _mu(self, problem: Problem) -> Any:
        """Return mu, shaped for ``(..., p)``."""
        if self.mu is not None:
            return step_size(problem, self.mu)
        problem.require(("constants",), "`mu=None` (which means 10/L)")
        return 10.0 / problem.constants()[1]

    def _inner(
        self, problem: Problem, theta: Array, nu: Array, w: Array, num_steps: int
    ) -> tuple[Array, Array]:
        """Return theta after ``num_steps`` steps and nu after one."""
        mu = self._mu(problem)
        kappa = mu if self.kappa is None else step_size(problem, self.kappa)
        rho = _inner_step(problem, self.rho, mu)
        for _ in range(num_steps):
            theta, _ = _descend(problem, theta, w, rho, mu, nu)
        return theta, nu - kappa * problem.train_grad(theta, w)


def _check_rates(method: Penalty | AugmentedLagrangian) -> None:
    """Check the knobs that both methods have."""
    if method.rho is not None:
        rate("rho", method.rho)
    rate("eta", method.eta)
    checks.integer("num_inner_steps", method.num_inner_steps, minimum=1)
    checks.integer("num_warmup", method.num_warmup, minimum=0)


def _inner_step(problem: Problem, rho: Any, gamma: Any) -> Any:
    """Return the inner step; None means ``1/(L + gamma L^2)``."""
    if rho is not None:
        return step_size(problem, rho)
    smoothness = 1.0 / step_size(problem, None)
    return 1.0 / (smoothness + gamma * smoothness**2)


def _target(problem: Problem, theta: Array, w: Array, gamma: Any, nu: Array | None) -> Array:
    """Return ``v = nu - gamma grad G``."""
    pull = gamma * problem.train_grad(theta, w)
    return -pull if nu is None else nu - pull


def _gradient(problem: Problem, theta: Array, w: Array, gamma: Any, nu: Array | None) -> Array:
    """Return ``grad F - H v``, the gradient in theta."""
    v = _target(problem, theta, w, gamma, nu)
    return problem.val_grad(theta) - problem.hvp(theta, w, v)


def _descend(
    problem: Problem, theta: Array, w: Array, rho: Any, gamma: Any, nu: Array | None
) -> tuple[Array, Array]:
    """Return theta after one inner step, and the gradient that it followed."""
    slope = _gradient(problem, theta, w, gamma, nu)
    return theta - rho * slope, slope


def _penalised_point(
    problem: Problem,
    theta: Array,
    w: Array,
    gamma: Any,
    num_steps: int | None = None,
    nu: Array | None = None,
) -> Array:
    """Return theta_gamma(w), the minimum over theta near a guess."""
    return stationary(
        lambda x: _gradient(problem, x, w, gamma, nu),
        theta + problem.xp.zeros_like(w[..., :1]),
        num_steps=num_steps,
    )


def _penalised_field(problem: Problem, theta: Array, w: Array, gamma: Any) -> Array:
    """Return ``gamma J' grad G`` at theta_gamma(w), the minimum near theta_star(w)."""
    theta = _penalised_point(problem, inner_solution(problem, theta, w), w, gamma)
    return -problem.per_sample_jvp(theta, _target(problem, theta, w, gamma, None))
