"""One inner step is differentiated, and the weights are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, State, gradient_step, in_order, rates, remembering, step_size
from .batches import check_batch_size, draw_batch
from .lookahead import lookahead_field

__all__ = ["OneStep"]


@dataclass(frozen=True, kw_only=True)
class OneStep(Method):
    r"""Weights move along the gradient of F after one inner step.

    .. math::

        \theta_+ = \theta - \rho\,\nabla_\theta G(\theta, w), \qquad
        w^+ = \mathrm{step}(w, -J(\theta)^\top \nabla F(\theta_+), \eta), \qquad
        \theta^+ = \theta - \rho\,\nabla_\theta G(\theta, w^+).

    The gradient of :math:`F(\theta_+(w))` is :math:`\rho` times that field; it is divided by
    :math:`\rho` here, so that eta means about what it means elsewhere. ``order="w_first"``, the
    default, is S. Li, 'Learning to Reweight and Bilevel Optimization', (5)-(6).

    Continuous time: ``theta' = -alpha grad G``, ``w' = -beta P(w) (-J^T grad F)``: Psi with the
    identity for :math:`H^{-1}`, its bias. The field may point away from Psi, so h need not
    decrease. At frozen theta and small rho it is constant and the weights go to one sample; with
    any rho it is the mirror flow of the convex w -> F(theta_+). One step costs two ``train_grad``
    (one in the simultaneous order), one ``val_grad`` and one ``per_sample_jvp``. Defined for every
    problem; ``rho=None`` asks for ``constants``.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step.
    batch_size : int, optional
        Training and validation samples drawn at each step; everything when left out.
    """

    order: str = "w_first"
    rho: Any = None
    eta: Any = 1e-2
    batch_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        check_batch_size(self.batch_size)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> State:
        return State(theta=theta, outer=outer, step=0, seed=seed)

    def step(self, problem: Problem, geometry: Geometry, state: State) -> State:
        rho, eta = step_size(problem, self.rho), step_size(problem, self.eta)
        batch = draw_batch(problem, state, self.batch_size)
        part = batch.problem

        def move_theta(theta: Array, outer: Array) -> Array:
            return gradient_step(part, theta, batch.weights(geometry.weights(outer)), rho)

        ahead = remembering(move_theta)

        def move_outer(theta: Array, outer: Array) -> Array:
            field = lookahead_field(part, theta, ahead(theta, outer))
            return geometry.step(outer, batch.field(field), eta)

        theta, outer = in_order(self.order, state.theta, state.outer, ahead, move_outer)
        return State(theta=theta, outer=outer, step=state.step + 1, seed=state.seed)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        rho = step_size(problem, self.rho)
        return lookahead_field(problem, theta, gradient_step(problem, theta, w, rho))

    def relax(self, problem: Problem, geometry: Geometry, state: State) -> State:
        batch = draw_batch(problem, state, self.batch_size)
        w, rho = batch.weights(geometry.weights(state.outer)), step_size(problem, self.rho)
        return replace(state, theta=gradient_step(batch.problem, state.theta, w, rho))
