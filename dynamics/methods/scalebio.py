"""The value gap as a minimax problem, with weights of sources and blocks of parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .. import checks
from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, State, in_order, positive_rate, random_rows, rates, step_size
from .batches import Batch, check_batch_size, draw_batch
from .value_gap import gap_direction, solved_gap

__all__ = ["ScaleBiO", "ScaleBiOState"]

MASK_STREAM = 2
"""Stream of the random blocks; a mini-batch takes the streams 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class ScaleBiOState(State):
    """The state of :class:`ScaleBiO`: theta of the minimum and u of the maximum."""

    other: Array


@dataclass(frozen=True, kw_only=True)
class ScaleBiO(Method):
    r"""Minimax form of the value-gap penalty, Pan et al. (2024), arXiv 2406.19976.

    With :math:`A = 1/\sigma`, one step for each player of
    :math:`\min_{w,\theta}\max_u F(\theta) + A\,(G(\theta, w) - G(u, w))`:

    .. math::

        \theta^+ = \theta - \rho(\nabla F + A\nabla G), \quad u^+ = u - \rho A\nabla G(u), \quad
        w^+ = \mathrm{step}(w, A\,(l(\theta) - l(u)), \eta).

    In continuous time ``theta' = -alpha (grad F + A grad G)``, ``u' = -alpha A grad G(u)``,
    ``w' = -beta A P(w) (l(theta) - l(u))``; A speeds up the inner points as well as the weights.
    A step costs one ``val_grad``, two ``train_grad`` and two ``per_sample_losses``. Defined for
    every problem; ``rho=None`` asks for ``constants``.

    The rest points and the field at solved points are those of F2SA with the same sigma: biased by
    O(sigma), and by the lag of a single loop. The source weights data *sources* through a softmax:
    join it with ``geometries.Groups`` of ``SoftmaxLogits`` for that, where "at most p nonzero
    weights" says nothing about fewer than p sources. Its weights of a sample are 1/count of its
    source within the batch; here 1/count in all data, times n/batch_size, which is unbiased.

    Random blocks stand for its layer-wise sampling (LISA): of the consecutive blocks of theta only
    ``num_active``, drawn afresh, move at a step, in both players.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; ``1/((1 + A) L)`` when left out, which takes L for the smoothness of F too.
    eta : float or (...)
        Outer step.
    sigma : float or (...)
        1/A, > 0 (0.1 in the reference code).
    growth : float
        A grows by this factor, >= 1, every ``period`` steps, and given rho, and eta, shrink by it.
    period : int
    block_sizes : tuple of int, optional
        Sizes of the consecutive blocks of theta, with sum p; one block when left out.
    num_active : int, optional
        Blocks that move at a step; all when left out.
    batch_size : int, optional
        Samples drawn at each step; all when left out. The step is then unbiased in every part.
    """

    rho: Any = None
    eta: Any = 0.05
    sigma: Any = 0.1
    growth: float = 1.0
    period: int = 1000
    block_sizes: tuple[int, ...] | None = None
    num_active: int | None = None
    batch_size: int | None = None

    shared: ClassVar[tuple[str, ...]] = ("block_sizes",)
    points: ClassVar[tuple[str, ...]] = ("theta", "other")

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        positive_rate("sigma", self.sigma)
        if checks.real("growth", self.growth) < 1:
            raise ValueError(f"`growth` must be >= 1; got {self.growth}.")
        checks.integer("period", self.period, minimum=1)
        check_batch_size(self.batch_size)
        self._check_blocks()

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> ScaleBiOState:
        if self.block_sizes is not None and sum(self.block_sizes) != problem.num_params:
            raise ValueError(
                f"`block_sizes` must sum to the number of parameters ({problem.num_params}); got "
                f"{sum(self.block_sizes)}."
            )
        return ScaleBiOState(theta=theta, outer=outer, step=0, seed=seed, other=theta)

    def step(self, problem: Problem, geometry: Geometry, state: ScaleBiOState) -> ScaleBiOState:
        A, rho, eta = self._speeds(problem, state)
        batch = draw_batch(problem, state, self.batch_size)
        part = batch.problem

        def move_inner(points: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            return _inner(batch, points, geometry.weights(outer), A, rho)

        def move_outer(points: tuple[Array, Array], outer: Array) -> Array:
            losses, others = (part.per_sample_losses(point) for point in points)
            return geometry.step(outer, batch.field(A * (losses - others)), eta)

        (theta, other), outer = in_order(
            self.order, (state.theta, state.other), state.outer, move_inner, move_outer
        )
        return ScaleBiOState(
            theta=theta, outer=outer, step=state.step + 1, seed=state.seed, other=other
        )

    def relax(self, problem: Problem, geometry: Geometry, state: ScaleBiOState) -> ScaleBiOState:
        A, rho, _ = self._speeds(problem, state)
        batch, w = draw_batch(problem, state, self.batch_size), geometry.weights(state.outer)
        theta, other = _inner(batch, (state.theta, state.other), w, A, rho)
        return replace(state, theta=theta, other=other)

    def settle(
        self,
        problem: Problem,
        geometry: Geometry,
        state: ScaleBiOState,
        num_steps: int | None = None,
    ) -> ScaleBiOState:
        sigma, w = 1.0 / self._speeds(problem, state)[0], geometry.weights(state.outer)
        points = (state.theta, state.other)
        theta, other = solved_gap(problem, points, w, sigma, 0.0 * sigma, num_steps=num_steps)
        return replace(state, theta=theta, other=other)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        sigma = step_size(problem, self.sigma)
        return gap_direction(problem, theta, w, sigma, 0.0 * sigma)

    def _check_blocks(self) -> None:
        """Check the blocks and how many of them move."""
        if self.block_sizes is not None:
            if not isinstance(self.block_sizes, tuple) or not self.block_sizes:
                raise TypeError(
                    f"`block_sizes` must be a non-empty tuple of ints; got {self.block_sizes!r}."
                )
            for size in self.block_sizes:
                checks.integer("block_sizes", size, minimum=1)
        if self.num_active is not None:
            checks.integer("num_active", self.num_active, minimum=1)
            count = 1 if self.block_sizes is None else len(self.block_sizes)
            if self.num_active > count:
                raise ValueError(
                    f"`num_active` must be at most the number of blocks ({count}); got "
                    f"{self.num_active}."
                )

    def _speeds(self, problem: Problem, state: State) -> tuple[Any, Any, Any]:
        """Return A, the inner step, 0 where blocks rest, and the outer step."""
        level = self.growth ** (state.step // self.period)
        A = level / step_size(problem, self.sigma)
        if self.rho is None:
            rho = step_size(problem, None) / (1.0 + A)
        else:
            rho = step_size(problem, self.rho) / level
        return A, rho * self._mask(problem, state), step_size(problem, self.eta) / level

    def _mask(self, problem: Problem, state: State) -> Any:
        """Return 1 for the coordinates ``(p,)`` that move at this step, 0 for the others."""
        if self.block_sizes is None or self.num_active is None:
            return 1.0
        chosen = np.zeros(len(self.block_sizes))
        chosen[random_rows(state, len(chosen), self.num_active, MASK_STREAM)] = 1.0
        mask = np.repeat(chosen, self.block_sizes)
        return problem.xp.asarray(mask, dtype=problem.dtype, device=problem.device)


def _inner(
    batch: Batch, points: tuple[Array, Array], w: Array, A: Any, rho: Any
) -> tuple[Array, Array]:
    """Return theta and u after one step on a batch."""
    (theta, other), part, weights = points, batch.problem, batch.weights(w)
    slope = part.val_grad(theta) + A * part.train_grad(theta, weights)
    return theta - rho * slope, other - rho * (A * part.train_grad(other, weights))
