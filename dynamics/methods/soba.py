"""The single-loop core: theta, its adjoint and the weights move together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, State, gradient_step, in_order, rate, step_size
from .batches import Batch, check_batch_size, draw_batch

__all__ = ["SOBA", "SOBAState"]


@dataclass(frozen=True, kw_only=True)
class SOBAState(State):
    """The state of :class:`SOBA`: the moving adjoint v."""

    adjoint: Array


@dataclass(frozen=True, kw_only=True)
class SOBA(Method):
    r"""Stochastic bilevel algorithm: one step each for theta, the adjoint v and the weights.

    .. math::

        v^+ = v - \rho_v\,(H v - \nabla F(\theta)), \qquad
        \theta^+ = \theta - \rho\,\nabla_\theta G(\theta, w), \qquad
        w^+ = \mathrm{step}(w, -J^\top v, \eta).

    In continuous time ``v' = -kappa (H v - grad F)``: three time scales. At frozen theta the
    weights are sparse (at most p) only where v is fast; with v slow too, the field is constant and
    the weights go to a single sample. Biased by the lag of theta and v, and unbiased in its
    mini-batches for given (theta, v, w). One step costs one ``train_grad``, ``val_grad``, ``hvp``
    and ``per_sample_jvp``. v starts at ``H^{-1} grad F``, and at 0 on a problem that is not known
    to be convex, where H may be indefinite. Defined for every problem; ``rho=None`` asks for
    ``constants``. Dagreou et al. (2022), arXiv 2201.13409.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step.
    rho_adjoint : float or (...), optional
        Step of the adjoint; ``rho`` when left out.
    batch_size : int, optional
        Training and validation samples drawn without replacement at each step (at most all of
        them); everything when left out. Samples outside the batch get the field 0, those inside
        n/batch_size times theirs.
    """

    rho: Any = None
    eta: Any = 1e-2
    rho_adjoint: Any = None
    batch_size: int | None = None

    points: ClassVar[tuple[str, ...]] = ("theta", "adjoint")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rho", "rho_adjoint"):
            if getattr(self, name) is not None:
                rate(name, getattr(self, name))
        rate("eta", self.eta)
        check_batch_size(self.batch_size)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> SOBAState:
        if problem.is_convex:
            adjoint = problem.adjoint(theta, geometry.weights(outer))
        else:
            adjoint = problem.xp.zeros_like(theta + outer[..., :1])
        return SOBAState(theta=theta, outer=outer, step=0, seed=seed, adjoint=adjoint)

    def step(self, problem: Problem, geometry: Geometry, state: SOBAState) -> SOBAState:
        eta = step_size(problem, self.eta)
        batch = draw_batch(problem, state, self.batch_size)

        def move_inner(inner: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            return self._inner(problem, batch, inner, geometry.weights(outer))

        def move_outer(inner: tuple[Array, Array], outer: Array) -> Array:
            field = -batch.problem.per_sample_jvp(*inner)
            return geometry.step(outer, batch.field(field), eta)

        (theta, v), outer = in_order(
            self.order, (state.theta, state.adjoint), state.outer, move_inner, move_outer
        )
        return SOBAState(theta=theta, outer=outer, step=state.step + 1, seed=state.seed, adjoint=v)

    def relax(self, problem: Problem, geometry: Geometry, state: SOBAState) -> SOBAState:
        batch, w = draw_batch(problem, state, self.batch_size), geometry.weights(state.outer)
        theta, v = self._inner(problem, batch, (state.theta, state.adjoint), w)
        return replace(state, theta=theta, adjoint=v)

    def settle(
        self, problem: Problem, geometry: Geometry, state: SOBAState, num_steps: int | None = None
    ) -> SOBAState:
        state = super().settle(problem, geometry, state, num_steps)
        v = problem.adjoint(state.theta, geometry.weights(state.outer), guess=state.adjoint)
        return replace(state, adjoint=v)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return problem.hypergradient(theta, w)

    def _inner(
        self, problem: Problem, batch: Batch, inner: tuple[Array, Array], w: Array
    ) -> tuple[Array, Array]:
        """Return theta and v after one step on a batch."""
        (theta, v), part, weights = inner, batch.problem, batch.weights(w)
        rho = step_size(problem, self.rho)
        rho_v = rho if self.rho_adjoint is None else step_size(problem, self.rho_adjoint)
        error = part.hvp(theta, weights, v) - part.val_grad(theta)
        return gradient_step(part, theta, weights, rho), v - rho_v * error
