"""What determines a run of a method, in words that a checkpoint can be compared by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from .geometries import Geometry
from .methods import Method
from .namespaces import library_name, to_numpy
from .problems import Problem
from .types import Array

__all__ = ["specification"]


def specification(
    problem: Problem,
    method: Method,
    geometry: Geometry,
    seed: int,
    theta: Array | None,
    log_w: Array,
) -> dict[str, str]:
    """Return what determines a run, in words that a checkpoint can be compared by.

    The number of steps and the steps to keep are no part of it: see :func:`find`. Constants are
    those that somebody may have vouched for, so they are rounded: another machine may find the last
    digits of computed ones otherwise. Of a sampler the first batches stand for all.
    """
    bounds = problem.constants() if "constants" in problem.capabilities else ()
    sampler = problem.sampler
    rows = None if sampler is None else [np.asarray(sampler(step)).tolist() for step in (0, 1)]
    return {
        "array library": library_name(problem.xp),
        "dtype": str(problem.dtype),
        "problem": problem.fingerprint(),
        "constants": ", ".join(f"{bound:.6g}" for bound in bounds),
        "batches": _digest(repr(rows).encode()),
        "method": type(method).__name__,
        **{f"knob `{f.name}`": _described(getattr(method, f.name)) for f in fields(method)},
        "geometry": _described(geometry),
        "seed": str(seed),
        "theta0": "left out" if theta is None else _described(theta),
        "w0": _described(log_w),
    }


def _described(part: Any) -> str:
    """Return knobs in words, the same in every process; of large arrays a hash."""
    if is_dataclass(part) and not isinstance(part, type):
        inner = ", ".join(f"{f.name}={_described(getattr(part, f.name))}" for f in fields(part))
        return f"{type(part).__name__}({inner})"
    if is_array_api_obj(part):
        array = np.asarray(to_numpy(part))
        if array.size <= 8:
            return repr(array.tolist())
        content = np.ascontiguousarray(array).tobytes()
        return f"{array.dtype} {array.shape} {_digest(content)}"
    if isinstance(part, tuple | list):
        return f"({', '.join(_described(item) for item in part)})"
    if callable(part) and hasattr(part, "__qualname__"):
        return f"{part.__module__}.{part.__qualname__}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(part))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
