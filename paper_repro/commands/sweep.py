"""``warmflow sweep``: the warm-started algorithm over a grid of its two speeds."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import LogGrid, add_data_options, add_out, load_data, natural, positive

if TYPE_CHECKING:
    import xarray as xr

    from ..data import Data

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_data_options(parser)
    add_out(parser)
    parser.add_argument(
        "--alpha", type=LogGrid, default=LogGrid("1e-3:1:16"), metavar="A:B:COUNT",
        help="speeds of theta, a logarithmic grid",
    )  # fmt: skip
    parser.add_argument(
        "--beta", type=LogGrid, default=LogGrid("1e-3:10:21"), metavar="A:B:COUNT",
        help="speeds of the weights, a logarithmic grid",
    )  # fmt: skip
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


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..folder import new_folder

    data = load_data(args)
    new_folder(args.out)
    from ...dynamics import sweep
    from ...dynamics.storage.atomic import atomic_directory
    from ..faults import faults_of_user
    from ..progress import ShareProgress

    alpha, beta = args.alpha.values(), args.beta.values()
    print(f"{alpha.size} x {beta.size} cells, {args.steps} steps on {data.name}", flush=True)
    start = time.perf_counter()
    with ShareProgress() as progress, faults_of_user():
        ds = sweep(
            data.problem(args.ridge), alpha=alpha, beta=beta, dt=args.dt, num_steps=args.steps,
            save_steps=args.save_steps, backend=args.backend, dtype=args.dtype,
            progress=progress,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    with atomic_directory(args.out) as folder:
        folder.mkdir()
        _save(folder, ds, data, args, seconds)
    _conclude(ds, args.out, seconds)
    return 0


def _save(
    folder: Path, ds: xr.Dataset, data: Data, args: argparse.Namespace, seconds: float
) -> None:
    from ... import figures
    from ...dynamics.provenance import record
    from ...dynamics.storage.datasets import write_dataset
    from ..artefacts import save_drawing
    from ..item import Drawing

    write_dataset(folder / "sweep.zarr", ds)
    config: dict[str, Any] = {
        key: str(value) if isinstance(value, (LogGrid, Path)) else value
        for key, value in vars(args).items()
        if key not in ("execute", "command", "out")
    }
    config |= {"data_facts": dict(data.facts), "fingerprint": data.fingerprint()}
    provenance = record(config, root_seed=args.seed, wall_seconds=seconds)
    last = ds.isel(step=-1, drop=True) if "step" in ds.dims else ds
    names = [name for name in ("ess", "test_loss", "val_loss", "test_accuracy") if name in last]
    if min(last.sizes["alpha"], last.sizes["beta"]) < 2:
        return
    for name in names:
        figure = figures.style.new_figure((4.2, 3.0))
        with figures.style.context():
            figures.phase_diagram(
                last, figure.subplots(), quantity=name, limits=_limits(last, name)
            )
        caption = f"{data.name}: {name} after {args.steps} simultaneous steps (mirror geometry)."
        drawing = Drawing(figure=figure, caption=caption, tables={"grid": last[[name, "status"]]})
        save_drawing(folder, f"phase_diagram_{name}", drawing, provenance, quick=False)


def _limits(last: xr.Dataset, name: str) -> tuple[float, float] | None:
    """Colour risks up to three times the best: one bad cell must not hide the others."""
    best = float(last[name].where(last["status"] <= 1).min())
    return (best, 3 * best) if name.endswith("_loss") and best > 0 else None


def _conclude(ds: xr.Dataset, out: Path, seconds: float) -> None:
    from collections import Counter

    from ...dynamics import Status
    from ..progress import duration

    counts = Counter(Status(int(value)).name for value in ds["status"].values.ravel())
    ends = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    engine = json.loads(ds.attrs["provenance"])["engine"]
    print(f"{ds['status'].size} cells in {duration(seconds)}: {ends}")
    print(f"computed by {engine}")
    where = f"{out / 'sweep.zarr'} (xarray.open_zarr(..., consolidated=False))"
    print(f"results: {where}, figures beside it")
