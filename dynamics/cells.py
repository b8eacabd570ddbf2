"""Cells: what a state and a method hold for each of the runs over leading axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from .leaves import leaves, with_leaves
from .methods import Method
from .namespaces import to_host
from .problems import Problem
from .types import Array

__all__ = ["cell_knobs", "flatten_knobs", "join_cells", "take_cells", "take_knobs"]


def flatten_knobs(method: Method, lead: tuple[int, ...]) -> Method:
    """Return the method with its arrays of rates over one axis of cells."""
    # a copy: views are read-only
    return _with_knobs(method, lambda knob: np.broadcast_to(to_host(knob), lead).flatten())


def take_knobs(method: Method, cells: np.ndarray) -> Method:
    """Return the method with the rates of some cells."""
    return _with_knobs(method, lambda knob: knob[cells])


def cell_knobs(method: Method) -> dict[str, Any]:
    """Return the knobs that run over the leading axes, those of a method within among them."""
    found: dict[str, Any] = {}
    _with_knobs(method, lambda knob: knob, found)
    return found


def _with_knobs(
    method: Method, change: Callable[[Any], Any], found: dict[str, Any] | None = None
) -> Method:
    """Return the method with other arrays of rates; they are noted in ``found``, by name."""
    new: dict[str, Any] = {}
    for f in fields(method):
        knob = getattr(method, f.name)
        if _is_method(knob):
            part = _with_knobs(knob, change, found)
            new |= {} if part is knob else {f.name: part}
        elif np.ndim(knob) and f.name not in method.shared:
            new[f.name] = change(knob)
            if found is not None:
                found[f.name] = knob
    return replace(method, **new) if new else method


def _is_method(part: Any) -> bool:
    return isinstance(part, Method)


def take_cells(problem: Problem, part: Any, cells: np.ndarray) -> Any:
    """Return some cells of a state, or of whatever a state holds."""
    index = problem.xp.asarray(cells, device=problem.device)
    return _map(lambda a: problem.xp.take(a, index, axis=0), part)


def join_cells(problem: Problem, parts: list[Any]) -> Any:
    """Return one state of all the cells of several."""
    return _map(lambda *arrays: problem.xp.concat(arrays, axis=0), *parts)


def _map(act: Callable[..., Array], *parts: Any) -> Any:
    """Apply ``act`` to every array with axes in states of one structure."""
    columns = zip(*(leaves(part) for part in parts), strict=True)
    mapped = [act(*c) if is_array_api_obj(c[0]) and c[0].ndim else c[0] for c in columns]
    return with_leaves(parts[0], mapped)
