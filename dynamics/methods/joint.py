"""The warm-started algorithm of the core paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import checks
from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, State, gradient_step, in_order, rates, step_size

__all__ = ["Joint", "JointState"]


@dataclass(frozen=True, kw_only=True)
class JointState(State):
    """The state of :class:`Joint`: the last adjoint, from which the next solve starts."""

    adjoint: Array


@dataclass(frozen=True, kw_only=True)
class Joint(Method):
    r"""Warm-started bilevel algorithm with the implicit hypergradient, [IA23] section 3.

    .. math::

        \theta^+ = \theta - \rho\,\nabla_\theta G(\theta, w), \qquad
        w^+ = \mathrm{step}(w, \Psi(\theta, w), \eta), \qquad
        \Psi = -J^\top H^{-1}\nabla F .

    With the mirror geometry it is Euler on ``theta' = -alpha grad G``, ``w' = -beta P(w) Psi`` with
    ``rho = alpha dt``, ``eta = beta dt``.

    Biased by ``theta != theta_star(w)``, by O(eta/rho) for slow weights. One step costs one
    ``train_grad``, one ``val_grad``, one solve with H and one ``per_sample_jvp``. Defined for every
    problem; ``rho=None`` asks for ``constants``.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out. Stable only below 2/lambda_max(H).
    eta : float or (...)
        Outer step.
    tol : float
        Relative residual of the adjoint where it is found by conjugate gradients.
    """

    rho: Any = None
    eta: Any = 1e-2
    tol: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        checks.positive("tol", self.tol)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> JointState:
        zero = problem.xp.zeros_like(theta)
        return JointState(theta=theta, outer=outer, step=0, seed=seed, adjoint=zero)

    def step(self, problem: Problem, geometry: Geometry, state: JointState) -> JointState:
        rho, eta = step_size(problem, self.rho), step_size(problem, self.eta)
        adjoint = state.adjoint

        def move_theta(theta: Array, outer: Array) -> Array:
            return gradient_step(problem, theta, geometry.weights(outer), rho)

        def move_outer(theta: Array, outer: Array) -> Array:
            nonlocal adjoint
            w = geometry.weights(outer)
            adjoint = problem.adjoint(theta, w, tol=self.tol, guess=state.adjoint)
            return geometry.step(outer, -problem.per_sample_jvp(theta, adjoint), eta)

        theta, outer = in_order(self.order, state.theta, state.outer, move_theta, move_outer)
        return JointState(
            theta=theta, outer=outer, step=state.step + 1, seed=state.seed, adjoint=adjoint
        )

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return problem.hypergradient(theta, w, tol=self.tol)
