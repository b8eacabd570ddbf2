"""Compiled functions whose code is kept between processes, where that is possible."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

__all__ = ["ENTRY", "INNER", "compile_cached", "fingerprint"]

ENTRY: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Options of functions that Python calls; ``_nrt``: nothing is allocated, so that no references
need to be counted."""
INNER: dict[str, Any] = {**ENTRY, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that only compiled ones call: a way in from Python takes longer to compile
than they do."""


def fingerprint(*places: Path) -> int:
    """Return a number > 0 that changes with these files, and with the modules in these folders.

    Numba renews its cache when the file of a function changes, not when what it calls does: this
    constant, in the closure of a function, is part of the key of its cache.
    """
    digest = hashlib.sha256()
    for place in places:
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "big") + 1


def compile_cached(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return ``numba.njit(**options)(function)``, cached on disk if a folder can be written to.

    The options are those of ``ENTRY`` when left out. Where the first call fails, the function is
    compiled anew, without the cache: a file of it that was cut off by a full disk or a power
    failure would fail every call of every process. (Kernels themselves raise nothing.)
    """
    options = options or ENTRY
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's own
        compiled = numba.njit(**options)(function)
    is_sound = False

    def call(*arguments: Any) -> Any:
        nonlocal compiled, is_sound
        if is_sound:
            return compiled(*arguments)
        try:
            result = compiled(*arguments)
        except Exception:
            compiled = numba.njit(**options)(function)
            result = compiled(*arguments)
        is_sound = True
        return result

    return call
