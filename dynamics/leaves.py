"""The numbers inside a state of a method, out and in again: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

__all__ = ["leaves", "with_leaves"]


def leaves(part: Any) -> list[Any]:
    """Return the arrays, numbers and strings of nested dataclasses, sequences and mappings."""
    if is_dataclass(part) and not isinstance(part, type):
        children = [getattr(part, f.name) for f in fields(part) if f.init]
    elif isinstance(part, tuple | list):
        children = list(part)
    elif isinstance(part, dict):
        children = list(part.values())
    else:
        return [part]
    return [leaf for child in children for leaf in leaves(child)]


def with_leaves(template: Any, values: list[Any]) -> Any:
    """Return ``template`` with other numbers in the places of its own.

    Raises
    ------
    ValueError
        When the numbers are too few or too many.
    """
    rest = iter(values)
    try:
        filled = _fill(template, rest)
    except StopIteration:
        raise ValueError("`values` must have one entry for every leaf; got too few.") from None
    if next(rest, rest) is not rest:
        raise ValueError("`values` must have one entry for every leaf; got too many.")
    return filled


def _fill(part: Any, rest: Iterator[Any]) -> Any:
    if is_dataclass(part) and not isinstance(part, type):
        names = [f.name for f in fields(part) if f.init]
        return replace(part, **{name: _fill(getattr(part, name), rest) for name in names})
    if isinstance(part, tuple | list):
        return type(part)([_fill(child, rest) for child in part])
    if isinstance(part, dict):
        return {key: _fill(child, rest) for key, child in part.items()}
    return next(rest)
