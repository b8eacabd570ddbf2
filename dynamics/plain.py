"""Values in JSON types."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["plain"]


def plain(value: Any, *, strict: bool = False) -> Any:
    """Return ``value`` in JSON types: containers and arrays as lists and dicts, the rest as text.

    Parameters
    ----------
    strict : bool
        JSON knows no NaN and no infinity: they become None.
    """
    if isinstance(value, dict):
        return {str(key): plain(entry, strict=strict) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry, strict=strict) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist(), strict=strict)
    if isinstance(value, complex):
        return {"real": plain(value.real, strict=strict), "imag": plain(value.imag, strict=strict)}
    if isinstance(value, float):
        return None if strict and not math.isfinite(value) else value
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
