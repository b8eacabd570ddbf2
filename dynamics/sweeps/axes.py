"""The axes of a sweep: rates, what makes the problem, and knobs of method and geometry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

import numpy as np

from .. import checks
from ..geometries import Penalised
from ..methods import Joint
from ..namespaces import to_host
from ..nesting import HANDED_DOWN, has_knob, nested, plain_knobs, with_knobs
from ..problems import Problem
from ..statistics import VARIABLES
from .settings import Settings, check_rates

__all__ = ["Grid", "Point", "make_grid"]

Point = dict[str, Any]
"""Values of the extra axes by name."""
REMEMBERED = 4
"""Problems that a grid keeps in memory."""
RATES = ("alpha", "beta")
DIMENSIONS = {"step", "param", "sample", "feature", "threshold", "cell"}
TAKEN = {*DIMENSIONS, *RATES, *VARIABLES, "rho", "eta", "status", "last_step", "log_w0"}
PENALTIES = {"entropy": "entropy_penalty", "l2": "l2_penalty"}
"""Knobs whose axes have longer names: `entropy` is also what is measured."""
LONG_NAMES = {
    "alpha": {"long_name": "speed of theta", "units": "1/time"},
    "beta": {"long_name": "speed of the weights", "units": "1/time"},
    "seed": {"long_name": "root seed of the random streams"},
    "ridge": {"long_name": "l2 penalty of theta"},
    "n": {"long_name": "number of training samples"},
    "noise": {"long_name": "standard deviation of y given x"},
    "corruption": {"long_name": "share of the training labels that were redrawn"},
    "entropy_penalty": {"long_name": "strength of the entropy penalty on the weights"},
    "l2_penalty": {"long_name": "strength of the l2 penalty on the weights"},
    "share": {"long_name": "share of the weight that is spread evenly"},
    "floor": {"long_name": "least weight, in units of the uniform one"},
}


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of a sweep: the product of its axes.

    Attributes
    ----------
    source : Problem or callable
        The problem, or what makes it of the values of its axes.
    alpha, beta : (a,), (b,)
    extra : dict
        Values of the other axes by name, in their order.
    knobs : frozenset of str
        Extra axes that are knobs of the method or the geometry; the others make the problem.
    """

    source: Problem | Callable[..., Problem]
    alpha: np.ndarray
    beta: np.ndarray
    extra: dict[str, tuple[Any, ...]]
    knobs: frozenset[str]
    _memory: dict[str, Problem] = field(default_factory=dict, repr=False)

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """All axes, the rates first."""
        rates = {"alpha": tuple(self.alpha.tolist()), "beta": tuple(self.beta.tolist())}
        return rates | self.extra

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of all axes."""
        return tuple(len(values) for values in self.axes.values())

    def points(self) -> Iterator[tuple[tuple[int, ...], Point]]:
        """Yield place and values of every combination of the extra axes."""
        places = product(*(range(len(values)) for values in self.extra.values()))
        for place in places:
            yield place, self.point(place)

    def point(self, place: tuple[int, ...]) -> Point:
        """Return the values of the extra axes at a place."""
        pairs = zip(self.extra.items(), place, strict=True)
        return {name: values[k] for (name, values), k in pairs}

    def problem(self, point: Point) -> Problem:
        """Return the problem at a point; neighbouring units share it.

        Raises
        ------
        TypeError
            When what the callable returns is no problem.
        """
        values = {k: v for k, v in point.items() if k not in self.knobs}
        if isinstance(self.source, Problem):
            return self.source.with_ridge(values["ridge"]) if values else self.source
        takes_ridge = "ridge" not in values or _takes(self.source, "ridge")
        rest = values if takes_ridge else {k: v for k, v in values.items() if k != "ridge"}
        problem = self._made(rest)
        return problem if takes_ridge else problem.with_ridge(values["ridge"])

    def _made(self, values: Point) -> Problem:
        """Return what the callable makes of these values, of the last few from memory."""
        key = repr(values)
        if key not in self._memory:
            problem = self.source(**values)  # type: ignore[operator]
            if not isinstance(problem, Problem):
                raise TypeError(f"`problem` must return a Problem; got {type(problem).__name__}.")
            while len(self._memory) >= REMEMBERED:
                self._memory.pop(next(iter(self._memory)), None)
            self._memory[key] = problem
        return self._memory[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": {}}

    def settings(self, settings: Settings, point: Point) -> Settings:
        """Return the settings at a point: knobs put into method and geometry."""
        if settings.method is not None and isinstance(point.get("seed"), int):
            settings = replace(settings, seed=point["seed"])
        chosen = {_knob(name): point[name] for name in self.knobs if name != "seed"}
        if not chosen:
            return settings
        geometry, method = settings.geometry, settings.method or Joint()
        if geometry is None and any(has_knob(Penalised(), name) for name in chosen):
            geometry = Penalised()
        if geometry is not None:
            geometry = with_knobs(geometry, chosen)
        return replace(settings, method=with_knobs(method, chosen), geometry=geometry)


def make_grid(
    source: Any, alpha: Any, beta: Any, axes: Mapping[str, Any] | None, settings: Settings
) -> Grid:
    """Check the axes and find out what each of them changes."""
    if not isinstance(source, Problem) and not callable(source):
        raise TypeError(
            f"`problem` must be a Problem, or a callable that makes one; got "
            f"{type(source).__name__}."
        )
    if axes is not None and not isinstance(axes, Mapping):
        raise TypeError(f"`axes` must be a mapping of names to values; got {axes!r}.")
    named = {PENALTIES.get(name, name): values for name, values in (axes or {}).items()}
    if len(named) < len(axes or {}):
        raise ValueError("`axes` must not name a penalty twice; got it by both of its names.")
    extra = {name: _values(name, values) for name, values in named.items()}
    knobs = frozenset(name for name in extra if _is_knob(name, source, settings))
    for name in extra.keys() - knobs:
        _check_problem_axis(name, source, settings)
    grid = Grid(source, check_rates("alpha", alpha), check_rates("beta", beta), extra, knobs)
    for name in knobs:  # each value is checked by its owner, at the door
        first = grid.point((0,) * len(extra))
        for value in extra[name]:
            grid.settings(settings, {**first, name: value})
    return grid


def _values(name: str, values: Any) -> tuple[Any, ...]:
    """Return the distinct values of an axis as plain numbers or strings."""
    if not name.isidentifier() or name in TAKEN:
        raise ValueError(f"`axes` must not have the name {name!r}, which is taken or no name.")
    if isinstance(values, str) or not np.iterable(values):
        values = [values]
    plain = tuple(v.item() if hasattr(v, "item") else v for v in to_host(values))
    if not plain:
        raise ValueError(f"`axes['{name}']` must hold at least one value; got none.")
    kinds = (str,) if isinstance(plain[0], str) else (bool, int, float)
    for value in plain:
        if not isinstance(value, kinds):
            raise TypeError(f"`axes['{name}']` must hold numbers or strings; got {value!r}.")
        if not isinstance(value, str):
            checks.real(f"axes['{name}']", float(value))
    if len(set(plain)) < len(plain):
        raise ValueError(f"`axes['{name}']` must hold distinct values; got one twice.")
    if any(isinstance(value, float) for value in plain):
        plain = tuple(float(value) for value in plain)
    return plain


def _is_knob(name: str, source: Any, settings: Settings) -> bool:
    """Whether an axis is a knob of the method or the geometry."""
    if not isinstance(source, Problem) and _names_explicitly(source, name):
        return False
    if name == "seed":  # of the random numbers of a method
        return settings.method is not None and isinstance(source, Problem)
    geometry = Penalised() if settings.geometry is None else settings.geometry
    method, knob = settings.method or Joint(), _knob(name)
    owners = [part for whole in (method, geometry) for part in nested(whole) if _owns(part, knob)]
    if len(owners) > 1 and knob not in HANDED_DOWN:
        shown = " and ".join(type(part).__name__ for part in owners)
        raise ValueError(
            f"`axes` must name a knob that occurs once; got {name!r}, a knob of {shown}: run one "
            "sweep for each of its values."
        )
    return knob in _knobs(method, geometry)


def _check_problem_axis(name: str, source: Any, settings: Settings) -> None:
    """Refuse an axis that changes nothing."""
    if name == "ridge" or (not isinstance(source, Problem) and _takes(source, name)):
        return
    method, geometry = settings.method or Joint(), settings.geometry or Penalised()
    knobs = sorted(_knobs(method, geometry))
    cure = (
        "pass a callable that makes the problem of it"
        if isinstance(source, Problem)
        else "the callable does not take it"
    )
    raise ValueError(
        f"`axes` must name ridge, a knob ({', '.join(knobs)}), or an argument of a callable "
        f"`problem`; got {name!r}: {cure}."
    )


def _knob(axis: str) -> str:
    """Return the knob that an axis stands for."""
    return next((knob for knob, name in PENALTIES.items() if name == axis), axis)


def _knobs(method: Any, geometry: Any) -> set[str]:
    """Return the knobs that can be axes: numbers and words."""
    return (plain_knobs(method) | plain_knobs(geometry)) - {"rho", "eta"}


def _owns(part: Any, knob: str) -> bool:
    """Return whether a knob is one of the part itself, not of one inside it."""
    return any(field.name == knob for field in fields(part))


def _takes(source: Callable[..., Any], name: str) -> bool:
    """Whether a callable takes an argument of this name."""
    parameters = inspect.signature(source).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def _names_explicitly(source: Callable[..., Any], name: str) -> bool:
    """Whether a callable has a parameter of this very name."""
    return name in inspect.signature(source).parameters
