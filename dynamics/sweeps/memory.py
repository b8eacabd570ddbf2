"""A sweep in this process and its memory: one combination of the extra axes after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import provenance
from .axes import Grid
from .computing import Computed, compute, in_dtype
from .labels import PER_CELL, label_grid, sweep_coordinates
from .settings import Settings

if TYPE_CHECKING:
    import xarray

__all__ = ["config_of", "fill_of", "in_memory", "record_of"]


def in_memory(
    grid: Grid, settings: Settings, progress: Callable[[float], None] | None
) -> xarray.Dataset:
    """Run all cells; return their Dataset."""
    began = time.perf_counter()
    alpha, beta = (rate.ravel() for rate in np.meshgrid(grid.alpha, grid.beta, indexing="ij"))
    combinations = list(grid.points())
    parts: list[Computed] = []
    for k, (_, point) in enumerate(combinations):

        def report(share: float, k: int = k) -> None:
            if progress is not None:
                progress((k + share) / len(combinations))

        problem, own = grid.problem(point), grid.settings(settings, point)
        parts.append(compute(problem, own, alpha, beta, progress and report))
    table = _joined(grid, parts)
    first = grid.problem(combinations[0][1])
    seconds = time.perf_counter() - began
    record = record_of(grid, settings, first, parts[0], seconds)
    log_w0 = None if settings.w0 is None else parts[0].log_w0
    axis = "step" if settings.has_steps else None
    coords = sweep_coordinates(grid, settings)
    return label_grid(table, grid.axes, axis, coords, settings.thresholds, log_w0, record)


def record_of(
    grid: Grid, settings: Settings, problem: Any, first: Computed, seconds: float | None
) -> dict[str, Any]:
    """Return the provenance of a sweep."""
    config = config_of(grid, settings, problem) | {"backend": first.engine}
    if not grid.extra and settings.theta0 is None:
        config["theta0"] = first.theta0
    record = provenance.record(
        config, dtype=settings.dtype, device=first.device, wall_seconds=seconds
    )
    record["engine"] = "; ".join(part for part in (_who(first), first.note) if part)
    return record


def _who(first: Computed) -> str:
    return f"{first.engine} on {first.device}"


def config_of(grid: Grid, settings: Settings, problem: Any) -> dict[str, Any]:
    """Return what determines the numbers; ``problem`` is the one of the first combination."""
    problem = in_dtype(problem, settings.dtype)
    own = {"problem": repr(problem), "data": problem.fingerprint()}
    own |= {"alpha": grid.alpha, "beta": grid.beta}
    return own | settings.config() | ({"axes": grid.extra} if grid.extra else {})


def fill_of(dtype: np.dtype[Any]) -> Any:
    """Return what stands for a number that is not there."""
    return np.nan if dtype.kind == "f" else -1


def _joined(grid: Grid, parts: list[Computed]) -> dict[str, np.ndarray]:
    """Return arrays ``(B, saves, ...)`` of all cells, padded where combinations differ in size."""
    if len(parts) == 1:
        return parts[0].table
    extra = grid.shape[2:]
    table: dict[str, np.ndarray] = {}
    for name in {name: None for part in parts for name in part.table}:
        found = [part.table.get(name) for part in parts]
        present = [values for values in found if values is not None]
        shape = np.max([values.shape for values in present], axis=0)
        dtype = np.result_type(*present)
        whole = np.full((len(parts), *shape), fill_of(dtype), dtype)
        for place, values in zip(whole, found, strict=True):
            if values is not None:
                place[tuple(slice(size) for size in values.shape)] = values
        cells_first = np.moveaxis(whole, 0, 1)
        trailing = () if name == "status" or name in PER_CELL else tuple(shape[1:])
        table[name] = cells_first.reshape(shape[0] * int(np.prod(extra)), *trailing)
    return table
