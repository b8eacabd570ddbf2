"""What the problems share about their data: the test pair and subsets of samples."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from array_api_compat import array_namespace

from ..namespaces import to_numpy
from ..types import Array
from .base import Problem

__all__ = ["check_test", "largest_row", "subset"]

P = TypeVar("P", bound=Problem)


def check_test(test: Any) -> tuple[Any, Any]:
    """Return the pair ``(X_test, y_test)`` or say what came instead."""
    if not isinstance(test, (tuple, list)) or len(test) != 2:
        raise TypeError(f"`test` must be a pair (X_test, y_test); got {type(test).__name__}.")
    return test[0], test[1]


def largest_row(X: Array) -> float:
    """Return the largest squared norm of a row of X."""
    xp = array_namespace(X)
    return float(xp.max(xp.sum(X * X, axis=-1)))


def check_index(name: str, index: Any, length: int) -> np.ndarray:
    """Return a non-empty one-dimensional index array into ``length`` samples."""
    try:
        result = to_numpy(index) if hasattr(index, "dtype") else np.asarray(index)
    except ValueError:
        raise ValueError(f"`{name}` must be one-dimensional; got a ragged list.") from None
    if result.ndim != 1 or result.size == 0 or result.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must be a non-empty one-dimensional array of integers; got "
            f"shape {result.shape} and dtype {result.dtype}."
        )
    if result.min() < 0 or result.max() >= length:
        raise ValueError(
            f"`{name}` must lie in 0 ... {length - 1}; got {result.min()} ... {result.max()}."
        )
    return result.astype(np.int64)


def subset(
    problem: P,
    *,
    train: tuple[str, ...],
    train_index: Any,
    val: tuple[str, ...],
    val_index: Any,
) -> P:
    """Return a copy of ``problem`` whose named arrays hold the chosen rows only."""
    part: Any = problem._clone()
    for argument, names, index in (("train", train, train_index), ("val", val, val_index)):
        if index is None:
            continue
        length = getattr(problem, names[0]).shape[0]
        rows = check_index(argument, index, length)
        native = part.xp.asarray(rows, device=part.device)
        for name in names:
            setattr(part, name, part.xp.take(getattr(problem, name), native, axis=0))
        if argument == "train":
            part.num_samples = rows.size
            if part.clean is not None:
                part.clean = part.clean[rows]
    return part
