"""``warmflow reproduce``: simulate, store and draw the items, then write the report."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ._options import add_variant, natural

if TYPE_CHECKING:
    from ..folder import ReproductionFolder
    from ..item import Variant
    from ..runner import Outcome

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_variant(
        parser, "small grids and few seeds, under two minutes",
        "the same code at full size; --list states the minutes",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", metavar="ITEM", help="only these items; by default those of the paper"
    )
    parser.add_argument("--list", action="store_true", help="list the items and exit")
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="where everything goes; by default results/quick or results/full",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true",
        help="go on in DIR with the variant and the items of the run that was interrupted there",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="simulate again what is stored")
    parser.add_argument(
        "-j", "--jobs", type=natural, default=1, metavar="N", help="processes to simulate in"
    )


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..registry import STANDARD, load_items

    if args.list:
        return _list()
    variant, names, path = _settle(args, STANDARD)
    items = load_items(names)
    for item in items:
        item.check_needs()
    from ...dynamics.jobs import Pool
    from ..folder import ReproductionFolder
    from ..report import write_report
    from ..runner import run_items

    pool = Pool("serial" if args.jobs == 1 else "processes", args.jobs)
    try:
        folder = ReproductionFolder.open(path, variant, tuple(item.name for item in items))
        outcome = run_items(items, variant, folder, force=args.force, pool=pool)
        page, _ = write_report(load_items(), folder)
    except KeyboardInterrupt:
        again = f"warmflow reproduce --resume --out {shlex.quote(str(path))}"
        print(f"interrupted; what is finished is stored. Go on with: {again}", file=sys.stderr)
        return 130
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror or error})") from error
    return _conclude(folder, outcome, page)


def _settle(args: argparse.Namespace, known: tuple[str, ...]) -> tuple[Variant, list[str], Path]:
    """Settle variant, items and folder, with `--resume` from what was started."""
    from ..folder import ReproductionFolder

    variant = args.variant or "quick"
    path = args.out or Path("results") / variant
    names = list(args.only or known)
    before = ReproductionFolder.started(path) if args.resume else None
    if before is not None:
        variant = args.variant or before.variant
        names = list(args.only or before.items)
    settled: Variant = "full" if variant == "full" else "quick"
    return settled, names, path


def _conclude(folder: ReproductionFolder, outcome: Outcome, page: Path) -> int:
    print(f"{outcome.simulated} parts simulated, {outcome.reused} found in the store")
    for name in outcome.drawn:
        print(f"  {name}: figures in {folder.path / name}")
    print(f"report: {page} (numbers: {page.with_name('results.json')})")
    for failure in outcome.failures:
        print(f"failed: {failure.place}: {failure.message}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _list() -> int:
    from ..registry import STANDARD, load_items

    for item in load_items():
        place = item.place if item.name in STANDARD else f"{item.place}; with --only"
        times = ", ".join(f"{name} about {minutes:g} min" for name, minutes in item.minutes.items())
        print(f"{item.name:<18} {item.title} [{place}; {times}]")
    return 0
