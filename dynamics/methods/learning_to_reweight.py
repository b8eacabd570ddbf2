"""Weights without memory: the samples that agree with the validation gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .. import checks
from ..geometries import ClippedNormalised, Geometry, Penalised
from ..problems import Problem
from ..types import Array
from .base import (
    Method,
    State,
    gradient_step,
    in_order,
    rates,
    refuse_batches,
    refuse_layer,
    step_size,
)
from .batches import Batch, check_batch_size, draw_batch
from .lookahead import lookahead_field
from .stationary import solved_theta

__all__ = ["L2RState", "LearningToReweight"]

Weights = tuple[Array, Array]
"""State of the weights, and whether any was positive when they were computed."""


@dataclass(frozen=True, kw_only=True)
class L2RState(State):
    """The state of :class:`LearningToReweight`.

    Attributes
    ----------
    active : (..., 1)
        1 where some sample had a positive weight when the weights were last computed, else 0.
    """

    active: Array


@dataclass(frozen=True, kw_only=True)
class LearningToReweight(Method):
    r"""Weights from one look ahead at w = 0, clipped and normalised at every step.

    .. math::

        u = J(\theta)^\top \nabla F(\theta - \rho\lambda\theta), \qquad
        w = \frac{\max(u, 0)}{\sum_i \max(u_i, 0)}, \qquad
        \theta^+ = \theta - \rho\,(J w + \lambda\theta).

    :math:`-\rho u` is the gradient in w at 0 of F after one inner step. rho cancels in w (up to its
    effect on the look-ahead, which is nothing for ridge 0) and is left out of :meth:`direction`.
    Where no entry of u is positive, theta moves by the ridge alone and the last weights are shown.

    Continuous time: ``theta' = -J w(theta) - lam theta``; with ridge 0, F decreases along it, and
    it rests where ``J^T grad F <= 0``, which is not ``grad h = 0``. w is no argument of h: judge
    theta, or retrain on weights averaged over time. Biased as a descent on h: the identity stands
    for ``H^{-1}``, the look-ahead is at w = 0, and a mini-batch is divided by its own sum. About
    half of the samples have weight zero at the start. At a fixed rho theta does not converge, since
    normalised steps do not shrink: hence ``decay``. The default order is "w_first" (in the others
    theta follows the weights of the step before). One step costs two ``train_grad``, one
    ``val_grad`` and one ``per_sample_jvp``. Defined for every problem, with geometry
    `ClippedNormalised`, also inside `Mixed`, `Floored`, `Averaged` and `Groups`; on a mini-batch
    the first two act on the batch alone. Ren et al. (2018), arXiv 1803.09050; S. Li's (4) has the
    sign of the step wrong and leaves out the clipping and the sum.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    decay : float
        Step k uses ``rho / sqrt(1 + decay k)``.
    batch_size : int, optional
        Training samples drawn at each step; weights are zero outside. All when left out.
        Validation samples are always all used.
    """

    order: str = "w_first"
    rho: Any = None
    decay: float = 0.1
    batch_size: int | None = None

    geometries: ClassVar[tuple[type[Geometry], ...]] = (ClippedNormalised,)

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho")
        checks.nonnegative("decay", self.decay)
        check_batch_size(self.batch_size)

    def check_geometry(self, geometry: Geometry) -> None:
        super().check_geometry(geometry)
        why = "it starts from no weights at every step, where a penalty has no slope; use Mixed"
        refuse_layer(self, geometry, Penalised, why)
        refuse_batches(self, geometry, self.batch_size)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> L2RState:
        active = problem.xp.ones_like(outer[..., :1])
        return L2RState(theta=theta, outer=outer, step=0, seed=seed, active=active)

    def step(self, problem: Problem, geometry: Geometry, state: L2RState) -> L2RState:
        xp = problem.xp
        rho = self._rho(problem, state)
        batch = draw_batch(problem, state, self.batch_size, all_val=True)

        def move_theta(theta: Array, weights: Weights) -> Array:
            outer, active = weights
            if self.order == "w_first":  # the weights live on this batch
                w = geometry.weights(batch.take(outer))
                return gradient_step(batch.problem, theta, active * w, rho)
            return gradient_step(problem, theta, active * geometry.weights(outer), rho)

        def move_outer(theta: Array, weights: Weights) -> Weights:
            field = self._field(batch, theta, rho)
            fresh = batch.spread(geometry.fresh(batch.take(weights[0]), field))
            active = xp.any(field < 0, axis=-1, keepdims=True)
            outer = xp.where(active, fresh, weights[0])
            return outer, xp.astype(active, outer.dtype)

        theta, (outer, active) = in_order(
            self.order, state.theta, (state.outer, state.active), move_theta, move_outer
        )
        return L2RState(
            theta=theta, outer=outer, step=state.step + 1, seed=state.seed, active=active
        )

    def relax(self, problem: Problem, geometry: Geometry, state: L2RState) -> L2RState:
        w, rho = state.active * geometry.weights(state.outer), self._rho(problem, state)
        return replace(state, theta=gradient_step(problem, state.theta, w, rho))

    def settle(
        self, problem: Problem, geometry: Geometry, state: L2RState, num_steps: int | None = None
    ) -> L2RState:
        w = state.active * geometry.weights(state.outer)
        return replace(state, theta=solved_theta(problem, state.theta, w, num_steps))

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        """Return -u, shape ``(..., n)``: whatever w is, the field at w = 0."""
        whole = Batch(problem=problem, num_samples=problem.num_samples, rows=None)
        return self._field(whole, theta, step_size(problem, self.rho)) + 0.0 * w

    def _rho(self, problem: Problem, state: L2RState) -> Any:
        """Return the inner step at the step that the state is at."""
        return step_size(problem, self.rho) / (1.0 + self.decay * state.step) ** 0.5

    def _field(self, batch: Batch, theta: Array, rho: Any) -> Array:
        """Return -u on the batch, ``(..., b)``."""
        part, xp = batch.problem, batch.problem.xp
        nothing = xp.zeros(part.num_samples, dtype=theta.dtype, device=theta.device)
        return lookahead_field(part, theta, gradient_step(part, theta, nothing, rho))
