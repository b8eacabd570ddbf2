"""The single-loop core: theta, its adjoint and the weights move together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, State, in_order, rate, step_size
from .batches import check_batch_size, draw_batch

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
        rho, eta = step_size(problem, self.rho), step_size(problem, self.eta)
        rho_v = rho if self.rho_adjoint is None else step_size(problem, self.rho_adjoint)
        batch = draw_batch(problem, state, self.batch_size)
        part = batch.problem

        def move_inner(inner: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            theta, v = inner
            w = batch.weights(geometry.weights(outer))
            error = part.hvp(theta, w, v) - part.val_grad(theta)
            return theta - rho * part.train_grad(theta, w), v - rho_v * error

        def move_outer(inner: tuple[Array, Array], outer: Array) -> Array:
            theta, v = inner
            return geometry.step(outer, batch.field(-part.per_sample_jvp(theta, v)), eta)

        (theta, v), outer = in_order(
            self.order, (state.theta, state.adjoint), state.outer, move_inner, move_outer
        )
        return SOBAState(theta=theta, outer=outer, step=state.step + 1, seed=state.seed, adjoint=v)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return problem.hypergradient(theta, w)
