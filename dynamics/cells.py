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
    flat: dict[str, Any] = {
        name: np.broadcast_to(to_host(knob), lead).flatten()  # a copy: views are read-only
        for name, knob in cell_knobs(method).items()
    }
    return replace(method, **flat) if flat else method


def take_knobs(method: Method, cells: np.ndarray) -> Method:
    """Return the method with the rates of some cells."""
    taken: dict[str, Any] = {name: knob[cells] for name, knob in cell_knobs(method).items()}
    return replace(method, **taken) if taken else method


def cell_knobs(method: Method) -> dict[str, Any]:
    """Return the knobs that run over the leading axes."""
    knobs = ((f.name, getattr(method, f.name)) for f in fields(method))
    return {name: v for name, v in knobs if np.ndim(v) and name not in method.shared}


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
