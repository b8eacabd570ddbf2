"""The Dataset of a grid of cells: names, dimensions, coordinates, provenance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import VARIABLES
from ..status import flag_attributes
from ..types import Array

if TYPE_CHECKING:
    import xarray

__all__ = ["label", "label_grid"]

PER_CELL = {
    "last_step": "steps done when the cell ended",
    "last_time": "time that the cell came to",
    "num_evaluations": "evaluations of the field",
}
"""Variables, besides the status, that a cell has once; with their long names."""
TRAILING = {"theta": "param", "support": "threshold", "w": "sample", "U": "feature"}


def label(
    table: dict[str, np.ndarray],
    alpha: Array,
    beta: Array,
    dt: float,
    steps: tuple[int, ...] | None,
    thresholds: tuple[float, ...],
    log_w0: Array | None,
    record: dict[str, Any],
) -> xarray.Dataset:
    """Return the Dataset of a sweep over ``(alpha, beta[, step])``."""
    coords: dict[str, Any] = {
        "rho": ("alpha", alpha * dt, {"long_name": "inner step, alpha dt"}),
        "eta": ("beta", beta * dt, {"long_name": "outer step, beta dt"}),
    }
    if steps is not None:
        coords["step"] = list(steps)
    axis = None if steps is None else "step"
    return label_grid(table, alpha, beta, axis, coords, thresholds, log_w0, record)


def label_grid(
    table: dict[str, np.ndarray],
    alpha: Array,
    beta: Array,
    axis: str | None,
    coords: dict[str, Any],
    thresholds: tuple[float, ...],
    log_w0: Array | None,
    record: dict[str, Any],
) -> xarray.Dataset:
    """Return the Dataset over ``(alpha, beta[, axis])`` of arrays ``(B, saves, ...)``.

    Variables of :data:`PER_CELL` and the status are ``(B,)``. Without an ``axis`` there is one
    save.
    """
    import xarray

    data: dict[str, Any] = {}
    for name, values in table.items():
        grid = values.reshape(alpha.size, beta.size, *values.shape[1:])
        if name == "status":
            data[name] = (("alpha", "beta"), grid, flag_attributes())
        elif name in PER_CELL:
            data[name] = (("alpha", "beta"), grid, {"long_name": PER_CELL[name]})
        else:
            dims = ("alpha", "beta", *([axis] if axis else []))
            dims += (TRAILING[name],) if name in TRAILING else ()
            grid = grid if axis else grid[:, :, 0]
            data[name] = (dims, grid, {"long_name": VARIABLES[name]})
    if log_w0 is not None:
        data["log_w0"] = (("sample",), log_w0, {"long_name": "log of the initial weights"})
    shared: dict[str, Any] = {
        "alpha": ("alpha", alpha, {"long_name": "speed of theta", "units": "1/time"}),
        "beta": ("beta", beta, {"long_name": "speed of the weights", "units": "1/time"}),
        "threshold": list(thresholds),
    }
    return xarray.Dataset(data, shared | coords, {"provenance": json.dumps(record)})
