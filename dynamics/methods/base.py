"""The contract of a method: frozen knobs, ``init`` and a pure ``step``.

A method joins a problem (five oracles) and a geometry (what a step does to weights); the driver
``run_method`` only iterates, records and counts. Randomness is a key inside the state, so a step
with the same state gives the same numbers wherever it runs.

Leading axes are independent runs, called cells. The driver hands a method theta and weights that
carry them all, as one axis, and expects the same of every array of its state; it takes cells that
have failed out of the state. Hence random numbers never run over cells, and a method need not care
whether one cell is not finite or, by an error, cannot be solved: the driver finds out which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from .. import checks
from ..geometries import Geometry
from ..problems import Problem
from ..types import Array
from .stationary import solved_theta

__all__ = [
    "ORDERS",
    "Method",
    "State",
    "gradient_step",
    "in_order",
    "positive_rate",
    "random_rows",
    "rate",
    "rates",
    "refuse_batches",
    "refuse_layer",
    "remembering",
    "step_size",
]

ORDERS = ("simultaneous", "theta_first", "w_first")

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class State:
    """What every method carries from step to step.

    Every array starts with the leading axes of the run; numbers and strings are shared by all
    cells.

    Attributes
    ----------
    theta : (..., p)
    outer : (..., n)
        The weights as their geometry represents them.
    step : int
        Number of steps done; with ``seed`` it is the key of this step's random numbers.
    seed : int
    """

    theta: Array
    outer: Array
    step: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A bilevel method.

    Parameters
    ----------
    order : {"simultaneous", "theta_first", "w_first"}
        Whether both updates start from the old state, or which is done first and seen by the other.
        It changes the limit of stability (theory T7c).
    """

    order: str = "simultaneous"

    requires: ClassVar[tuple[str, ...]] = ()
    """Optional answers of a problem that the method cannot do without."""

    geometries: ClassVar[tuple[type[Geometry], ...]] = ()
    """Core geometries that the method can be joined with, the first by default; empty: all."""

    shared: ClassVar[tuple[str, ...]] = ()
    """Knobs that may be arrays without running over the leading axes."""

    points: ClassVar[tuple[str, ...]] = ("theta",)
    """Fields of the state that inner steps move along gradients; momentum carries them on."""

    def __post_init__(self) -> None:
        checks.choice("order", self.order, ORDERS)

    def check_geometry(self, geometry: Geometry) -> None:
        """Refuse a geometry that the method cannot be joined with.

        Raises
        ------
        ValueError
            With the geometries that it can be joined with, or the reason and the cure.
        """
        if self.geometries and not isinstance(geometry.core, self.geometries):
            valid = ", ".join(f"geometries.{kind.__name__}" for kind in self.geometries)
            raise ValueError(
                f"`geometry` must be one of {valid} for methods.{type(self).__name__}; "
                f"got {geometry!r}."
            )

    @abstractmethod
    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> State:
        """Return the state before the first step."""

    @abstractmethod
    def step(self, problem: Problem, geometry: Geometry, state: Any) -> Any:
        """Return the next state; a pure function of the old one."""

    @property
    def ignores_start(self) -> str:
        """Why a step does not begin at the inner points of the state; empty where it does."""
        return ""

    def relax(self, problem: Problem, geometry: Geometry, state: Any) -> Any:
        """Return the state after one more inner step at the present weights.

        Weights and the number of steps stay. The step is that which :meth:`step` does, here one of
        the gradient; mini-batches are those of the state's seed and step.
        """
        w, rho = geometry.weights(state.outer), step_size(problem, getattr(self, "rho", None))
        return replace(state, theta=gradient_step(problem, state.theta, w, rho))

    def settle(
        self, problem: Problem, geometry: Geometry, state: Any, num_steps: int | None = None
    ) -> Any:
        """Return the state whose inner points are at rest for the present weights.

        Parameters
        ----------
        num_steps : int, optional
            So many steps of Newton's method for what is not linear in a point, in place of all;
            equations that are linear are always solved.

        Raises
        ------
        ConvergenceError
            When a point is not found.
        """
        w = geometry.weights(state.outer)
        return replace(state, theta=solved_theta(problem, state.theta, w, num_steps))

    @abstractmethod
    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        r"""Return the field ``(..., n)`` that the method uses at a point, in the scale of Psi.

        Points that it carries beside theta are solved for at w.
        """


