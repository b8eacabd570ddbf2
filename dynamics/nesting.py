"""Methods inside methods and geometries inside geometries: their knobs by name.

A part is a dataclass; a field of it that holds a part of the same kind is nested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

from .geometries import Geometry
from .methods import Method

__all__ = ["HANDED_DOWN", "has_knob", "nested", "plain_knobs", "with_knobs"]

P = TypeVar("P")

HANDED_DOWN = frozenset({"order"})
"""Knobs that a method gives to the one within: the outer value is the one that counts."""


def nested(part: P) -> Iterator[P]:
    """Yield a method or geometry and those inside it, from outside in."""
    yield part
    for _, inner in _inner_parts(part):
        yield from nested(inner)


def plain_knobs(part: Any) -> set[str]:
    """Return the names of all knobs, nested ones too, that are numbers, words or left out."""
    found = {f.name: getattr(one, f.name) for one in nested(part) for f in fields(one)}
    return {n for n, v in found.items() if v is None or isinstance(v, int | float | str)}


def has_knob(part: Any, name: str) -> bool:
    """Return whether a part, or one inside it, has a knob of this name."""
    return any(f.name == name for one in nested(part) for f in fields(one))


def with_knobs(part: P, values: dict[str, Any]) -> P:
    """Return the part with other values of knobs, its own and nested ones.

    A knob that is handed down is that of the outermost part that has it.
    """
    own = {f.name for f in fields(part) if f.init}  # type: ignore[arg-type]
    changed = {name: value for name, value in values.items() if name in own}
    below = {k: v for k, v in values.items() if k not in changed or k not in HANDED_DOWN}
    for name, inner in _inner_parts(part):
        reached = {k: v for k, v in below.items() if has_knob(inner, k)}
        if reached:
            changed[name] = with_knobs(inner, reached)
    return replace(part, **changed) if changed else part  # type: ignore[type-var]


def _inner_parts(part: Any) -> list[tuple[str, Any]]:
    """Return names and values of the fields that hold a part of the same kind."""
    kind = Geometry if isinstance(part, Geometry) else Method
    values = ((f.name, getattr(part, f.name)) for f in fields(part))
    return [(name, value) for name, value in values if isinstance(value, kind)]
