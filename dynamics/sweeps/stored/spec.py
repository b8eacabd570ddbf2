"""What a stored sweep was started with, and how another one differs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import numpy as np

from ...problems import Problem
from ..axes import Grid
from ..settings import Settings

__all__ = ["Mismatch", "describe", "differences", "united", "values_missing"]

CLOSE = 1e-12
"""Relative distance at which two values of an axis are the same."""


class Mismatch(ValueError):
    """A folder holds a sweep of another specification."""


def describe(grid: Grid, settings: Settings, problem: Problem) -> dict[str, Any]:
    """Return the specification in JSON types; ``problem`` is that of the first combination."""
    spec: dict[str, Any] = {
        "source": _source(grid.source),
        "data": problem.fingerprint(),
        "dt": settings.dt,
        "num_steps": settings.num_steps,
        "save_steps": list(settings.steps) if settings.has_steps else None,
        "thresholds": list(settings.thresholds),
        "backend": settings.backend,
        "dtype": settings.dtype,
        "keep_weights": settings.keep_weights,
        "theta0": _digest(settings.theta0),
        "w0": _digest(settings.w0),
        "method": None if settings.method is None else repr(settings.method),
        "geometry": None if settings.geometry is None else repr(settings.geometry),
        "seed": settings.seed,
        "axes": {name: list(values) for name, values in grid.axes.items()},
    }
    return dict(json.loads(json.dumps(spec)))  # as it comes back from a file


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what differs, in words: ``num_steps was 100, now 200``."""
    found = []
    for name in [*before, *(key for key in now if key not in before)]:
        old, new = before.get(name), now.get(name)
        if name == "axes":
            found += _differing_axes(old or {}, new or {})
        elif name == "data":
            if old != new:
                found.append("the data differ")
        elif isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new)
        elif old != new:
            found.append(f"`{name}` was {_shown(old)}, now {_shown(new)}")
    return found


def united(before: dict[str, list[Any]], now: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return axes that hold the values of both; where both are in order, in order.

    Raises
    ------
    Mismatch
        When the axes have not the same names.
    """
    if list(before) != list(now):
        raise Mismatch(
            f"an extended sweep must keep its axes ({', '.join(before)}); got {', '.join(now)}."
        )
    axes = {}
    for name, old in before.items():
        values = [*old, *values_missing(old, now[name])]
        numbers = all(isinstance(value, int | float) for value in values)
        is_sorted = numbers and all(list(part) == sorted(part) for part in (old, now[name]))
        axes[name] = sorted(values) if is_sorted else values
    return axes


def values_missing(old: list[Any], new: list[Any]) -> list[Any]:
    """Return the new values that the old ones do not hold, equal to round-off."""
    return [value for value in new if not any(_is_same(value, other) for other in old)]


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return bool(a == b)
    return bool(abs(a - b) <= CLOSE * max(abs(a), abs(b)))


def _differing_axes(old: dict[str, list[Any]], new: dict[str, list[Any]]) -> list[str]:
    found = []
    for name in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(name), new.get(name)
        if a is None or b is None:
            found.append(f"axis `{name}` was {_range(a)}, now {_range(b)}")
        elif len(a) != len(b) or not all(map(_is_same, a, b)):
            found.append(f"`{name}` was {_range(a)}, now {_range(b)}")
    return found


def _range(values: list[Any] | None) -> str:
    if values is None:
        return "absent"
    if len(values) <= 4:
        return ", ".join(_shown(value) for value in values)
    return f"{len(values)} values {_shown(values[0])} ... {_shown(values[-1])}"


def _shown(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _source(source: Any) -> Any:
    """Return how the problem is made, in JSON types."""
    if isinstance(source, Problem):
        return repr(source)
    document = getattr(source, "document", None)
    if callable(document):
        return document()
    if isinstance(source, partial):
        words = {name: repr(value) for name, value in source.keywords.items()}
        return {"of": _source(source.func), "arguments": [repr(v) for v in source.args], **words}
    if is_dataclass(source):
        return repr(source)
    named = source if hasattr(source, "__qualname__") else type(source)
    return f"{named.__module__}.{named.__qualname__}"


def _digest(values: Any) -> str | None:
    if values is None:
        return None
    array = np.ascontiguousarray(values)
    return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()
