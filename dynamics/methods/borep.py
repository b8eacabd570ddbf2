"""Normalised momentum for the weights, periodic steps for theta."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .. import checks
from ..geometries import Geometry, Sigmoid
from ..linalg import norm
from ..problems import Problem
from ..types import Array
from .base import Method, State, gradient_step, in_order, rate, step_size
from .batches import Batch, check_batch_size, draw_batch
from .value_gap import project_ball, solved_in_ball

__all__ = ["BOREP", "BOREPState"]


@dataclass(frozen=True, kw_only=True)
class BOREPState(State):
    """The state of :class:`BOREP`: the adjoint v ``(..., p)`` and the momentum m ``(..., n)``."""

    adjoint: Array
    momentum: Array


@dataclass(frozen=True, kw_only=True)
class BOREP(Method):
    r"""Initialisation refinement, periodic inner updates, normalised momentum; Hao et al. (2024).

    .. math::

        \theta^+ &= \mathrm{proj}_M(\theta - \rho\nabla_\theta G)
            \quad (N \text{ times, at every } I\text{-th step}), \\
        v^+ &= v - \rho_v(H v - \nabla F), \qquad m^+ = b\,m - (1 - b) J^\top v, \\
        w^+ &= \mathrm{step}\Big(w, \frac{m - \langle w, m\rangle 1}
            {|m - \langle w, m\rangle 1|}, \frac{\eta}{(k + 1)^a}\Big).

    In continuous time theta and v as in SOBA, ``m' = -(m + J' v)/tau`` and a weight flow of unit
    speed, whose effective speed ``eta/|m|`` grows without bound at a rest point: with a constant
    eta the weights orbit it, hence the decay. A step costs one ``val_grad``, ``hvp`` and
    ``per_sample_jvp``, and N/I ``train_grad``. Defined for every problem; ``rho=None`` asks for
    ``constants``.

    Biased by the lag of theta, v and m. Scaling F changes nothing. With ``momentum=0, period=1,
    num_inner_steps=1, norm=None, decay=0, num_warmup=0`` it is SOBA. The reference code divides
    by the Euclidean norm on logits; here the sup norm by default, the dual norm of mirror steps,
    after centring: a constant in m moves no simplex weights and must not set the length of the
    step. With the sigmoid geometry, where a constant does move the weights, m is not centred.

    arXiv 2401.09587.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step: the largest change of a log-weight at the first step.
    rho_adjoint : float or (...), optional
        Step of the adjoint; ``rho`` when left out.
    momentum : float
        b, in [0, 1).
    norm : float or None
        ``math.inf``, 2, or None for no normalisation.
    decay : float
        a, at least 0.
    period, num_inner_steps : int
        I and N.
    radius : float, optional
        M: theta is projected onto ``|theta| <= M``.
    num_warmup : int
        Steps of theta on all data at w0 before the first step (the refinement): ``theta0`` is only
        a first guess.
    batch_size : int, optional
        Samples drawn at each inner step, and afresh for v and m; all when left out.
    """

    rho: Any = None
    eta: Any = 0.3
    rho_adjoint: Any = None
    momentum: float = 0.9
    norm: float | None = math.inf
    decay: float = 0.5
    period: int = 2
    num_inner_steps: int = 10
    radius: float | None = None
    num_warmup: int = 100
    batch_size: int | None = None

    points: ClassVar[tuple[str, ...]] = ("theta", "adjoint")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rho", "rho_adjoint"):
            if getattr(self, name) is not None:
                rate(name, getattr(self, name))
        rate("eta", self.eta)
        checks.share("momentum", self.momentum)
        if self.norm is not None and (np.ndim(self.norm) or self.norm not in (2, math.inf)):
            raise ValueError(f"`norm` must be math.inf, 2 or None; got {self.norm!r}.")
        checks.nonnegative("decay", self.decay)
        checks.integer("period", self.period, minimum=1)
        checks.integer("num_inner_steps", self.num_inner_steps, minimum=1)
        checks.integer("num_warmup", self.num_warmup, minimum=0)
        if self.radius is not None:
            checks.positive("radius", self.radius)
        check_batch_size(self.batch_size)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> BOREPState:
        w, whole = geometry.weights(outer), self._whole(problem)
        for _ in range(self.num_warmup):
            theta = self._descend(problem, whole, theta, w)
        adjoint = problem.adjoint(theta, w)
        momentum = -problem.per_sample_jvp(theta, adjoint)
        return BOREPState(
            theta=theta, outer=outer, step=0, seed=seed, adjoint=adjoint, momentum=momentum
        )

    def step(self, problem: Problem, geometry: Geometry, state: BOREPState) -> BOREPState:
        eta = step_size(problem, self.eta) * (state.step + 1.0) ** -self.decay
        steps = self.num_inner_steps if state.step % self.period == 0 else 0
        momentum = state.momentum
        batch = self._batch(problem, state, self.num_inner_steps)

        def move_inner(inner: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            theta, v = inner
            weights = geometry.weights(outer)
            v = self._follow(problem, batch, theta, v, weights)
            for k in range(steps):
                draw = batch if self.num_inner_steps == 1 else self._batch(problem, state, k)
                theta = self._descend(problem, draw, theta, weights)
            return theta, v

        def move_outer(inner: tuple[Array, Array], outer: Array) -> Array:
            nonlocal momentum
            theta, v = inner
            field = batch.field(-batch.problem.per_sample_jvp(theta, v))
            momentum = self.momentum * state.momentum + (1.0 - self.momentum) * field
            return geometry.step(outer, self.unit(problem, geometry, outer, momentum), eta)

        (theta, adjoint), outer = in_order(
            self.order, (state.theta, state.adjoint), state.outer, move_inner, move_outer
        )
        return BOREPState(
            theta=theta,
            outer=outer,
            step=state.step + 1,
            seed=state.seed,
            adjoint=adjoint,
            momentum=momentum,
        )

    def relax(self, problem: Problem, geometry: Geometry, state: BOREPState) -> BOREPState:
        batch, w = self._batch(problem, state, 0), geometry.weights(state.outer)
        v = self._follow(problem, batch, state.theta, state.adjoint, w)
        return replace(state, theta=self._descend(problem, batch, state.theta, w), adjoint=v)

    def settle(
        self, problem: Problem, geometry: Geometry, state: BOREPState, num_steps: int | None = None
    ) -> BOREPState:
        if self.radius is None:
            state = super().settle(problem, geometry, state, num_steps)
        w = geometry.weights(state.outer)
        if self.radius is not None:
            theta = solved_in_ball(problem, state.theta, w, 0.0, self.radius)
            state = replace(state, theta=theta)
        return replace(state, adjoint=problem.adjoint(state.theta, w, guess=state.adjoint))

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return problem.hypergradient(theta, w)

    def _descend(self, problem: Problem, batch: Batch, theta: Array, w: Array) -> Array:
        """Return theta after one step on a batch."""
        rho = step_size(problem, self.rho)
        theta = gradient_step(batch.problem, theta, batch.weights(w), rho)
        return project_ball(theta, self.radius)

    def _follow(self, problem: Problem, batch: Batch, theta: Array, v: Array, w: Array) -> Array:
        """Return v after one step on a batch."""
        rho = self.rho if self.rho_adjoint is None else self.rho_adjoint
        part = batch.problem
        error = part.hvp(theta, batch.weights(w), v) - part.val_grad(theta)
        return v - step_size(problem, rho) * error

    def _whole(self, problem: Problem) -> Batch:
        """Return all samples."""
        return Batch(problem=problem, num_samples=problem.num_samples, rows=None)

    def _batch(self, problem: Problem, state: State, k: int) -> Batch:
        """Return the k-th mini-batch of this step; one for everything where N = 1."""
        count = 0 if self.num_inner_steps == 1 else self.num_inner_steps
        key = replace(state, step=state.step * (count + 1) + min(k, count))
        return draw_batch(problem, key, self.batch_size)

    def unit(self, problem: Problem, geometry: Geometry, outer: Array, m: Array) -> Array:
        """Return m centred and divided by its norm, 0 where that is 0."""
        if self.norm is None:
            return m
        xp, w = problem.xp, geometry.weights(outer)
        if not isinstance(geometry.core, Sigmoid):
            m = m - xp.sum(w * m, axis=-1, keepdims=True)
        size = norm(m) if self.norm == 2 else xp.max(xp.abs(m), axis=-1, keepdims=True)
        return m / xp.where(size > 0, size, xp.ones_like(size))
