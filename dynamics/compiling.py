"""Compiled functions whose code is kept between processes, where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compile_cached", "tried"]


def compile_cached(function: Callable[..., Any], **options: Any) -> Any:
    """Return ``numba.njit(**options)(function)``, cached on disk if a folder can be written to."""
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's own
        return numba.njit(**options)(function)


def tried(compiled: Any, *arguments: Any) -> Any:
    """Return a compiled function after one call, compiled anew where its cache is damaged.

    A file of the cache that was cut off by a full disk or a power failure would fail every call of
    every process.
    """
    try:
        compiled(*arguments)
    except Exception:
        fresh = numba.jit(**compiled.targetoptions)(compiled.py_func)
        fresh(*arguments)
        return fresh
    return compiled
