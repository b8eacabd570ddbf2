"""``warmflow sweep``: the warm-started algorithm over a grid of its two speeds, and of more."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ._options import (
    LogGrid,
    Values,
    add_data_options,
    add_executor,
    add_out,
    check_executor,
    natural,
    non_negative,
    positive,
    resumed_command,
    values_of,
)

if TYPE_CHECKING:
    import xarray as xr

    from ...dynamics.jobs import Pool
    from ...dynamics.sweeps.stored import Outcome, RefinedSweep, StoredSweep
    from ..data import Recipe

    AnySweep = StoredSweep | RefinedSweep

__all__ = ["add_arguments", "execute"]

SHORT = 20.0
"""Seconds of one core up to which starting processes is not worth their start."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_data_options(parser, axes=True)
    add_out(parser)
    _add_axes(parser)
    parser.add_argument("--dt", type=positive, default=1.0, metavar="D", help="step of time")
    parser.add_argument(
        "--steps", type=natural, default=1000, metavar="N", help="number of Euler steps"
    )
    parser.add_argument(
        "--save-steps", type=natural, default=None, metavar="K",
        help="also save every K-th step",
    )  # fmt: skip
    parser.add_argument(
        "--backend", choices=("auto", "numpy", "cupy", "torch"), default="auto",
        help="who computes: a GPU if there is one (auto), the reference, CuPy, torch",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=("float64", "float32"), default="float64",
        help="precision; consumer GPUs are 32 to 64 times faster in float32",
    )  # fmt: skip
    _add_survival(parser)


def _add_axes(parser: argparse.ArgumentParser) -> None:
    """Declare the rates and the other axes."""
    parser.add_argument(
        "--alpha", type=LogGrid, default=LogGrid("1e-3:1:16"), metavar="A:B:COUNT",
        help="speeds of theta, a logarithmic grid",
    )  # fmt: skip
    parser.add_argument(
        "--beta", type=LogGrid, default=LogGrid("1e-3:10:21"), metavar="A:B:COUNT",
        help="speeds of the weights, a logarithmic grid",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=natural, default=None, metavar="K",
        help="an axis of K root seeds: --seed and the K-1 after it",
    )  # fmt: skip
    parser.add_argument(
        "--n", type=values_of(natural), default=None, metavar="N",
        help="number of training samples (toy and images); A,B,... make it an axis",
    )  # fmt: skip
    parser.add_argument(
        "--noise", type=values_of(non_negative), default=None, metavar="S",
        help="standard deviation of y given x (toy); A,B,... make it an axis",
    )  # fmt: skip
    parser.add_argument(
        "--axis", type=_axis, action="append", default=[], metavar="NAME=VALUES",
        help="one more axis: a knob of the penalties (entropy, l2) or of --method; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--refine", type=natural, default=None, metavar="CELLS",
        help="so many cells in all: beside the grid, along the curve where the weights collapse",
    )  # fmt: skip
    parser.add_argument(
        "--method", type=_method, default=None, metavar="NAME",
        help="another method in place of the warm-started algorithm, such as soba",
    )  # fmt: skip


def _add_survival(parser: argparse.ArgumentParser) -> None:
    """Declare who computes, and how an interrupted sweep goes on."""
    add_executor(parser, "chunks")
    parser.add_argument(
        "--chunks", type=_slice, default=None, metavar="i:j",
        help="only these chunks: for job arrays, each with --resume",
    )  # fmt: skip
    parser.add_argument(
        "--chunk-cells", type=natural, default=None, metavar="K",
        help="cells of a chunk; by default about two seconds of work",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true",
        help="go on with the same sweep in DIR, or start it where nothing was started",
    )  # fmt: skip
    parser.add_argument(
        "--extend", action="store_true",
        help="add these values of the axes to the sweep in DIR; old cells stay",
    )  # fmt: skip
    parser.add_argument(
        "--netcdf", action="store_true", help="also write DIR/sweep.nc, for other programs"
    )


def _axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """A name and its values."""
    name, equals, values = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUES, such as entropy=0,1e-3")
    return name, tuple(Values(values, _number).values)


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        return non_negative(text)


def _slice(text: str) -> tuple[int, int | None]:
    """The first chunk, and the one after the last."""
    first, colon, last = text.partition(":")
    if not colon or not (first.isdecimal() or first == "") or not (last.isdecimal() or last == ""):
        raise argparse.ArgumentTypeError(f"{text!r} is not i:j, such as 0:8")
    return int(first or 0), int(last) if last else None


def _method(text: str) -> str:
    from ...dynamics import methods

    names = {name.lower(): name for name in methods.__all__ if name[0].isupper()}
    found = names.get(text.replace("_", "").lower())
    if found is None or found in ("Method", "State"):
        raise argparse.ArgumentTypeError(f"{text!r} is no method; see the documentation")
    return found


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    from ...dynamics.jobs import StorageFault
    from ._sweep_store import open_store

    if args.netcdf:
        _check_netcdf()
    check_executor(args)
    if args.refine is not None and (args.chunks is not None or args.extend):
        raise UserError("--refine chooses its cells batch by batch: leave out --chunks, --extend")
    try:
        stored, recipe = open_store(args)
        pool = _pool(args, stored)
        return _run(args, stored, recipe, pool)
    except (StorageFault, OSError) as error:
        reason = error.strerror or error
        raise UserError(
            f"--out {args.out}: cannot be written ({reason}); what is finished stays, go on with "
            "--resume"
        ) from error


