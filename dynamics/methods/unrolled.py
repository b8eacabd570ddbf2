r"""What methods that differentiate several inner steps share.

.. math:: \theta_{t+1} = \theta_t - \rho\,\nabla_\theta G(\theta_t, w), \qquad t = 0 \dots T - 1.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from .. import checks
from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, State, gradient_step, in_order, rates, remembering, step_size

__all__ = ["Unrolled", "UnrolledState"]


@dataclass(frozen=True, kw_only=True)
class UnrolledState(State):
    """The state of an unrolled method: where cold starts begin, theta_0 of the run."""

    reference: Array


@dataclass(frozen=True, kw_only=True)
class Unrolled(Method):
    r"""T inner steps for each outer step, and the derivative of their result in w.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step.
    num_inner_steps : int
        T.
    cold_start : bool
        Whether the inner steps begin at theta_0 of the run every time (the field is then the exact
        gradient of one function of w), or at the last theta (which is treated as a constant, a
        truncation).
    """

    rho: Any = None
    eta: Any = 1e-2
    num_inner_steps: int = 10
    cold_start: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        checks.integer("num_inner_steps", self.num_inner_steps, minimum=1)
        checks.flag("cold_start", self.cold_start)

    @property
    def ignores_start(self) -> str:
        return "with `cold_start` every unrolling begins at theta_0" if self.cold_start else ""

    @abstractmethod
    def respond(self, problem: Problem, theta: Array, w: Array, rho: Any) -> tuple[Array, Array]:
        r"""Return theta_T ``(..., p)`` and the method's derivative of F(theta_T) ``(..., n)``."""

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> UnrolledState:
        return UnrolledState(theta=theta, outer=outer, step=0, seed=seed, reference=theta)

    def step(self, problem: Problem, geometry: Geometry, state: UnrolledState) -> UnrolledState:
        rho, eta = step_size(problem, self.rho), step_size(problem, self.eta)
        run = remembering(
            lambda start, outer: self.respond(problem, start, geometry.weights(outer), rho)
        )

        def start(theta: Array) -> Array:
            return state.reference if self.cold_start else theta

        def move_theta(theta: Array, outer: Array) -> Array:
            if self.order == "w_first":
                return descend(problem, start(theta), geometry.weights(outer), rho, self)
            return run(start(theta), outer)[0]

        def move_outer(theta: Array, outer: Array) -> Array:
            return geometry.step(outer, run(start(theta), outer)[1], eta)

        theta, outer = in_order(self.order, state.theta, state.outer, move_theta, move_outer)
        return UnrolledState(
            theta=theta,
            outer=outer,
            step=state.step + 1,
            seed=state.seed,
            reference=state.reference,
        )

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return self.respond(problem, theta, w, step_size(problem, self.rho))[1]


def descend(problem: Problem, theta: Array, w: Array, rho: Any, method: Unrolled) -> Array:
    """Return theta_T alone."""
    for _ in range(method.num_inner_steps):
        theta = gradient_step(problem, theta, w, rho)
    return theta
