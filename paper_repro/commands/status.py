"""``warmflow status``: how far the work in a folder is, from another shell."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ._failures import list_units

if TYPE_CHECKING:
    from ...dynamics.storage.marks import Marks
    from ...dynamics.sweeps.stored import SweepFolder
    from ..folder import ReproductionFolder
    from ..item import Variant

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("dir", type=Path, metavar="DIR", help="the --out of the command")


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    from ...dynamics.sweeps.stored import SweepFolder

    if not args.dir.is_dir():
        fault = "is no folder" if args.dir.exists() else "no such folder"
        raise UserError(f"{args.dir}: {fault}; give the --out of a sweep or reproduction")
    try:
        sweep = SweepFolder.peek(args.dir)
    except (ValueError, OSError) as error:
        raise UserError(str(error).replace("`store` ", "")) from error
    if sweep is not None:
        return _show_sweep(sweep)
    comparison = _comparison(args.dir)
    if comparison is not None:
        return _show_comparison(args.dir, comparison)
    from ..folder import ReproductionFolder

    folder = ReproductionFolder.started(args.dir)
    if folder is not None:
        return _show_reproduction(folder)
    raise UserError(f"{args.dir}: nothing was started here; give the --out of a sweep")


def _show_sweep(sweep: SweepFolder) -> int:
    """Print how far a sweep is."""
    if sweep.manifest["kind"] == "refined":
        return _show_refined(sweep)
    layout = sweep.layout
    cells = " x ".join(f"{size} {name}" for name, size in layout.axes.items())
    print(f"sweep over {cells}, {sweep.spec['num_steps']} steps, {layout.num_units} chunks")
    return show_marks(sweep.marks, layout.num_units)


def _show_refined(sweep: SweepFolder) -> int:
    """Print how far a refined sweep is."""
    spec = sweep.spec
    total = spec["refine"]["num_cells"]
    marks = [sweep.marks.done(name) or {} for name in sweep.marks.names("done")]
    print(f"refined sweep, {spec['num_steps']} steps")
    print(f"{sum(mark.get('cells', 0) for mark in marks)} of at most {total} cells done")
    _show_ends(marks)
    return 1 if list_units(sweep.marks) else 0


def _comparison(folder: Path) -> dict[str, Any] | None:
    """Return what a comparison was started with, None where nothing was."""
    from ...analysis.comparison.folder import read_manifest

    try:
        return read_manifest(folder)
    except (ValueError, OSError) as error:
        raise UserError(str(error).replace("`store` ", "")) from error


def _show_comparison(folder: Path, spec: dict[str, Any]) -> int:
    """Print how far a comparison is: a unit is an entry, or the references, on one draw."""
    from ...analysis.comparison.units import REFERENCE_UNIT
    from ...dynamics.jobs.published import UNITS
    from ...dynamics.storage.marks import Marks

    entries, seeds = [*spec["entries"], REFERENCE_UNIT], [*spec["data"]]
    units = tuple(f"{entry}/seed-{seed}" for seed in seeds for entry in entries)
    print(f"comparison of {', '.join(spec['entries'])} on {len(seeds)} draws")
    return show_marks(Marks(folder / UNITS, folder), len(units), "units", units)


def _show_reproduction(folder: ReproductionFolder) -> int:
    """Print how far a reproduction is."""
    from ..registry import load_items

    items = load_items(list(folder.items))
    variant: Variant = "full" if folder.variant == "full" else "quick"
    parts = tuple(f"{item.name}/{part.label}-" for item in items for part in item.parts(variant))
    print(f"--{variant} reproduction of {', '.join(folder.items)}")
    return show_marks(folder.store.marks, len(parts), "parts", parts)


def show_marks(
    marks: Marks, total: int, what: str = "chunks", prefixes: tuple[str, ...] = ("",)
) -> int:
    """Print what is done, failed and in flight, and how long the rest takes; 1 if some failed."""
    from ..progress import duration

    done = {
        name: marks.done(name) or {} for name in marks.names("done") if name.startswith(prefixes)
    }
    whole = {name: mark for name, mark in done.items() if not mark.get("is_partial")}
    running = {name: facts for name in marks.names("running") if (facts := marks.running(name))}
    flying = {name: facts for name, facts in running.items() if facts["alive"] is not False}
    failed = [name for name in marks.names("failed") if name not in whole]
    left = max(0, total - len(whole))
    line = f"{total - left} of {total} {what} done, {len(failed)} failed, "
    line += f"{len(flying)} in flight"
    seconds = [mark["wall_seconds"] for mark in whole.values() if mark.get("wall_seconds")]
    if left and flying and seconds:
        rest = left * sum(seconds) / len(seconds) / len(flying)
        line += f", about {duration(rest)} left"
    elif left and not flying:
        line += "; nobody works on it: go on with --resume"
    print(line)
    _show_ends(whole.values())
    for name, facts in flying.items():
        since = duration(max(0.0, time.time() - facts["started"]))
        print(f"in flight: {name} by process {facts['pid']} on {facts['host']} for {since}")
    return 1 if list_units(marks) else 0


def _show_ends(marks: Any) -> None:
    """Print how the cells ended that are done."""
    from ...dynamics import Status

    ends: Counter[int] = Counter()
    for mark in marks:
        ends.update({int(value): count for value, count in mark.get("ends", {}).items()})
    if ends:
        print(
            "cells so far: "
            + ", ".join(f"{count} {Status(value).name}" for value, count in ends.most_common())
        )
