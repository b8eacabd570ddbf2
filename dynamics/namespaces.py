"""Moving arrays between NumPy and other array-API namespaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    is_array_api_obj,
    is_cupy_array,
    is_numpy_namespace,
    is_torch_array,
)

from .types import Array, Namespace

__all__ = ["library_name", "require_numpy", "resolve_namespace", "to_host", "to_numpy"]


def resolve_namespace(xp: Any) -> Namespace:
    """Return the array-API namespace of a library (``numpy``, ``torch``, ``cupy``, ...)."""
    for attribute in ("asarray", "zeros"):
        if not hasattr(xp, attribute):
            raise TypeError(f"`xp` must be an array library such as numpy or torch; got {xp!r}.")
    return array_namespace(xp.zeros(1))


def library_name(xp: Namespace) -> str:
    """Return how the library of a namespace is called, such as ``"torch"``."""
    name: str = xp.__name__
    return name.removeprefix("array_api_compat.").split(".")[0]


def to_numpy(a: Array) -> np.ndarray:
    """Return a NumPy copy or view of an array of any namespace and device."""
    if isinstance(a, np.ndarray):
        return a
    if is_torch_array(a):
        return a.detach().cpu().numpy()
    if is_cupy_array(a):
        return a.get()
    if hasattr(a, "__dlpack__"):
        return np.from_dlpack(a, device="cpu")
    return np.asarray(a)


def to_host(value: Any) -> Any:
    """Return arrays of other libraries as NumPy arrays, everything else as it is."""
    return to_numpy(value) if is_array_api_obj(value) else value


def require_numpy(xp: Namespace, entry_point: str) -> None:
    """Refuse a problem whose data do not live in NumPy, for entry points built on SciPy."""
    if not is_numpy_namespace(xp):
        raise ValueError(
            f"`problem` must hold NumPy arrays for {entry_point}; got {xp.__name__} "
            "(use `problem.to(xp=numpy)`)."
        )
