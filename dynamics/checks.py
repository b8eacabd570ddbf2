"""Checks at the door: every entry point refuses bad input before it does any work.

Each function returns the clean value, or raises ``TypeError`` (wrong kind of thing) or
``ValueError`` (wrong value) with the argument's name in backticks, the rule, and what came.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .types import Array

__all__ = [
    "array",
    "choice",
    "data",
    "flag",
    "integer",
    "labels",
    "mask",
    "nonnegative",
    "positive",
    "real",
    "share",
    "simplex_weights",
    "time_span",
    "weights_like",
]

SUM_TOLERANCE = 1e-6
"""How far a given weight vector may be from summing to one before it is refused."""


LARGEST_INTEGER = 2**53
"""Largest count: floats represent every integer up to it."""

LARGEST_DATUM = 1e50
"""Largest feature or target: products of four of them, summed over samples, must stay finite."""


def real(name: str, value: Any) -> float:
    """Return ``value`` as a finite float."""
    if isinstance(value, (bool, str, bytes)) or _kind(value) not in "iufO":
        raise TypeError(f"`{name}` must be a real number; got {_show(value)}.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be a real number; got {_show(value)}.") from None
    except OverflowError:
        raise ValueError(f"`{name}` must be finite; got {_show(value)}.") from None
    if not np.isfinite(number):
        raise ValueError(f"`{name}` must be finite; got {number}.")
    return number


def nonnegative(name: str, value: Any) -> float:
    """Return ``value`` as a float that is >= 0."""
    number = real(name, value)
    if number < 0:
        raise ValueError(f"`{name}` must be >= 0; got {number}.")
    return number


def share(name: str, value: Any) -> float:
    """Return ``value`` as a float in [0, 1)."""
    number = nonnegative(name, value)
    if number >= 1:
        raise ValueError(f"`{name}` must be < 1; got {number}.")
    return number


def positive(name: str, value: Any) -> float:
    """Return ``value`` as a float that is > 0."""
    number = real(name, value)
    if number <= 0:
        raise ValueError(f"`{name}` must be > 0; got {number}.")
    return number


def integer(name: str, value: Any, *, minimum: int | None = None) -> int:
    """Return ``value`` as an int, at least ``minimum``."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be an integer; got {value!r}.")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer; got {_show(value)}.") from None
    if minimum is not None and number < minimum:
        raise ValueError(f"`{name}` must be >= {minimum}; got {_show(number)}.")
    if number > LARGEST_INTEGER:
        raise ValueError(f"`{name}` must be at most {LARGEST_INTEGER}; got {_show(number)}.")
    return number


def flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False; got {_show(value)}.")
    return bool(value)