def _run(args: argparse.Namespace, stored: AnySweep, recipe: Recipe, pool: Pool) -> int:
    """Do what is missing, then draw and conclude."""
    from ..faults import in_options
    from ._sweep_store import OPTIONS

    start = time.perf_counter()
    try:
        outcome = _compute(args, stored, Path(recipe.request.source).name, pool)
    except KeyboardInterrupt:
        return _interrupted(args, stored)
    except (RuntimeError, ImportError, ValueError) as error:
        raise UserError(in_options(str(error), OPTIONS)) from error
    seconds = time.perf_counter() - start
    if outcome.missing == 0:
        _publish(args, stored, recipe, seconds)
    return _conclude(args, stored, outcome, seconds)


def _compute(args: argparse.Namespace, stored: AnySweep, name: str, pool: Pool) -> Outcome:
    """Do what is missing, with progress."""
    from ...dynamics.jobs import Report
    from ...dynamics.sweeps.stored import RefinedSweep
    from ..progress import Progress, ShareProgress

    shape = " x ".join(str(size) for size in stored.job.grid.shape)
    if isinstance(stored, RefinedSweep):
        words = f"refined to {stored.num_cells}"
        print(f"{shape} cells {words}, {args.steps} steps on {name}", flush=True)
        ended = 0
        with ShareProgress() as share:

            def count(report: Report) -> None:
                nonlocal ended
                ended += report.facts.get("cells", 0)
                share(min(ended / stored.num_cells, 1.0))

            return stored.run(pool, count)
    units = _units(args, stored)
    print(f"{shape} cells, {args.steps} steps on {name}, {stored.num_units} chunks", flush=True)
    with Progress(len(units), workers=pool.size) as progress:

        def tell(report: Report) -> None:
            text = " FAILED" if report.outcome == "failed" else ""
            progress.done(report.label + text, report.seconds)

        return stored.run(pool, units, tell)


def _units(args: argparse.Namespace, stored: StoredSweep) -> range:
    """Return the chunks that were asked for."""
    if args.chunks is None:
        return range(stored.num_units)
    return range(stored.num_units)[slice(*args.chunks)]


def _pool(args: argparse.Namespace, stored: AnySweep) -> Pool:
    """Return who computes."""
    from ...dynamics.jobs import Pool

    kind = args.executor or ("dask" if args.scheduler else None)
    if kind is None:
        is_device = stored.folder.manifest["provenance"]["device"] != "cpu"
        is_short = stored.work_seconds < SHORT and args.jobs is None
        kind = "serial" if is_short or is_device or args.jobs == 1 else "processes"
    return Pool(kind, args.jobs, args.scheduler)


def _interrupted(args: argparse.Namespace, stored: AnySweep) -> int:
    done = sum(1 for _ in stored.folder.marks.names("done"))
    total = f" of {stored.num_units}" if hasattr(stored, "num_units") else ""
    again = resumed_command(adds=not args.extend)
    print(
        f"interrupted; {done}{total} chunks are stored. Go on with: {again}",
        file=sys.stderr,
    )
    return 130


def _publish(args: argparse.Namespace, stored: AnySweep, recipe: Recipe, seconds: float) -> None:
    """Draw the finished sweep; write NetCDF where it was asked for."""
    from ...dynamics.storage.datasets import write_netcdf
    from ._sweep_drawings import save_maps, save_refined

    ds = stored.load()
    provenance = {**json.loads(ds.attrs["provenance"]), "wall_seconds": seconds}
    save = save_refined if "cell" in ds.dims else save_maps
    save(args.out, ds, Path(recipe.request.source).name, provenance)
    if args.netcdf:
        write_netcdf(args.out / "sweep.nc", ds)


def _check_netcdf() -> None:
    from importlib.util import find_spec

    for name in ("h5netcdf", "h5py"):
        if find_spec(name) is None:
            raise UserError(f"--netcdf needs {name}; run pip install 'warmflow[netcdf]'")


def _conclude(args: argparse.Namespace, stored: AnySweep, outcome: Outcome, seconds: float) -> int:
    """Print what there is and what failed; return the exit code."""
    from ..progress import duration
    from ._failures import list_cells, list_units

    ds = stored.load()
    print(f"{ds['status'].size} cells in {duration(seconds)}: {_ends(ds)}")
    print(f"computed by {json.loads(ds.attrs['provenance'])['engine']}")
    where = f"{args.out / 'sweep.zarr'} (xarray.open_zarr(..., consolidated=False))"
    if outcome.missing == 0:
        print(f"results: {where}, figures beside it")
    else:
        print(f"results so far: {where}; {outcome.missing} chunks are missing")
    failed = list_units(stored.folder.marks)
    return 1 if list_cells(ds, is_complete=outcome.missing == 0) or failed else 0


def _ends(ds: xr.Dataset) -> str:
    from collections import Counter

    from ...dynamics import Status
    from ...dynamics.sweeps.stored import PENDING

    values = Counter(int(value) for value in ds["status"].values.ravel())
    return ", ".join(
        f"{count} {'missing' if value == PENDING else Status(value).name}"
        for value, count in values.most_common()
    )
