"""A refined sweep in a folder: every batch is chosen by the ones before it, all of them stored.

A batch is cut into pieces, each a file of arrays with its mark. A run that goes on repeats the
choices, which are a function of what is stored, and finds the pieces there; a mark also holds the
rates of its cells, so that a piece of another choice is not taken for it. ``sweep.zarr`` is put
together anew now and then, and at the end.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs import Pool, Report, run_tasks
from ...jobs.published import UNITS, JobFile, OfJob, publish
from ...storage.atomic import atomic_file
from ...storage.datasets import read_dataset, write_dataset
from ...storage.hashing import digest_of
from ...storage.locks import exclusive
from ...types import Array
from ..axes import Grid
from ..computing import compute
from ..refined import label_cells, refine, refined_record
from ..refinement import Refinement
from ..settings import Settings
from .chunks import choose_block, seconds_of
from .folder import GROUP, SweepFolder, write_manifest
from .job import ends_of
from .run import Outcome
from .spec import Mismatch, describe, differences

if TYPE_CHECKING:
    import xarray

__all__ = ["RefinedSweep", "open_refined"]

SECONDS_BETWEEN_LOOKS = 5.0
"""Seconds between two versions of ``sweep.zarr``."""
PIECES = 32
"""Pieces of all batches together, about, where cells are cheap."""


@dataclass(frozen=True, eq=False)
class CellsJob:
    """What the pieces have in common."""

    root: Path
    grid: Grid
    settings: Settings


@dataclass(frozen=True)
class CellsTask(OfJob):
    """One piece of a batch: see :class:`~warmflow.dynamics.jobs.Task`."""

    job: CellsJob | JobFile
    name: str
    alpha: tuple[float, ...]
    beta: tuple[float, ...]

    @property
    def label(self) -> str:
        """Batch, piece and size."""
        batch, piece = self.name.split("-")
        return f"batch {int(batch)}, piece {int(piece)}: {len(self.alpha)} cells"

    @property
    def path(self) -> Path:
        """Its arrays."""
        return self.job.root / UNITS / f"{self.name}.npz"

    @property
    def digest(self) -> str:
        """SHA-256 of the rates of its cells."""
        return digest_of([self.alpha, self.beta])

    def is_whole(self) -> bool:
        """Whether this very piece is stored."""
        return (self.marks.whole(self.name) or {}).get("rates") == self.digest

    def compute(self) -> tuple[list[Path], dict[str, Any]]:
        """Run the cells, and write them."""
        job: CellsJob = self.loaded()
        alpha, beta = np.array(self.alpha), np.array(self.beta)
        found = compute(job.grid.problem({}), job.settings, alpha, beta)
        with atomic_file(self.path, is_durable=False) as temporary:
            np.savez(temporary, **found.table)  # type: ignore[arg-type]
        facts = {"rates": self.digest, "cells": alpha.size, "engine": found.engine}
        return [self.path], facts | ends_of(found.table["status"])

    def read(self) -> dict[str, np.ndarray]:
        """Return the arrays."""
        with np.load(self.path, allow_pickle=False) as arrays:
            return dict(arrays)


class _Failed(Exception):
    """Some pieces of a batch failed: there is nothing to choose the next one by."""


@dataclass(frozen=True, eq=False)
class RefinedSweep:
    """A refined sweep in a folder, ready to be run."""

    job: CellsJob
    refinement: Refinement
    folder: SweepFolder

    @property
    def num_cells(self) -> int:
        """Cells in all, at most."""
        return self.refinement.num_cells

    @property
    def work_seconds(self) -> float:
        """About how long one core takes for all cells."""
        grid, settings = self.job.grid, self.job.settings
        coarse = seconds_of(grid, settings, grid.problem({}))
        return coarse / int(np.prod(grid.shape)) * self.num_cells

    def run(self, pool: Pool, tell: Callable[[Report], None] | None = None) -> Outcome:
        """Run what is missing."""
        job = self.job if pool.is_local else publish(self.job)
        grid, own = self.job.grid, self.job.settings
        block = choose_block(grid, own, grid.problem({}), None)
        size = max(1, min(block[0] * block[1], -(-self.num_cells // PIECES)))
        reports: list[Report] = []

        def evaluate(batch: int, alpha: Array, beta: Array) -> xarray.Dataset:
            tasks = list(_tasks(job, batch, alpha, beta, size))
            for task in tasks:
                if not task.is_whole():
                    task.marks.forget(task.name)
                elif tell is not None:
                    tell(Report(task.name, task.label, "found", facts={"cells": len(task.alpha)}))
            new = run_tasks([task for task in tasks if not task.is_whole()], pool, tell)
            reports.extend(new)
            if any(report.outcome == "failed" for report in new):
                raise _Failed
            parts = [task.read() for task in tasks]
            table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            return label_cells(table, alpha, beta, own)

        published = -math.inf

        def publish_now_and_then(ds: xarray.Dataset) -> None:
            nonlocal published
            if time.monotonic() - published > SECONDS_BETWEEN_LOOKS:
                self._publish(ds)
                published = time.monotonic()

        try:
            ds = refine(grid, self.refinement, evaluate, publish_now_and_then)
        except _Failed:
            if not (self.folder.root / GROUP).is_dir():
                raise RuntimeError(
                    f"no cell of the first batch could be run: {reports[-1].message}"
                ) from None
            return Outcome(reports, 1)
        self._publish(ds)
        for leftover in set(self.folder.marks.names("failed")):
            self.folder.marks.clear(leftover, "failed")
        return Outcome(reports, 0)

    def load(self) -> xarray.Dataset:
        """Return the cells that there are."""
        return read_dataset(self.folder.root / GROUP)

    def _publish(self, ds: xarray.Dataset) -> None:
        """Write all cells so far as ``sweep.zarr``."""
        if self.job.settings.w0 is not None:
            log_w0 = np.log(self.job.settings.w0 / self.job.settings.w0.sum())
            ds = ds.assign(log_w0=("sample", log_w0, {"long_name": "log of the initial weights"}))
        record = json.dumps(self.folder.manifest["provenance"])
        write_dataset(self.folder.root / GROUP, ds.assign_attrs(provenance=record))


def open_refined(
    root: Path, grid: Grid, settings: Settings, refinement: Refinement, *, resume: bool = False
) -> RefinedSweep:
    """Start the refined sweep in ``root``, or go on with the same one there.

    Raises
    ------
    Mismatch
        When ``root`` holds another sweep.
    ValueError
        When ``root`` holds something and ``resume`` is not set.
    """
    problem = grid.problem({})
    spec = describe(grid, settings, problem)
    spec["refine"] = asdict(refinement)
    before = SweepFolder.started(root) if root.is_dir() else None
    if before is not None and not resume:
        raise ValueError(
            f"`store` {root} holds a sweep; go on with `resume=True`, or choose another folder."
        )
    if before is None:
        root.mkdir(parents=True, exist_ok=True)
        if not resume and any(root.iterdir()):
            raise ValueError(f"`store` {root} is not empty; choose another folder.")
        first = compute(problem, settings, grid.alpha[:1], grid.beta[:1])
        record = refined_record(grid, settings, refinement, problem, first, None)
        before = _claim(root, spec, record)
    found = differences(before.spec, spec)
    if found:
        raise Mismatch(
            f"`store` {root} was started with another specification: {'; '.join(found)}."
        )
    return RefinedSweep(CellsJob(root, grid, settings), refinement, before)


def _claim(root: Path, spec: dict[str, Any], record: dict[str, Any]) -> SweepFolder:
    """Write the manifest, unless another process was first."""
    with exclusive(root):
        found = SweepFolder.peek(root)
        if found is None:
            write_manifest(
                root,
                {"format": 1, "made_by": "warmflow sweep", "kind": "refined", "spec": spec,
                 "provenance": record},
            )  # fmt: skip
            found = SweepFolder.peek(root)
    assert found is not None, "it was just written"
    return found


def _tasks(
    job: CellsJob | JobFile, batch: int, alpha: Array, beta: Array, size: int
) -> Iterator[CellsTask]:
    """Yield the pieces of a batch."""
    for piece, start in enumerate(range(0, alpha.size, size)):
        part = slice(start, start + size)
        rates = tuple(alpha[part].tolist()), tuple(beta[part].tolist())
        yield CellsTask(job, f"{batch:03d}-{piece:03d}", *rates)