def gradient_step(problem: Problem, theta: Array, w: Array, rho: Any) -> Array:
    """Return ``theta - rho grad G(theta, w)``, the inner step of most methods."""
    return theta - rho * problem.train_grad(theta, w)


def refuse_layer(method: Method, geometry: Geometry, kind: type[Geometry], why: str) -> None:
    """Refuse a geometry with a layer of the given kind; ``why`` holds the reason and the cure."""
    if any(isinstance(layer, kind) for layer in geometry.layers):
        raise ValueError(
            f"`geometry` must not hold {kind.__name__} for methods.{type(method).__name__}: {why}; "
            f"got {geometry!r}."
        )


def refuse_batches(method: Method, geometry: Geometry, batch_size: int | None) -> None:
    """Refuse mini-batches where a state on a batch is no part of the state."""
    mixing = [layer for layer in geometry.layers if not layer.has_state_per_sample]
    if batch_size is not None and mixing:
        kind = type(mixing[0]).__name__
        raise ValueError(
            f"`batch_size` must be None for methods.{type(method).__name__}, whose weights live on "
            f"the batch, with {kind}, whose state does not; got {batch_size}."
        )


def in_order(
    order: str,
    theta: A,
    outer: B,
    move_theta: Callable[[A, B], A],
    move_outer: Callable[[A, B], B],
) -> tuple[A, B]:
    """Return both updates, made in the given order."""
    if order == "theta_first":
        theta = move_theta(theta, outer)
        return theta, move_outer(theta, outer)
    if order == "w_first":
        outer = move_outer(theta, outer)
        return move_theta(theta, outer), outer
    return move_theta(theta, outer), move_outer(theta, outer)


def remembering(compute: Callable[[Any, Any], A]) -> Callable[[Any, Any], A]:
    """Return ``compute`` with a memory for one call: the very same arguments cost nothing twice.

    For what both updates need and, in the simultaneous order, at the same point.
    """
    last: list[Any] = []

    def recalled(first: Any, second: Any) -> A:
        if not last or last[0] is not first or last[1] is not second:
            last[:] = first, second, compute(first, second)
        result: A = last[2]
        return result

    return recalled


def rate(name: str, value: Any) -> None:
    """Check a step size: a number >= 0, or an array of them over the leading axes."""
    if np.ndim(value) == 0:
        checks.nonnegative(name, value)
    elif checks.array(name, value, shape=(None,), leading=True).min() < 0:
        raise ValueError(f"`{name}` must be >= 0; got {np.min(value)}.")


def positive_rate(name: str, value: Any) -> None:
    """Check a number > 0, or an array of them over the leading axes."""
    rate(name, value)
    if np.min(value) <= 0:
        raise ValueError(f"`{name}` must be > 0; got {np.min(value)}.")


def rates(method: Method, *names: str) -> None:
    """Check step sizes of a method; ``rho`` may be None, which has a default of its own."""
    for name in names:
        if name != "rho" or getattr(method, name) is not None:
            rate(name, getattr(method, name))


def step_size(problem: Problem, value: Any) -> Any:
    """Return a step size that multiplies ``(..., p)`` or ``(..., n)``; None means 1/L."""
    if value is None:
        problem.require(("constants",), "`rho=None` (which means 1/L)")
        return 1.0 / problem.constants()[1]
    if np.ndim(value) == 0:
        return float(value)
    return problem.xp.asarray(value, dtype=problem.dtype, device=problem.device)[..., None]


def random_rows(state: State, length: int, size: int, stream: int) -> np.ndarray:
    """Return ``size`` distinct rows of ``length``, a function of seed, step and stream alone."""
    bits = np.random.Philox(np.random.SeedSequence([state.seed, state.step, stream]))
    return np.sort(np.random.Generator(bits).choice(length, size, replace=False))
