"""Weights without memory: the samples that agree with the validation gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .. import checks
from ..geometries import ClippedNormalised, Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, State, in_order, rates, step_size
from .batches import Batch, check_batch_size, draw_batch
from .lookahead import lookahead_field

__all__ = ["L2RState", "LearningToReweight"]

Weights = tuple[Array, Array]
"""Weights of all samples, and whether any was positive when they were computed."""


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
    `ClippedNormalised`. Ren et al. (2018), arXiv 1803.09050; S. Li's (4) has the sign of the step
    wrong and leaves out the clipping and the sum.

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

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> L2RState:
        active = problem.xp.ones_like(outer[..., :1])
        return L2RState(theta=theta, outer=outer, step=0, seed=seed, active=active)

    def step(self, problem: Problem, geometry: Geometry, state: L2RState) -> L2RState:
        xp = problem.xp
        rho = step_size(problem, self.rho) / (1.0 + self.decay * state.step) ** 0.5
        batch = draw_batch(problem, state, self.batch_size, all_val=True)

        def move_theta(theta: Array, weights: Weights) -> Array:
            w, active = weights
            if self.order == "w_first":  # the weights live on this batch
                return theta - rho * batch.problem.train_grad(theta, active * batch.take(w))
            return theta - rho * problem.train_grad(theta, active * w)

        def move_outer(theta: Array, weights: Weights) -> Weights:
            field = self._field(batch, theta, rho)
            fresh = batch.spread(geometry.step(xp.zeros_like(field), field, 1.0))
            active = xp.any(field < 0, axis=-1, keepdims=True)
            w = xp.where(active, fresh, weights[0])
            return w, xp.astype(active, w.dtype)

        theta, (outer, active) = in_order(
            self.order, state.theta, (state.outer, state.active), move_theta, move_outer
        )
        return L2RState(
            theta=theta, outer=outer, step=state.step + 1, seed=state.seed, active=active
        )

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        """Return -u, shape ``(..., n)``: whatever w is, the field at w = 0."""
        whole = Batch(problem=problem, num_samples=problem.num_samples, rows=None)
        return self._field(whole, theta, step_size(problem, self.rho)) + 0.0 * w

    def _field(self, batch: Batch, theta: Array, rho: Any) -> Array:
        """Return -u on the batch, ``(..., b)``."""
        part, xp = batch.problem, batch.problem.xp
        nothing = xp.zeros(part.num_samples, dtype=theta.dtype, device=theta.device)
        return lookahead_field(part, theta, theta - rho * part.train_grad(theta, nothing))
