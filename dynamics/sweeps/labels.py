"""The Dataset of a grid of cells: names, dimensions, coordinates, provenance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import VARIABLES
from ..status import flag_attributes
from ..types import Array
from .axes import LONG_NAMES, Grid
from .settings import Settings

if TYPE_CHECKING:
    import xarray

__all__ = ["PER_CELL", "TRAILING", "attributes", "label_grid", "sweep_coordinates"]

PER_CELL = {
    "last_step": "steps done when the cell ended",
    "last_time": "time that the cell came to",
    "num_evaluations": "evaluations of the field",
}
"""Variables, besides the status, that a cell has once; with their long names."""
TRAILING = {"theta": "param", "support": "threshold", "w": "sample", "U": "feature"}


def attributes(name: str) -> dict[str, Any]:
    """Return the attributes of a variable."""
    if name == "status":
        return flag_attributes()
    return {"long_name": PER_CELL.get(name) or VARIABLES[name]}


def label_grid(
    table: dict[str, np.ndarray],
    axes: dict[str, Any],
    axis: str | None,
    coords: dict[str, Any],
    thresholds: tuple[float, ...],
    log_w0: Array | None,
    record: dict[str, Any],
) -> xarray.Dataset:
    """Return the Dataset over ``(*axes[, axis])`` of arrays ``(B, saves, ...)``.

    Variables of :data:`PER_CELL` and the status are ``(B,)``. Without an ``axis`` there is one
    save.
    """
    import xarray

    shape = tuple(len(values) for values in axes.values())
    data: dict[str, Any] = {}
    for name, values in table.items():
        grid = values.reshape(*shape, *values.shape[1:])
        dims = tuple(axes)
        if name != "status" and name not in PER_CELL:
            dims += (axis,) if axis else ()
            dims += (TRAILING[name],) if name in TRAILING else ()
            grid = grid if axis else grid[(slice(None),) * len(shape) + (0,)]
        data[name] = (dims, grid, attributes(name))
    if log_w0 is not None:
        data["log_w0"] = (("sample",), log_w0, {"long_name": "log of the initial weights"})
    own = {name: (name, list(values), LONG_NAMES.get(name, {})) for name, values in axes.items()}
    shared: dict[str, Any] = {**own, "threshold": list(thresholds)}
    return xarray.Dataset(data, shared | coords, {"provenance": json.dumps(record)})


def sweep_coordinates(grid: Grid, settings: Settings) -> dict[str, Any]:
    """Return the coordinates of a sweep beside its axes."""
    coords: dict[str, Any] = {
        "rho": ("alpha", grid.alpha * settings.dt, {"long_name": "inner step, alpha dt"}),
        "eta": ("beta", grid.beta * settings.dt, {"long_name": "outer step, beta dt"}),
    }
    if settings.has_steps:
        coords["step"] = list(settings.steps)
    return coords
