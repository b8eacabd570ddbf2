"""``warmflow verify``: a certificate for every statement of the theory, and a page to read."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ._options import add_variant, natural

if TYPE_CHECKING:
    from ...analysis.theorems import Certificate
    from ..verification import VerificationFolder

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--theorem", nargs="+", action="extend", metavar="NAME",
        help="only these statements, such as T3 T5b I2; --list names them all",
    )  # fmt: skip
    add_variant(
        parser,
        "small instances, about three minutes of one core",
        "the full studies, some 15 minutes on two cores",
    )
    parser.add_argument("--list", action="store_true", help="list the statements and exit")
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="where everything goes; by default results/verify-quick or results/verify-full",
    )  # fmt: skip
    parser.add_argument(
        "-j", "--jobs", type=natural, metavar="N", help="processes; by default one for each core"
    )


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.list:
        return _list()
    names = _names(args.theorem)
    variant = args.variant or "quick"
    path = args.out or Path("results") / f"verify-{variant}"
    from ..verification import VerificationFolder

    folder = VerificationFolder.open(path, variant)
    found: list[Certificate] = []
    try:
        _verify(names, variant == "quick", args.jobs, folder, found)
        return _conclude(found, folder)
    except KeyboardInterrupt:
        return _interrupted(names, found, folder)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror or error})") from error


def _interrupted(names: list[str], found: list[Certificate], folder: VerificationFolder) -> int:
    """Write the page over what is stored, and say how to go on."""
    from ...analysis.theorems import NAMES
    from ..verification.page import write_page

    if folder.certificates:
        write_page(folder, NAMES)
    done = {certificate.name for certificate in found}
    missing = " ".join(shlex.quote(name) for name in names if name not in done)
    again = f"warmflow verify --{folder.variant} --out {shlex.quote(str(folder.path))}"
    rest = f"{again} --theorem {missing}" if missing else again
    print(f"interrupted; what is finished is stored. Go on with: {rest}", file=sys.stderr)
    return 130


def _names(wanted: list[str] | None) -> list[str]:
    """Return the statements to verify, in the order of the report."""
    from ...analysis.theorems import NAMES, find, missing_library

    try:
        chosen = set(NAMES) if wanted is None else {find(name) for name in wanted}
    except ValueError as error:
        raise UserError(str(error).replace("`name`", "--theorem")) from error
    for name in [name for name in NAMES if name in chosen]:
        reason = missing_library(name)
        if reason is not None and wanted is not None:
            raise UserError(f"--theorem {name}: {reason}")
        if reason is not None:
            print(f"left out: {name}, which {reason}", file=sys.stderr)
            chosen.remove(name)
    return [name for name in NAMES if name in chosen]


def _verify(
    names: list[str],
    quick: bool,
    jobs: int | None,
    folder: VerificationFolder,
    found: list[Certificate],
) -> None:
    """Verify, store and draw, one statement after the other as they are done, into ``found``."""
    from ...analysis.theorems import verify_all
    from ...dynamics.provenance import record
    from ..progress import Progress
    from ..verification.drawings import draw

    def keep(certificate: Certificate) -> None:
        seconds = certificate.details.get("seconds")
        provenance = record({"statement": certificate.name, "quick": quick}, wall_seconds=seconds)
        folder.store(certificate.to_dict(), provenance)
        draw(certificate, folder, provenance)
        found.append(certificate)
        progress.done(f"{certificate.name} {certificate.verdict}", seconds)

    workers = min(jobs or os.cpu_count() or 1, max(len(names), 1))
    with Progress(len(names), workers=workers) as progress, _pool(workers) as executor:
        verify_all(quick, executor, names=names, progress=keep)


@contextmanager
def _pool(workers: int) -> Iterator[Any]:
    """Give `workers` processes with one thread each, or None for this process alone."""
    from ...dynamics.jobs import Pool

    if workers == 1:
        yield None
        return
    with Pool("processes", workers).open() as executor:
        yield executor


def _list() -> int:
    from ...analysis.theorems import NAMES, statement

    for name in NAMES:
        print(f"{name:<5} {statement(name).title}")
    return 0


def _conclude(found: list[Certificate], folder: VerificationFolder) -> int:
    """Write the page, print the table, and return the exit code."""
    from ...analysis.theorems import NAMES
    from ..verification.page import figure_of, write_page

    page = write_page(folder, NAMES)
    print(f"{'':5} {'statement':<44} {'observed':>9} {'bound':>9}  {'verdict':<10} {'time':>7}")
    for certificate in sorted(found, key=lambda certificate: NAMES.index(certificate.name)):
        entry = folder.certificates[certificate.name]
        observed, bound, _ = figure_of(entry)
        seconds = entry["details"].get("seconds") or 0.0
        print(
            f"{certificate.name:<5} {entry['details']['title']:<44.44} {observed:>9} {bound:>9}  "
            f"{certificate.verdict:<10} {seconds:>5.1f} s"
        )
    failures = [certificate for certificate in found if not certificate.passed]
    print(f"{len(found) - len(failures)} of {len(found)} certificates pass; page: {page}")
    for certificate in failures:
        print(f"failed: {certificate}", file=sys.stderr)
    return 1 if failures else 0
