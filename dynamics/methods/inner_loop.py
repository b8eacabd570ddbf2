r"""More inner steps for each outer step, and better ones, for any method.

.. math::

    x \leftarrow \mathrm{relax}(x, w) \quad (T - 1 \text{ times}), \qquad
    (x, w)^+ = \mathrm{step}(x, w),

where x are the inner points of the method: theta, and what it carries beside it. ``Joint`` and
``T = 1`` is the algorithm of the core paper, ``T -> infinity`` its exact limit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from .. import checks
from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .base import ORDERS, Method, State
from .joint import Joint

__all__ = ["InnerLoop", "InnerLoopState"]

OPTIMISERS = ("gradient", "momentum", "newton")


@dataclass(frozen=True, kw_only=True)
class InnerLoopState(State):
    """The state of :class:`InnerLoop`.

    Attributes
    ----------
    inner : State
        That of the method.
    before : tuple of arrays
        Its inner points before the last inner step; empty where there is no momentum.
    """

    inner: Any
    before: tuple[Array, ...]


@dataclass(frozen=True, kw_only=True)
class InnerLoop(Method):
    r"""T inner steps for each outer step of any method, by gradient, momentum or Newton steps.

    .. math::

        x \leftarrow x - \rho\,\nabla_\theta G(x, w) \quad (T - 1 \text{ times}), \qquad
        (x, w)^+ = \mathrm{step}(x, w).

    The method's own step does the last inner step and the outer one, in its own order. In
    continuous time theta is T times as fast: an outer step leaves the share
    :math:`(1 - \rho\lambda_{min})^T` of the slowest error, so that R of theory section 8 falls by
    about T. Biased as the method is, with a smaller lag: for ``T -> infinity``, and for
    ``resolve_every=1``, the weights of `Joint` are those of `Exact`.

    With ``"momentum"`` every inner step starts at :math:`x + m\,(x - x_{before})` (Nesterov 1983);
    on a quadratic of condition number :math:`\kappa` the best m,
    :math:`(\sqrt\kappa - 1)/(\sqrt\kappa + 1)` with :math:`\rho = 1/L`, contracts by
    :math:`1 - 1/\sqrt\kappa` a step, where gradient steps do by :math:`1 - 1/\kappa`. The method's
    own step starts there too, and reads its field there unless theta moves first. Points that
    ascend, such as multipliers, are not carried on.

    With ``"newton"`` the T - 1 relaxations are Newton steps on all data, shortened until the
    gradient falls; equations that are linear, those of adjoints, are solved. Where theta is bound
    to a ball by a ``radius``, such a step solves to the end. One Newton step is ``theta_star`` on
    least squares.

    A relaxation costs what an inner step of the method costs; it draws its own mini-batch. A Newton
    step costs up to 10 p ``hvp``, and what the points beside theta ask for. A solve costs a
    ``theta_star``, and those. Defined for the problems that the method is defined for, those known
    to be convex with ``"newton"``. Not for methods whose step does not begin at their present
    points (`Exact`, `MAID`, unrolling from a cold start), unless nothing is added to them.

    Parameters
    ----------
    method : Method
        Any but another loop.
    num_inner_steps : int
        T.
    optimiser : {"gradient", "momentum", "newton"}
        What an inner step is.
    momentum : float
        m, in [0, 1); read with ``"momentum"`` alone.
    resolve_every : int, optional
        K: at every K-th step, the first among them, the inner points are solved for at the present
        weights, in place of the relaxations.
    order : str, optional
        Handed on to the method; its own when left out.
    """

    method: Method = Joint()  # noqa: RUF009 (frozen, hence safe to share)
    num_inner_steps: int = 5
    optimiser: str = "gradient"
    momentum: float = 0.9
    resolve_every: int | None = None
    order: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.method, Method) or isinstance(self.method, InnerLoop):
            raise TypeError(
                f"`method` must be a method such as methods.Joint(), and no loop; got "
                f"{self.method!r}."
            )
        if self.order is not None:
            checks.choice("order", self.order, ORDERS)
        checks.integer("num_inner_steps", self.num_inner_steps, minimum=1)
        checks.choice("optimiser", self.optimiser, OPTIMISERS)
        if checks.nonnegative("momentum", self.momentum) >= 1:
            raise ValueError(f"`momentum` must be < 1; got {self.momentum}.")
        if self.resolve_every is not None:
            checks.integer("resolve_every", self.resolve_every, minimum=1)
        if self.method.ignores_start and self._adds:
            raise ValueError(
                f"`method` must be one whose steps begin at its present points; got "
                f"{type(self.method).__name__}: {self.method.ignores_start}. Use it without a loop."
            )

    @property
    def requires(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the method."""
        return self.method.requires

    @property
    def geometries(self) -> tuple[type[Geometry], ...]:  # type: ignore[override]
        """Those of the method."""
        return self.method.geometries

    @property
    def points(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the method."""
        return self.method.points

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> InnerLoopState:
        if self._by_newton and not problem.is_convex:
            raise ValueError(
                f"`optimiser` must be 'gradient' or 'momentum' for a problem that is not known to "
                f"be convex; got {self.optimiser!r}."
            )
        inner = self._own.init(problem, geometry, theta, outer, seed)
        return _state(inner, self._points(inner))

    def step(self, problem: Problem, geometry: Geometry, state: InnerLoopState) -> InnerLoopState:
        if self.resolve_every is not None and state.step % self.resolve_every == 0:
            state = self.settle(problem, geometry, state)
        else:
            for k in range(1, self.num_inner_steps):
                state = self._relaxed(problem, geometry, state, k)
        last, method = self._sampling(problem, self.num_inner_steps - 1), self._own
        return self._moved(state, lambda inner: method.step(last, geometry, inner))

    def relax(self, problem: Problem, geometry: Geometry, state: InnerLoopState) -> InnerLoopState:
        return self._relaxed(problem, geometry, state, 1)

    def settle(
        self,
        problem: Problem,
        geometry: Geometry,
        state: InnerLoopState,
        num_steps: int | None = None,
    ) -> InnerLoopState:
        inner = self._own.settle(problem, geometry, state.inner, num_steps)
        return _state(inner, self._points(inner))

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return self._own.direction(problem, theta, w)

    @property
    def _own(self) -> Method:
        """Return the method, in the order asked for."""
        return self.method if self.order is None else replace(self.method, order=self.order)

    @property
    def _adds(self) -> bool:
        """Whether the loop changes anything."""
        lone = self.num_inner_steps == 1 and self.optimiser != "momentum"
        return not lone or self.resolve_every is not None

    @property
    def _by_newton(self) -> bool:
        """Whether there are Newton steps to do."""
        return self.optimiser == "newton" and self.num_inner_steps > 1

    def _relaxed(
        self, problem: Problem, geometry: Geometry, state: InnerLoopState, k: int
    ) -> InnerLoopState:
        """Return the state after the k-th relaxation of a step."""
        if self.optimiser == "newton":
            return self.settle(problem, geometry, state, num_steps=1)
        source, seed = self._sampling(problem, k - 1), _mixed(state.seed, k)

        def relax(inner: Any) -> Any:
            moved = self._own.relax(source, geometry, replace(inner, seed=seed))
            return replace(moved, seed=state.seed)

        return self._moved(state, relax)

    def _moved(self, state: InnerLoopState, move: Callable[[Any], Any]) -> InnerLoopState:
        """Return the state after a move of the method, from the extrapolated points."""
        now = self._points(state.inner)
        carried = {
            name: x + self.momentum * (x - x_before)
            for name, x, x_before in zip(self.points, now, state.before, strict=False)
        }
        return _state(move(replace(state.inner, **carried)), now)

    def _points(self, inner: Any) -> tuple[Array, ...]:
        """Return the points that momentum carries on; none without it."""
        if self.optimiser != "momentum":
            return ()
        return tuple(getattr(inner, name) for name in self.points)

    def _sampling(self, problem: Problem, k: int) -> Problem:
        """Return the problem for the k-th inner step; a sampler goes on from one to the next."""
        sampler, count = problem.sampler, self.num_inner_steps
        if sampler is None or count == 1:
            return problem
        shifted = copy.copy(problem)
        shifted.sampler = lambda step: sampler(step * count + k)
        return shifted


def _state(inner: Any, before: tuple[Array, ...]) -> InnerLoopState:
    """Return the state of the loop around that of the method."""
    return InnerLoopState(
        theta=inner.theta,
        outer=inner.outer,
        step=inner.step,
        seed=inner.seed,
        inner=inner,
        before=before,
    )


@lru_cache(maxsize=256)
def _mixed(seed: int, k: int) -> int:
    """Return the seed of the k-th relaxation of each step, a stream of its own."""
    return int(np.random.SeedSequence([seed, k]).generate_state(1, np.uint64)[0])
