"""The Dataset of a sweep: names, dimensions, coordinates, provenance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import VARIABLES
from ..status import flag_attributes
from ..types import Array

if TYPE_CHECKING:
    import xarray

__all__ = ["label"]


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
    """Return the Dataset over ``(alpha, beta[, step])``."""
    import xarray

    last = {"theta": "param", "support": "threshold", "w": "sample", "U": "feature"}
    data: dict[str, Any] = {}
    for name, values in table.items():
        grid = values.reshape(alpha.size, beta.size, *values.shape[1:])
        if name in ("status", "last_step"):
            data[name] = (("alpha", "beta"), grid)
            continue
        dims: tuple[str, ...] = ("alpha", "beta")
        dims += ("step",) if steps is not None else ()
        dims += (last[name],) if name in last else ()
        grid = grid if steps is not None else grid[:, :, 0]
        data[name] = (dims, grid, {"long_name": VARIABLES[name]})
    data["status"] = (*data["status"], flag_attributes())
    data["last_step"] = (*data["last_step"], {"long_name": "steps done when the cell ended"})
    if log_w0 is not None:
        data["log_w0"] = (("sample",), log_w0, {"long_name": "log of the initial weights"})
    coords: dict[str, Any] = {
        "alpha": ("alpha", alpha, {"long_name": "speed of theta", "units": "1/time"}),
        "beta": ("beta", beta, {"long_name": "speed of the weights", "units": "1/time"}),
        "rho": ("alpha", alpha * dt, {"long_name": "inner step, alpha dt"}),
        "eta": ("beta", beta * dt, {"long_name": "outer step, beta dt"}),
        "threshold": list(thresholds),
    }
    if steps is not None:
        coords["step"] = list(steps)
    return xarray.Dataset(data, coords, {"provenance": json.dumps(record)})