def choice(name: str, value: Any, options: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``options``."""
    if not isinstance(value, str) or value not in options:
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(f"`{name}` must be one of {listed}; got {_show(value)}.")
    return value


def array(
    name: str, value: Any, *, shape: tuple[int | None, ...], leading: bool = False
) -> np.ndarray:
    """Return ``value`` as a finite float64 NumPy array of a given shape.

    Parameters
    ----------
    shape : tuple
        Required lengths of the last axes; ``None`` leaves a length free (but at least one).
    leading : bool
        Whether further axes may stand before them.
    """
    result = _numeric(name, value)
    _check_shape(name, result.shape, shape, leading)
    result = np.array(result, dtype=np.float64)
    finite = np.isfinite(result)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"`{name}` must be finite; got {result[where]} at index {where}.")
    return result


def data(name: str, value: Any, *, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return features or targets as :func:`array` does, small enough for their fourth powers."""
    result = array(name, value, shape=shape)
    largest = float(np.abs(result).max())
    if largest > LARGEST_DATUM:
        raise ValueError(
            f"`{name}` must be at most {LARGEST_DATUM:g} in size (its powers would overflow: "
            f"rescale it); got {largest:g}."
        )
    return result


def labels(name: str, value: Any, *, length: int | None = None) -> np.ndarray:
    """Return class labels as a one-dimensional int64 array of values >= 0."""
    result = _numeric(name, value)
    _check_shape(name, result.shape, (length,), False)
    if result.dtype.kind not in "iu":
        raise ValueError(f"`{name}` must have an integer dtype; got {result.dtype}.")
    if result.min() < 0:
        raise ValueError(f"`{name}` must be >= 0; got {int(result.min())}.")
    return result.astype(np.int64)


def mask(name: str, value: Any, *, length: int) -> np.ndarray:
    """Return a boolean mask with one entry per sample."""
    result = _as_array(name, value)
    if result.dtype != np.bool_:
        raise TypeError(f"`{name}` must be a boolean mask; got dtype {result.dtype}.")
    _check_shape(name, result.shape, (length,), False)
    return result.copy()


def simplex_weights(name: str, value: Any, num_samples: int, *, leading: bool = False) -> Array:
    """Return strictly positive weights that sum to one, normalised to round-off.

    A weight of zero stays zero along every multiplicative update, so a zero is refused: leave
    such samples out of the problem instead.
    """
    result = array(name, value, shape=(num_samples,), leading=leading)
    if result.min() <= 0:
        raise ValueError(
            f"`{name}` must be > 0 everywhere (a zero weight never returns: leave the sample out); "
            f"got {result.min()}."
        )
    total = result.sum(axis=-1, keepdims=True)
    worst = float(total.flat[np.argmax(np.abs(total - 1.0))])
    if abs(worst - 1.0) > SUM_TOLERANCE:
        raise ValueError(f"`{name}` must sum to 1; got a sum of {worst}.")
    return result / total


def weights_like(name: str, value: Any) -> np.ndarray:
    """Return any finite non-negative weights ``(..., n)`` whose last axis has a positive sum."""
    result = array(name, value, shape=(None,), leading=True)
    if result.min() < 0:
        raise ValueError(f"`{name}` must be >= 0; got {result.min()}.")
    if result.max(axis=-1).min() <= 0:
        raise ValueError(f"`{name}` must have a positive sum; got 0.0.")
    return result


def time_span(name: str, value: Any) -> tuple[float, float]:
    """Return an increasing pair of finite times."""
    if np.shape(_as_array(name, value)) != (2,):
        raise ValueError(f"`{name}` must be a pair of times; got {_show(value)}.")
    start, end = real(name, value[0]), real(name, value[1])
    if not end > start:
        raise ValueError(f"`{name}` must increase; got ({start}, {end}).")
    return start, end


def _numeric(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as a real numeric array, of whatever dtype it has."""
    if type(value).__module__.split(".")[0] == "cupy":
        raise TypeError(f"`{name}` must be a NumPy array; pass it on with `problem.to(xp=cupy)`.")
    result = _as_array(name, value)
    if result.dtype.kind not in "fiub":
        raise TypeError(f"`{name}` must be a real numeric array; got dtype {result.dtype}.")
    return result


def _as_array(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as a NumPy array of any dtype; masked entries are no data."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"`{name}` must not have masked entries.")
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be a rectangular array; got {_show(value)}.") from None


def _kind(value: Any) -> str:
    """Return the kind of a scalar's dtype, "V" (none that fits) for everything with axes."""
    try:
        result = np.asarray(value)
    except (TypeError, ValueError):
        return "V"
    return result.dtype.kind if result.ndim == 0 else "V"


def _check_shape(
    name: str, shape: tuple[int, ...], wanted: tuple[int | None, ...], leading: bool
) -> None:
    """Refuse ``shape`` unless its last axes match ``wanted``."""
    last = shape[-len(wanted) :]
    right_number = len(shape) == len(wanted) or (leading and len(shape) > len(wanted))
    fits = all(w is None or w == s for w, s in zip(wanted, last, strict=False))
    if not (right_number and fits):
        spelled = ("..., " if leading else "") + ", ".join(
            "*" if w is None else str(w) for w in wanted
        )
        comma = "," if len(wanted) == 1 and not leading else ""
        raise ValueError(f"`{name}` must have shape ({spelled}{comma}); got {shape}.")
    if 0 in shape:
        raise ValueError(f"`{name}` must not be empty; got shape {shape}.")


def _show(value: Any) -> str:
    """Spell a wrong value in a few characters."""
    try:
        text = repr(value)
    except ValueError:  # integers of more than 4300 digits
        text = "a huge integer"
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:50]}..."
