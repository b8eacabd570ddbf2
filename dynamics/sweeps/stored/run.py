"""Running a stored sweep: start it, go on with it, or extend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs import Pool, Report, run_tasks
from ...jobs.published import publish
from ...problems import Problem
from ...storage.datasets import read_dataset
from ...storage.locks import exclusive
from ..axes import Grid, make_grid
from ..computing import Computed, compute
from ..labels import label_grid, sweep_coordinates
from ..memory import record_of
from ..settings import Settings
from .chunks import choose_block, seconds_of
from .folder import GROUP, Blueprint, SweepFolder, extend
from .job import Job, UnitTask
from .layout import Layout
from .moving import bring_over
from .spec import Mismatch, describe, differences, united, values_missing

if TYPE_CHECKING:
    import xarray

__all__ = ["Outcome", "StoredSweep", "open_sweep"]


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes
    ----------
    reports : list of Report
        How each unit ended that this run was to do.
    missing : int
        Units of the sweep that are still missing.
    """

    reports: list[Report]
    missing: int

    @property
    def failed(self) -> list[Report]:
        """The units that failed."""
        return [report for report in self.reports if report.outcome == "failed"]


@dataclass(frozen=True, eq=False)
class StoredSweep:
    """A sweep in a folder, ready to be run.

    Attributes
    ----------
    job : Job
    folder : SweepFolder
    """

    job: Job
    folder: SweepFolder

    @property
    def num_units(self) -> int:
        """Number of chunks."""
        return self.job.layout.num_units

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return int(np.prod(self.job.grid.shape))

    @property
    def work_seconds(self) -> float:
        """About how long one core takes for all cells."""
        grid, settings = self.job.grid, self.job.settings
        return seconds_of(grid, settings, _first_problem(grid))

    def run(
        self,
        pool: Pool,
        units: range | None = None,
        tell: Callable[[Report], None] | None = None,
    ) -> Outcome:
        """Do the units that are missing, of ``units`` or of all."""
        whole = self.folder.whole_units()
        wanted = range(self.num_units) if units is None else units
        job = self.job if pool.is_local else publish(self.job)
        label, size = self.job.label, self.job.layout.size
        if tell is not None:
            for unit in (unit for unit in wanted if unit in whole):
                tell(Report(f"{unit:06d}", label(unit), "found", facts={"cells": size(unit)}))
        tasks = [UnitTask(job, unit, label(unit)) for unit in wanted if unit not in whole]
        reports = run_tasks(tasks, pool, tell)
        return Outcome(reports, self.num_units - len(self.folder.done_units()))

    def load(self) -> xarray.Dataset:
        """Return the Dataset; cells that are missing are NaN, their status is -1."""
        return read_dataset(self.folder.root / GROUP)


def open_sweep(
    root: Path,
    grid: Grid,
    settings: Settings,
    *,
    resume: bool = False,
    extends: bool = False,
    cells_per_unit: int | None = None,
) -> StoredSweep:
    """Start the sweep in ``root``, or go on with the same one there.

    Raises
    ------
    Mismatch
        When ``root`` holds a sweep of another specification.
    ValueError
        When ``root`` holds something and ``resume`` and ``extends`` are not set.
    """
    before = SweepFolder.started(root) if root.is_dir() else None
    if before is None:
        before = _create(root, grid, settings, cells_per_unit, resume or extends)
    elif not (resume or extends):
        raise ValueError(
            f"`store` {root} holds a sweep; go on with `resume=True`, or choose another folder."
        )
    problem = _first_problem(grid)
    spec = describe(grid, settings, problem)
    found = differences(before.spec, spec)
    if found and extends:
        with exclusive(root):
            before = SweepFolder.started(root) or before  # another run may have extended it
            before, grid = _extended(before, grid, settings, cells_per_unit)
    elif found:
        hint = "" if not _is_larger(before.spec, spec) else "; add the new cells with `extend=True`"
        raise Mismatch(
            f"`store` {root} was started with another specification: {'; '.join(found)}{hint}."
        )
    grid = _with_axes(grid, before.spec["axes"], settings)
    before.mend(_coordinates(grid, settings))
    return StoredSweep(Job(root, grid, settings, before.layout, before.generation), before)


def _create(
    root: Path, grid: Grid, settings: Settings, cells: int | None, is_resumed: bool
) -> SweepFolder:
    """Start a sweep in a folder that holds nothing, or (resumed) nothing of a sweep."""
    root.mkdir(parents=True, exist_ok=True)
    if not is_resumed and any(root.iterdir()):
        raise ValueError(f"`store` {root} is not empty; choose another folder.")
    return SweepFolder.create(root, _blueprint(grid, settings, cells))


