"""Weights as a learned function of the losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from array_api_compat import array_namespace

from .. import checks
from ..geometries import Floored, Geometry, Groups, Sigmoid, SoftmaxLogits
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
from .networks import Network, Perceptron, Table

__all__ = ["Meta", "MetaWeightNet", "MetaWeightNetState", "standardise"]

EPSILON = 1e-8
"""Adam's guard against a division by zero."""


@dataclass(frozen=True, kw_only=True)
class Meta:
    """The outer variables of :class:`MetaWeightNet`.

    Attributes
    ----------
    outer : (..., m)
        The state of the weights, its logits those of the samples at their last losses.
    phi : (..., P)
        Parameters of the network.
    mean, square : (..., P)
        Adam's averages of the gradient and of its square.
    """

    outer: Array
    phi: Array
    mean: Array
    square: Array


@dataclass(frozen=True, kw_only=True)
class MetaWeightNetState(State):
    """The state of :class:`MetaWeightNet`.

    Attributes
    ----------
    base : (..., n)
        The logits of w0, to which the network adds.
    meta : Meta
    """

    base: Array
    meta: Meta


@dataclass(frozen=True, kw_only=True)
class MetaWeightNet(Method):
    r"""A network turns losses into weights; its parameters move along the one-step field.

    .. math::

        s_i = s^0_i + V(z_i; \phi), \quad w = w(s), \qquad
        g = -J(\theta)^\top \nabla F(\theta - \rho\,\nabla_\theta G(\theta, w)), \\
        \phi^+ = \phi - \eta\,\mathrm{Adam}\Big(\sum_i \frac{\partial s_i}{\partial\phi}
        \Big[\frac{\partial w}{\partial s}^\top g\Big]_i\Big), \qquad
        \theta^+ = \theta - \rho\,\nabla_\theta G(\theta, w(s(\phi^+))).

    :math:`z_i` is the standardised loss :math:`l_i(\theta)`, a constant in the derivative. g is the
    gradient of the look-ahead loss divided by rho, as in `OneStep`; Adam removes the scale anyway.
    The geometry says what logits mean: `Sigmoid` (default) is the paper's raw variant, whose sum of
    weights is free and so tunes the inner step and the ridge too (w0 must lie below its cap), and
    `SoftmaxLogits` keeps the simplex, comparable with other methods. On a mini-batch the geometry
    acts on the batch alone.

    A function of the loss can only tell groups apart that differ in it. Where theta_0 fits the
    unwanted samples better than the others, the network learns to prefer high losses, which then
    holds theta where all groups lose alike: of two opposite clusters about a third of the draws end
    so with ``num_warmup=0``. A few steps on F first, the default, avoid that. A small eta is slow
    to leave a wrong side, hence the large default. Samples that are noise around 0 lose too much
    like noisy good ones to be told apart well.

    Continuous time (plain gradient): ``phi' = -beta V'^T (dw/ds)^T g``, ``theta' = -alpha grad G``.
    Biased as `OneStep` is, and towards weights that are a smooth function of the loss: equal losses
    get equal weights, and sparsity by count of equations cannot occur. w is no argument of h: judge
    theta. One step costs two ``train_grad``, one ``val_grad``, one ``per_sample_jvp``, one
    ``per_sample_losses`` and the network forth, back and forth. Defined for every problem. Shu et
    al. (2019), arXiv 1902.07379.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Step of Adam, or of the gradient.
    network : Network
        ``Perceptron(num_hidden=8)``, or ``Table()``: free logits.
    adam : bool
        Whether the gradient goes through Adam, or is taken as it is.
    weight_decay : float
        Times phi, added to the gradient.
    memory, memory_square : float
        Adam's two decay rates, in [0, 1).
    num_warmup : int
        Steps of theta along ``-val_grad`` before the first step; 0 is the method as published.
    batch_size : int, optional
        Training and validation samples drawn at each step; everything when left out.
    """

    order: str = "w_first"
    rho: Any = None
    eta: Any = 0.1
    network: Network = Perceptron()  # noqa: RUF009 (frozen, hence safe to share)
    adam: bool = True
    weight_decay: float = 1e-4
    memory: float = 0.9
    memory_square: float = 0.999
    num_warmup: int = 30
    batch_size: int | None = None

    geometries: ClassVar[tuple[type[Geometry], ...]] = (Sigmoid, SoftmaxLogits)

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        if not isinstance(self.network, Network):
            raise TypeError(
                f"`network` must be a network such as Perceptron(); got {self.network!r}."
            )
        checks.flag("adam", self.adam)
        checks.integer("num_warmup", self.num_warmup, minimum=0)
        checks.nonnegative("weight_decay", self.weight_decay)
        for name in ("memory", "memory_square"):
            checks.share(name, getattr(self, name))
        check_batch_size(self.batch_size)
        if self.batch_size is not None and isinstance(self.network, Table):
            raise ValueError(f"`batch_size` must be None with Table(); got {self.batch_size}.")

    def check_geometry(self, geometry: Geometry) -> None:
        super().check_geometry(geometry)
        lost = "a sample at the floor would teach the network nothing; use Mixed"
        refuse_layer(self, geometry, Floored, lost)
        refuse_layer(self, geometry, Groups, "the network has one input for each sample; drop it")
        refuse_batches(self, geometry, self.batch_size)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> MetaWeightNetState:
        rho = step_size(problem, self.rho)
        for _ in range(self.num_warmup):
            theta = theta - rho * problem.val_grad(theta)
        first = self.network.start(problem.num_samples, seed)
        phi = problem.xp.asarray(first, dtype=problem.dtype, device=problem.device)
        phi = 0.0 * outer[..., :1] + phi
        meta = Meta(outer=outer, phi=phi, mean=0.0 * phi, square=0.0 * phi)
        base = geometry.logits(outer)
        return MetaWeightNetState(theta=theta, outer=outer, step=0, seed=seed, base=base, meta=meta)

    def step(
        self, problem: Problem, geometry: Geometry, state: MetaWeightNetState
    ) -> MetaWeightNetState:
        rho = step_size(problem, self.rho)
        batch = draw_batch(problem, state, self.batch_size)
        part = batch.problem

        def move_theta(theta: Array, meta: Meta) -> Array:
            return self._descend(problem, geometry, batch, theta, meta.outer)

        def move_outer(theta: Array, meta: Meta) -> Meta:
            z, base = standardise(part.per_sample_losses(theta)), batch.take(state.base)
            old = batch.take(meta.outer)
            logits, pull = self.network.linearise(meta.phi, z)
            s = geometry.with_logits(old, base + logits)
            ahead = gradient_step(part, theta, geometry.weights(s), rho)
            g = geometry.pull(s, lookahead_field(part, theta, ahead))
            moved = self._train(problem, meta, pull(g), state.step)
            fresh = geometry.with_logits(old, base + self.network.logits(moved.phi, z))
            if batch.rows is not None:
                fresh = meta.outer + batch.spread(fresh - old)
            return replace(moved, outer=fresh)

        theta, meta = in_order(self.order, state.theta, state.meta, move_theta, move_outer)
        return replace(state, theta=theta, outer=meta.outer, step=state.step + 1, meta=meta)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        rho = step_size(problem, self.rho)
        return lookahead_field(problem, theta, gradient_step(problem, theta, w, rho))

    def relax(
        self, problem: Problem, geometry: Geometry, state: MetaWeightNetState
    ) -> MetaWeightNetState:
        batch = draw_batch(problem, state, self.batch_size)
        theta = self._descend(problem, geometry, batch, state.theta, state.outer)
        return replace(state, theta=theta)

    def _descend(
        self, problem: Problem, geometry: Geometry, batch: Batch, theta: Array, outer: Array
    ) -> Array:
        """Return theta after one inner step on a batch, on which alone the geometry acts."""
        w = geometry.weights(batch.take(outer))
        return gradient_step(batch.problem, theta, w, step_size(problem, self.rho))

    def _train(self, problem: Problem, meta: Meta, gradient: Array, step: int) -> Meta:
        """Return the network after one step against ``gradient (..., P)``."""
        eta = step_size(problem, self.eta)
        gradient = gradient + self.weight_decay * meta.phi
        if not self.adam:
            return replace(meta, phi=meta.phi - eta * gradient)
        a, b = self.memory, self.memory_square
        mean = a * meta.mean + (1.0 - a) * gradient
        square = b * meta.square + (1.0 - b) * gradient * gradient
        size = problem.xp.sqrt(square / (1.0 - b ** (step + 1))) + EPSILON
        phi = meta.phi - eta * (mean / (1.0 - a ** (step + 1))) / size
        return Meta(outer=meta.outer, phi=phi, mean=mean, square=square)


def standardise(losses: Array) -> Array:
    """Return the losses ``(..., n)`` with mean 0 and standard deviation 1; 0 where all are equal.

    Raw squared losses would saturate a sigmoid.
    """
    xp = array_namespace(losses)
    n = losses.shape[-1]
    centred = losses - xp.sum(losses, axis=-1, keepdims=True) / n
    spread = xp.sqrt(xp.sum(centred * centred, axis=-1, keepdims=True) / n)
    return centred / xp.where(spread > 0, spread, xp.ones_like(spread))
