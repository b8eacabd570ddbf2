"""Simulate, store, draw: the loop over the items of a reproduction."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from .. import figures
from ..dynamics.provenance import record
from ..dynamics.storage.atomic import write_json
from .artefacts import save_drawing
from .folder import ReproductionFolder
from .item import Item, Part, Variant
from .progress import Progress
from .store import Key

__all__ = ["Failure", "Outcome", "run_items"]


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


def run_items(
    items: Sequence[Item[Any]],
    variant: Variant,
    folder: ReproductionFolder,
    *,
    force: bool = False,
) -> Outcome:
    """Run `items`; one part that fails harms no other, and failures are listed in the outcome.

    Parts that are stored under their key are not simulated again unless `force` is set. Figures,
    tables and numbers are always written anew from the store.
    """
    outcome = Outcome()
    work = [(item, tuple(item.parts(variant))) for item in items]
    with Progress(sum(len(parts) for _, parts in work)) as progress:
        for item, parts in work:
            keys = {
                part: key
                for part in parts
                if (key := _simulate(item, part, folder, progress, outcome, force=force))
            }
            if len(keys) == len(parts):
                _draw(item, variant, keys, folder, progress, outcome)
    return outcome


def _simulate(
    item: Item[Any],
    part: Part,
    folder: ReproductionFolder,
    progress: Progress,
    outcome: Outcome,
    *,
    force: bool,
) -> Key | None:
    """Bring one part into the store; return its key, or None if it failed."""
    label = f"{item.name} {part.label}"
    try:
        data = item.data(part)
        key = item.key(part, data)
        if not force and folder.store.mark(key) is not None:
            outcome.reused += 1
            progress.done(label, None)
            return key
        start = time.perf_counter()
        result = item.simulate(part, data)
        seconds = time.perf_counter() - start
        folder.store.save(key, _with_provenance(result, key), {"wall_seconds": seconds})
    except Exception as error:
        _fail(label, error, outcome)
        progress.done(f"{label} FAILED", None)
        return None
    outcome.simulated += 1
    progress.done(label, seconds)
    return key


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
