"""One unit of work of a comparison: an entry, or the references, on one draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...dynamics import Problem
from ...dynamics.jobs.published import UNITS, JobFile, OfJob
from ...dynamics.run import check_parts
from ...dynamics.simplex import uniform_log_weights
from ...dynamics.specifying import specification
from ...dynamics.storage.datasets import write_dataset
from ...dynamics.storage.hashing import digest_of
from .entries import Entry
from .references import references
from .rows import ALONG_BUDGET, Plan, Table, rows

if TYPE_CHECKING:
    import xarray

__all__ = ["REFERENCE_UNIT", "Job", "Unit", "dims_of", "problem_of"]

REFERENCE_UNIT = "_references"
"""In place of the name of an entry; none begins with an underscore."""


@dataclass(frozen=True, eq=False)
class Job:
    """What workers need to know.

    Attributes
    ----------
    root : Path
        The folder of the comparison.
    make : callable
        Seed to problem.
    """

    root: Path
    make: Callable[[int], Problem]
    entries: Mapping[str, Entry]
    plan: Plan

    def key(self, name: str, seed: int) -> str:
        """Return the digest of all that the numbers of a unit depend on."""
        problem = problem_of(self, seed)
        document: dict[str, Any] = {"plan": asdict(self.plan), "data": problem.fingerprint()}
        if name != REFERENCE_UNIT:
            entry = self.entries[name]
            document |= described(problem, entry, seed)
        return digest_of(document)

    def compute(self, name: str, seed: int) -> Table:
        """Return the table of a unit."""
        problem = problem_of(self, seed)
        if name == REFERENCE_UNIT:
            return references(problem, self.plan.marks[-1])
        return rows(problem, self.entries[name], self.plan, seed)


@dataclass(frozen=True)
class Unit(OfJob):
    """One unit of a job: see :class:`~warmflow.dynamics.jobs.Task`."""

    job: Job | JobFile
    entry: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its marks."""
        return f"{self.entry}/seed-{self.seed}"

    @property
    def label(self) -> str:
        """Entry and seed."""
        shown = "references" if self.entry == REFERENCE_UNIT else self.entry
        return f"{shown}, seed {self.seed}"

    @property
    def path(self) -> Path:
        """Where its Zarr group lies."""
        return self.job.root / UNITS / f"{self.name}.zarr"

    def compute(self) -> tuple[list[Path], Mapping[str, Any]]:
        """Compute the unit and write it."""
        job: Job = self.loaded()
        table, key = job.compute(self.entry, self.seed), job.key(self.entry, self.seed)
        self.marks.forget(self.name)
        write_dataset(self.path, _dataset(table))
        return [self.path], {"key": key}


@lru_cache(maxsize=1)
def problem_of(job: Job, seed: int) -> Problem:
    """Return the problem of a draw; the last one is kept."""
    return job.make(seed)


def described(problem: Problem, entry: Entry, seed: int) -> dict[str, str]:
    """Return what determines the runs of an entry, in words."""
    geometry = check_parts(problem, entry.method, entry.geometry)
    log_w = uniform_log_weights(problem.num_samples)
    spec = specification(problem, entry.method, geometry, seed, None, log_w)
    return spec | {"is_scaled": str(entry.is_scaled)}


def dims_of(name: str) -> tuple[str, ...]:
    """Return the dimensions of a variable in the file of its unit."""
    if name.startswith("reference_"):
        return ("reference",)
    if name in ALONG_BUDGET:
        return ("ratio", "budget")
    return ("ratio", *{"support": ("threshold",), "calls": ("oracle",)}.get(name, ()))


def _dataset(table: Table) -> xarray.Dataset:
    import xarray

    return xarray.Dataset({name: (dims_of(name), values) for name, values in table.items()})
