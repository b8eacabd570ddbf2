"""The reference: both inner problems solved at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .. import checks
from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, rate, step_size
from .joint import JointState

__all__ = ["Exact"]


@dataclass(frozen=True, kw_only=True)
class Exact(Method):
    r"""Gradient steps on h with its exact gradient.

    .. math:: \theta = \theta^\star(w), \qquad w^+ = \mathrm{step}(w, \nabla h(w), \eta).

    With the mirror geometry, Euler on the exact bilevel flow: h decreases for small eta; above
    ``eta kappa = 2`` (theory T7c) it does not diverge but jumps along the solved manifold.
    Unbiased. One step costs one inner solve, one adjoint and one ``per_sample_jvp``. Since theta is
    a function of w, the three orders coincide, and a given ``theta0`` is only a first guess.
    Defined where the problem has ``theta_star``. [IA23] section 3.1; S. Li's (11).

    Parameters
    ----------
    eta : float or (...)
        Outer step.
    tol : float
        Relative residual of the adjoint where it is found by conjugate gradients.
    """

    eta: Any = 1e-2
    tol: float = 1e-8

    requires: ClassVar[tuple[str, ...]] = ("theta_star",)

    def __post_init__(self) -> None:
        super().__post_init__()
        rate("eta", self.eta)
        checks.positive("tol", self.tol)

    @property
    def ignores_start(self) -> str:
        return "it solves for theta at every step"

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> JointState:
        theta = problem.theta_star(geometry.weights(outer), theta)
        zero = problem.xp.zeros_like(theta)
        return JointState(theta=theta, outer=outer, step=0, seed=seed, adjoint=zero)

    def step(self, problem: Problem, geometry: Geometry, state: JointState) -> JointState:
        w = geometry.weights(state.outer)
        adjoint = problem.adjoint(state.theta, w, tol=self.tol, guess=state.adjoint)
        field = -problem.per_sample_jvp(state.theta, adjoint)
        outer = geometry.step(state.outer, field, step_size(problem, self.eta))
        theta = problem.theta_star(geometry.weights(outer), state.theta)
        return JointState(
            theta=theta, outer=outer, step=state.step + 1, seed=state.seed, adjoint=adjoint
        )

    def relax(self, problem: Problem, geometry: Geometry, state: JointState) -> JointState:
        """Return the state: theta is solved for."""
        return state

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return problem.outer_grad(w, tol=self.tol) + problem.xp.zeros_like(theta[..., :1])
