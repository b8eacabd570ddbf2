"""Simulate, store, draw: the loop over the items of a reproduction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from .. import figures
from ..dynamics.jobs import Pool, Report, run_tasks
from ..dynamics.provenance import record
from ..dynamics.storage.atomic import write_json
from ..dynamics.storage.marks import Marks
from .artefacts import save_drawing
from .folder import ReproductionFolder
from .item import Item, Part, Variant
from .progress import Progress
from .store import Key, Store

__all__ = ["Failure", "Outcome", "PartTask", "run_items"]


@dataclass(frozen=True)
class Failure:
    """A part, or the drawing of an item, that raised."""

    place: str
    message: str


@dataclass
class Outcome:
    """What a run did: parts simulated and found in the store, items drawn, failures."""

    simulated: int = 0
    reused: int = 0
    drawn: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class PartTask:
    """One part, as a unit of work: see :class:`~warmflow.dynamics.jobs.Task`."""

    item: Item[Any]
    part: Part
    key: Key
    store: Store

    @property
    def name(self) -> str:
        """The name of its marks."""
        return self.store.name(self.key)

    @property
    def label(self) -> str:
        """Item and part."""
        return f"{self.item.name} {self.part.label}"

    @property
    def marks(self) -> Marks:
        """Where its marks lie."""
        return self.store.marks

    def compute(self) -> tuple[list[Path], dict[str, Any]]:
        """Simulate the part and write what came of it."""
        result = self.item.simulate(self.part, self.item.data(self.part))
        return self.store.write(self.key, _with_provenance(result, self.key))


def run_items(
    items: Sequence[Item[Any]],
    variant: Variant,
    folder: ReproductionFolder,
    *,
    force: bool = False,
    pool: Pool | None = None,
) -> Outcome:
    """Run `items`; one part that fails harms no other, and failures are listed in the outcome.

    Parts that are stored under their key are not simulated again unless `force` is set. Figures,
    tables and numbers are always written anew from the store, as soon as all parts of an item are
    there. The parts are simulated in `pool`, by default one after the other in this process.
    """
    pool = Pool() if pool is None else pool
    outcome = Outcome()
    parts = {item.name: tuple(item.parts(variant)) for item in items}
    keys: dict[str, dict[Part, Key]] = {item.name: {} for item in items}
    of_task: dict[str, PartTask] = {}
    total = sum(len(entries) for entries in parts.values())
    with Progress(total, workers=pool.size) as progress:

        def settle(item: Item[Any], part: Part, key: Key) -> None:
            keys[item.name][part] = key
            if len(keys[item.name]) == len(parts[item.name]):
                ordered = {part: keys[item.name][part] for part in parts[item.name]}
                _draw(item, variant, ordered, folder, progress, outcome)

        def tell(report: Report) -> None:
            task = of_task[report.name]
            if report.outcome == "failed":
                outcome.failures.append(Failure(task.label, report.message))
                progress.done(f"{task.label} FAILED", None)
                return
            outcome.simulated += report.outcome == "done"
            outcome.reused += report.outcome == "found"
            progress.done(task.label, report.seconds)
            settle(task.item, task.part, task.key)

        for item in items:
            for part in parts[item.name]:
                task = _task(item, part, folder, progress, outcome)
                if task is None:
                    continue
                if force or folder.store.mark(task.key) is None:
                    folder.store.forget(task.key)
                    of_task[task.name] = task
                else:
                    outcome.reused += 1
                    progress.done(task.label, None)
                    settle(item, part, task.key)
        run_tasks(list(of_task.values()), pool, tell)
    return outcome


def _task(
    item: Item[Any],
    part: Part,
    folder: ReproductionFolder,
    progress: Progress,
    outcome: Outcome,
) -> PartTask | None:
    """Return the task of a part; None where its data cannot be had."""
    try:
        return PartTask(item, part, item.key(part, item.data(part)), folder.store)
    except Exception as error:
        label = f"{item.name} {part.label}"
        _fail(label, error, outcome)
        progress.done(f"{label} FAILED", None)
        return None


def _draw(
    item: Item[Any],
    variant: Variant,
    keys: dict[Part, Key],
    folder: ReproductionFolder,
    progress: Progress,
    outcome: Outcome,
) -> None:
    """Write figures, tables, sidecars and numbers of one item from the store."""
    try:
        results: dict[Part, xr.Dataset] = {}
        seconds = 0.0
        for part, key in keys.items():
            results[part] = folder.store.load(key)
            seconds += (folder.store.mark(key) or {}).get("wall_seconds", 0.0)
        config = {"item": item.name, "version": item.version, "variant": variant,
                  "parts": {part.label: key.digest for part, key in keys.items()}}  # fmt: skip
        seed = next(iter(keys)).seed
        provenance = record(config, root_seed=seed, wall_seconds=seconds)
        with figures.style.context():
            drawings = item.draw(results)
        for name, drawing in drawings.items():
            save_drawing(
                folder.path / item.name, name, drawing, provenance, quick=variant == "quick"
            )
        numbers = {name: value.document() for name, value in item.numbers(results).items()}
        document = {"item": item.name, "version": item.version, "variant": variant,
                    "numbers": numbers, "provenance": provenance}  # fmt: skip
        write_json(folder.numbers(item.name), document)
    except Exception as error:
        _fail(f"{item.name} (drawing)", error, outcome)
        progress.say(f"{item.name}: drawing FAILED")
        return
    outcome.drawn.append(item.name)


def _with_provenance(result: xr.Dataset, key: Key) -> xr.Dataset:
    # Without the seconds: the same seed gives the same bytes.
    provenance = record(key.document(), root_seed=key.seed)
    return result.assign_attrs(provenance=json.dumps(provenance, sort_keys=True))


def _fail(place: str, error: Exception, outcome: Outcome) -> None:
    message = " ".join(f"{type(error).__name__}: {error}".split())
    outcome.failures.append(Failure(place, message))