def _extended(
    before: SweepFolder, grid: Grid, settings: Settings, cells: int | None
) -> tuple[SweepFolder, Grid]:
    """Return the sweep with the axes of both, what was done brought over."""
    old_grid = _with_axes(grid, before.spec["axes"], settings)
    axes = united(before.spec["axes"], {name: list(v) for name, v in grid.axes.items()})
    grid = _with_axes(grid, axes, settings)
    found = differences(before.spec, describe(old_grid, settings, _first_problem(old_grid)))
    if found:
        raise Mismatch(
            f"`store` {before.root} can be extended by values of its axes only: {'; '.join(found)}."
        )
    places = [
        [k for k, value in enumerate(axes[name]) if not values_missing(old, [value])]
        for name, old in before.spec["axes"].items()
    ]
    order = [
        [next(j for j, w in enumerate(old) if not values_missing([w], [axes[name][k]])) for k in ks]
        for (name, old), ks in zip(before.spec["axes"].items(), places, strict=True)
    ]

    def fill(built: SweepFolder) -> None:
        bring_over(before, built, places, order)

    return extend(before.root, _blueprint(grid, settings, cells), fill), grid


def _blueprint(grid: Grid, settings: Settings, cells: int | None) -> Blueprint:
    """Return what the folder of a sweep is made of."""
    problem = _first_problem(grid)
    layout, first = _probe(grid, settings, problem, cells)
    spec = describe(grid, settings, problem)
    record = record_of(grid, settings, problem, first, None)
    return Blueprint(spec, layout, _coordinates(grid, settings), record)


def _probe(
    grid: Grid, settings: Settings, problem: Problem, cells: int | None
) -> tuple[Layout, Computed]:
    """Return the layout, by one step of one cell, and that step."""
    point = grid.point((0,) * len(grid.extra))
    own = grid.settings(settings, point)
    first = compute(problem, replace(own, num_steps=1, steps=(1,)), grid.alpha[:1], grid.beta[:1])
    axes = {name: len(values) for name, values in grid.axes.items()}
    block = choose_block(grid, own, problem, cells)
    saves = len(settings.steps) if settings.has_steps else 0
    return Layout.of(_stretched(first.table, grid), axes, block, saves), first


def _stretched(table: dict[str, np.ndarray], grid: Grid) -> dict[str, np.ndarray]:
    """Return a table with room for the largest problem along each axis."""
    sizes = {name: values.shape[-1] for name, values in table.items() if values.ndim > 2}
    for name, values in grid.extra.items():
        for k in range(1, len(values)) if name not in grid.knobs and name != "ridge" else ():
            place = tuple(k if other == name else 0 for other in grid.extra)
            try:
                problem = grid.problem(grid.point(place))
            except Exception as error:
                if isinstance(error, ValueError | TypeError) or hasattr(error, "is_of_user"):
                    raise  # a wrong value
                continue  # the units of this value will fail, and no others
            p = problem.num_params
            wanted = {"theta": p, "U": p * (p + 3) // 2, "w": problem.num_samples}
            sizes = {key: max(size, wanted.get(key, 0)) for key, size in sizes.items()}
    return {
        name: values if name not in sizes else np.empty((1, 1, sizes[name]), values.dtype)
        for name, values in table.items()
    }


def _first_problem(grid: Grid) -> Problem:
    return grid.problem(grid.point((0,) * len(grid.extra)))


def _is_larger(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether only axes differ, and none of the old values is missing now."""
    others = {key: value for key, value in now.items() if key not in ("axes", "data")}
    same = all(before[key] == value for key, value in others.items())
    old, new = before["axes"], now["axes"]
    return same and list(old) == list(new) and not any(values_missing(new[k], old[k]) for k in old)


def _with_axes(grid: Grid, axes: dict[str, list[Any]], settings: Settings) -> Grid:
    """Return the grid with other values of its axes."""
    extra = {name: values for name, values in axes.items() if name not in ("alpha", "beta")}
    return make_grid(grid.source, axes["alpha"], axes["beta"], extra, settings)


def _coordinates(grid: Grid, settings: Settings) -> xarray.Dataset:
    """Return the Dataset without its cells."""
    log_w0 = None
    if settings.w0 is not None:
        log_w0 = np.log(settings.w0 / settings.w0.sum())
    coords = sweep_coordinates(grid, settings)
    return label_grid({}, grid.axes, None, coords, settings.thresholds, log_w0, {})
