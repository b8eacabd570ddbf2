"""What lies on the device: the samples, once, and the states of a chunk of cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...features import num_features, quadratic_features
from ...problems import LeastSquares
from ...types import Array
from ..cells import Plan
from .device import Device
from .source import LEVELS, num_parts

__all__ = [
    "MEMORY_SHARE",
    "DeviceCells",
    "Shared",
    "bytes_per_cell",
    "feature_scale",
    "put_cells",
    "put_shared",
    "threshold_levels",
]

FEATURE_BITS = {np.dtype(np.float64): 22, np.dtype(np.float32): 9}
"""Bits of a feature that count as its leading part: see ``sums.cu``."""
ROWS_AT_A_TIME = 2**16
MEMORY_SHARE = 0.6
"""Share of the free memory that is used."""


class Shared(NamedTuple):
    """What all cells share, on the device.

    ``rows`` (p + 2, n) holds the columns of X, y and log w0, ``scale`` (2, d) the bounds of the
    features and where they are cut, ``constants`` the Hessian and target of F, and the ridge.
    """

    rows: Any
    scale: Any
    constants: Any
    clean: Any


class DeviceCells(NamedTuple):
    """States of the C cells of a chunk, on the device.

    ``rates`` (C, 2), ``theta`` (C, p), ``U`` (C, 2, d) as an unevaluated sum, ``status`` and
    ``last_step`` (C,), ``parts`` (C, slices, d + 3), ``reference`` (C, 3), ``theta_star`` (C, p),
    ``sums`` (C, slices, 3), ``counts`` (C, slices, levels).
    """

    rates: Any
    theta: Any
    U: Any
    status: Any
    last_step: Any
    parts: Any
    reference: Any
    theta_star: Any
    sums: Any
    counts: Any


def put_shared(problem: LeastSquares, plan: Plan, device: Device) -> Shared:
    """Copy the samples to the device."""
    dtype = problem.X.dtype
    clean = np.zeros(problem.num_samples) if problem.clean is None else problem.clean
    rows = np.vstack([problem.X.T, problem.y, plan.log_w0])
    constants = np.concatenate([problem.val_hessian.ravel(), problem.val_target, [problem.ridge]])
    arrays = (rows, feature_scale(problem), constants, clean)
    with np.errstate(over="ignore", under="ignore"):
        return Shared(*(device.put(values.astype(dtype)) for values in arrays))


def feature_scale(problem: LeastSquares) -> np.ndarray:
    """Return the largest size of each feature, and the power of two at which it is cut, (2, d)."""
    bound = np.zeros(num_features(problem.num_params))
    for start in range(0, problem.num_samples, ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        X, y = problem.X[part].astype(float), problem.y[part].astype(float)
        bound = np.maximum(bound, np.abs(quadratic_features(X, y)).max(axis=0))
    bound *= 1 + 4 * float(np.finfo(problem.X.dtype).eps)
    powers = np.ceil(np.log2(np.where(bound > 0, bound, 1.0))) - FEATURE_BITS[problem.X.dtype]
    return np.stack([bound, np.exp2(powers)])  # where that underflows, nothing is cut


def put_cells(
    problem: LeastSquares, plan: Plan, cells: slice, slices: int, device: Device
) -> DeviceCells:
    """Put some cells of the plan at their start."""
    dtype, p = problem.X.dtype, problem.num_params
    d = num_features(p)
    with np.errstate(over="ignore"):
        rates = np.stack([plan.rho[cells], plan.eta[cells]], axis=1).astype(dtype)
        theta0 = plan.theta0.astype(dtype)
    size = len(rates)
    return DeviceCells(
        device.put(rates),
        device.put(np.tile(theta0, (size, 1))),
        device.put(np.zeros((size, 2, d), dtype=dtype)),
        device.put(np.zeros(size, dtype=np.int32)),
        device.put(np.zeros(size, dtype=np.int64)),
        device.empty((size, slices, num_parts(d)), dtype),
        device.empty((size, 3), dtype),
        device.empty((size, p), dtype),
        device.empty((size, slices, 3), dtype),
        device.empty((size, slices, LEVELS), np.dtype(np.int32)),
    )


def bytes_per_cell(problem: LeastSquares, slices: int) -> int:
    """Return the memory of one cell of :class:`DeviceCells`."""
    p, d = problem.num_params, num_features(problem.num_params)
    numbers = 2 + 2 * p + 2 * d + 3 + slices * (num_parts(d) + 3)
    return numbers * problem.X.dtype.itemsize + 12 + 4 * LEVELS * slices


def threshold_levels(thresholds: tuple[float, ...], dtype: Any) -> np.ndarray:
    """Return the logs of the thresholds in groups ``(groups, LEVELS)``, filled up with infinity.

    Half of the smallest positive number and more counts as positive.
    """
    info = np.finfo(dtype)
    smallest = np.log(float(info.smallest_subnormal)) - np.log(2.0)
    with np.errstate(divide="ignore"):
        levels = np.maximum(np.log(np.array(thresholds, dtype=float)), smallest)
    padded: Array = np.pad(levels, (0, -levels.size % LEVELS), constant_values=np.inf)
    return padded.reshape(-1, LEVELS).astype(dtype)
