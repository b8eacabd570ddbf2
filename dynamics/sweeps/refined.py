"""A sweep refined where its phases meet: batches of cells, each chosen by all before it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..types import Array
from .axes import Grid
from .computing import Computed, compute
from .labels import label_grid
from .memory import record_of
from .refinement import Refinement, Refiner
from .settings import Settings

if TYPE_CHECKING:
    import xarray

__all__ = ["as_refinement", "label_cells", "refine", "refined_in_memory", "refined_record"]

Evaluate = Callable[[int, Array, Array], "xarray.Dataset"]
"""From the number of a batch and its rates ``(k,)`` to its Dataset over ``cell``."""


def as_refinement(value: Any, grid: Grid) -> Refinement:
    """Return what a ``refine`` argument stands for.

    Raises
    ------
    ValueError, TypeError
        For what is neither a number of cells nor a Refinement, or together with other axes.
    """
    if not isinstance(value, Refinement):
        value = Refinement(num_cells=checks.integer("refine", value, minimum=2))
    if grid.extra:
        raise ValueError(
            f"`refine` goes with alpha and beta alone; got `axes` {', '.join(grid.extra)}: refine "
            "one combination after the other."
        )
    if value.num_cells < grid.alpha.size * grid.beta.size:
        raise ValueError(
            f"`refine` must leave room for the {grid.alpha.size} x {grid.beta.size} cells of the "
            f"grid; got {value.num_cells}."
        )
    Refiner(grid.alpha, grid.beta, value)  # checks the axes, at the door
    return value


def refined_in_memory(
    grid: Grid,
    settings: Settings,
    refinement: Refinement,
    progress: Callable[[float], None] | None,
) -> xarray.Dataset:
    """Run a refined sweep in this process and its memory."""
    began = time.perf_counter()
    problem = grid.problem({})
    firsts: list[Computed] = []

    def evaluate(batch: int, alpha: Array, beta: Array) -> xarray.Dataset:
        found = compute(problem, settings, alpha, beta)
        firsts.append(found)
        return label_cells(found.table, alpha, beta, settings)

    def tell(ds: xarray.Dataset) -> None:
        if progress is not None:
            progress(min(ds.sizes["cell"] / refinement.num_cells, 0.999))

    ds = refine(grid, refinement, evaluate, tell)
    if progress is not None:
        progress(1.0)
    record = refined_record(
        grid, settings, refinement, problem, firsts[0], time.perf_counter() - began
    )
    if settings.w0 is not None:
        name = "log of the initial weights"
        ds["log_w0"] = ("sample", firsts[0].log_w0, {"long_name": name})
    return ds.assign_attrs(provenance=json.dumps(record))


def refined_record(
    grid: Grid,
    settings: Settings,
    refinement: Refinement,
    problem: Any,
    first: Computed,
    seconds: float | None,
) -> dict[str, Any]:
    """Return the provenance of a refined sweep."""
    record = record_of(grid, settings, problem, first, seconds)
    record["config"]["refine"] = asdict(refinement)
    return record


def refine(
    grid: Grid,
    refinement: Refinement,
    evaluate: Evaluate,
    tell: Callable[[xarray.Dataset], None],
) -> xarray.Dataset:
    """Run batch after batch; return all cells, in the order in which they were chosen.

    ``tell`` is called with all cells so far after each batch.
    """
    import xarray

    refiner = Refiner(grid.alpha, grid.beta, refinement)
    values = np.empty(0)
    parts: list[xarray.Dataset] = []
    while (rates := refiner.propose(values)).size:
        parts.append(evaluate(len(parts), rates[:, 0].copy(), rates[:, 1].copy()))
        values = np.concatenate([values, refinement.values(parts[-1])])
        ds = xarray.concat(
            parts, "cell", data_vars="minimal", coords="minimal", compat="override", join="override"
        )
        ds = ds.assign_coords(cell=np.arange(values.size), level=("cell", refiner.depths(), _LEVEL))
        tell(ds)
    # The last batch is known to the refiner by now, so that its curve is that of all cells.
    curve = refiner.curve()
    if len(curve):
        ds["boundary"] = (("piece", "end", "rate"), curve, _BOUNDARY)
    return ds


_LEVEL = {"long_name": "halvings of the coarse spacing"}
_BOUNDARY = {"long_name": "pieces of the level curve, from one (alpha, beta) to another"}


def label_cells(
    table: dict[str, np.ndarray], alpha: Array, beta: Array, settings: Settings
) -> xarray.Dataset:
    """Return the Dataset over ``(cell[, step])`` of arrays ``(B, saves, ...)``."""
    coords: dict[str, Any] = {
        "alpha": ("cell", alpha, {"long_name": "speed of theta", "units": "1/time"}),
        "beta": ("cell", beta, {"long_name": "speed of the weights", "units": "1/time"}),
        "rho": ("cell", alpha * settings.dt, {"long_name": "inner step, alpha dt"}),
        "eta": ("cell", beta * settings.dt, {"long_name": "outer step, beta dt"}),
    }
    axis = "step" if settings.has_steps else None
    if axis:
        coords["step"] = list(settings.steps)
    cells = {"cell": range(alpha.size)}
    return label_grid(table, cells, axis, coords, settings.thresholds, None, {})
