"""What a worker needs to know of a sweep, and its units of work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...jobs.published import JobFile, OfJob
from ...storage.locks import shared
from ..axes import Grid
from ..computing import compute
from ..settings import Settings
from .folder import SweepFolder
from .layout import PENDING, Layout

__all__ = ["Job", "UnitTask", "ends_of"]


@dataclass(frozen=True, eq=False)
class Job:
    """A grid of cells and where they go.

    Attributes
    ----------
    root : Path
        The folder of the sweep.
    """

    root: Path
    grid: Grid
    settings: Settings
    layout: Layout
    generation: str

    @property
    def group(self) -> Path:
        """The Zarr group."""
        return self.root / "sweep.zarr"

    def run(self, unit: int, known: np.ndarray) -> tuple[list[Path], dict[str, Any]]:
        """Compute the cells of a unit that are not ``known`` (B,), and write all of them.

        Raises
        ------
        RuntimeError
            When the sweep in the folder is another one by now.
        """
        region = self.layout.region(unit)
        point = self.grid.point(tuple(s.start for s in region[2:]))
        rates = np.meshgrid(self.grid.alpha[region[0]], self.grid.beta[region[1]], indexing="ij")
        alpha, beta = (rate.ravel()[~known] for rate in rates)
        settings = self.grid.settings(self.settings, point)
        new = compute(self.grid.problem(point), settings, alpha, beta)
        table = new.table
        if known.any():
            table = _merged(self.layout.read(self.group, unit), new.table, known)
        status = np.asarray(table["status"])
        facts: dict[str, Any] = {"generation": self.generation, "engine": new.engine}
        facts |= {"cells": int(status.size), "computed": int(alpha.size)}
        with shared(self.root):
            now = SweepFolder.peek(self.root)
            if now is None or now.generation != self.generation:
                raise RuntimeError("the sweep was extended meanwhile; start this run again")
            return self.layout.write(self.group, unit, table), facts | ends_of(status)

    def task(self, unit: int) -> UnitTask:
        """Return a unit, to be done in this process."""
        return UnitTask(self, unit, self.label(unit))

    def label(self, unit: int) -> str:
        """Return which cells a unit holds, in words."""
        alpha, beta, *rest = self.layout.region(unit)
        point = self.grid.point(tuple(s.start for s in rest))
        parts = [_span("alpha", self.grid.alpha[alpha]), _span("beta", self.grid.beta[beta])]
        return f"chunk {unit}: " + ", ".join([*parts, *(f"{k} {v}" for k, v in point.items())])


@dataclass(frozen=True)
class UnitTask(OfJob):
    """One unit of a sweep: see :class:`~warmflow.dynamics.jobs.Task`."""

    job: Job | JobFile
    unit: int
    label: str

    @property
    def name(self) -> str:
        """The name of its marks."""
        return f"{self.unit:06d}"

    def compute(self) -> tuple[list[Path], Mapping[str, Any]]:
        """Compute what is missing of the unit, and write it."""
        job: Job = self.loaded()
        known = np.zeros(job.layout.size(self.unit), dtype=bool)
        mark = self.marks.whole(self.name)
        if mark is not None and mark.get("is_partial"):
            known[mark["known"]] = True
        return job.run(self.unit, known)


def _merged(
    old: dict[str, np.ndarray], new: dict[str, np.ndarray], known: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the table of all cells of a unit."""
    table = {}
    for name, values in old.items():
        table[name] = values
        if name in new:
            part = values[~known]
            part[tuple(slice(size) for size in new[name].shape)] = new[name]
            table[name][~known] = part
    return table


def ends_of(status: np.ndarray) -> dict[str, Any]:
    """Return how many cells ended in which way."""
    values, counts = np.unique(status[status != PENDING], return_counts=True)
    return {"ends": {str(int(v)): int(c) for v, c in zip(values, counts, strict=True)}}


def _span(name: str, values: np.ndarray) -> str:
    first, last = values[0], values[-1]
    return f"{name} {first:.3g}" + (f" ... {last:.3g}" if values.size > 1 else "")
