"""``warmflow run``: one trajectory, its pictures and its diagnosis."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import add_data_options, add_out, load_data, natural, positive

if TYPE_CHECKING:
    import xarray as xr

    from ...dynamics import Trajectory
    from ..data import Data
    from ..item import Drawing

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_data_options(parser)
    add_out(parser)
    parser.add_argument(
        "--alpha", type=positive, default=1.0, metavar="A", help="speed of theta (1/time)"
    )
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument(
        "--beta", type=positive, metavar="B", default=argparse.SUPPRESS,
        help="speed of the weights (1/time); by default 10 times alpha",
    )  # fmt: skip
    speed.add_argument(
        "--ratio", type=positive, default=10.0, metavar="R", help="beta / alpha, instead of --beta"
    )
    parser.add_argument("--t-end", type=positive, default=20.0, metavar="T", help="end of the time")
    parser.add_argument(
        "--rtol", type=positive, default=1e-6, metavar="TOL", help="tolerance of the integrator"
    )
    parser.add_argument(
        "--max-evaluations", type=natural, default=200_000, metavar="N",
        help="cap on evaluations of the field",
    )  # fmt: skip


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..folder import new_folder

    data = load_data(args)
    new_folder(args.out)
    from ...analysis import diagnose
    from ...dynamics import integrate
    from ...dynamics.storage.atomic import atomic_directory
    from ..faults import faults_of_user
    from ..progress import ShareProgress

    beta = getattr(args, "beta", args.ratio * args.alpha)
    with faults_of_user():
        problem = data.problem(args.ridge)
        print(f"{problem!r} to t = {args.t_end:g}", flush=True)
        with ShareProgress() as progress:
            trajectory = integrate(
                problem, alpha=args.alpha, beta=beta, t_span=(0.0, args.t_end),
                t_eval=_times(args.t_end, data.num_samples), rtol=args.rtol,
                max_evaluations=args.max_evaluations, progress=progress,
            )  # fmt: skip
    report = diagnose(trajectory)
    with atomic_directory(args.out) as folder:
        folder.mkdir()
        _save(folder, trajectory, data, report, _settings(args, beta))
    print(f"status: {trajectory.status.name}; {trajectory.message}")
    print(f"verdict: {report.verdict}\nadvice: {report.advice}")
    print(f"trajectory, figures and diagnosis: {args.out}")
    return 0 if trajectory.status.success else 1


def _times(t_end: float, num_samples: int) -> list[float]:
    """Times to save at: dense at the start, where the weights move, and even afterwards."""
    import numpy as np

    # At most 100 MB of weights.
    count = int(np.clip(1e8 / (8 * num_samples), 20, 300)) // 3
    early, even = np.geomspace(1e-4, 1.0, count), np.linspace(0.0, 1.0, 2 * count + 1)
    return [float(t) for t in np.union1d(early, even) * t_end]


def _settings(args: argparse.Namespace, beta: float) -> dict[str, Any]:
    names = ("data", "problem", "ridge", "seed", "corruption", "alpha", "t_end", "rtol")
    return {name: getattr(args, name) for name in names} | {"beta": beta}


def _save(
    folder: Path, trajectory: Trajectory, data: Data, report: Any, settings: dict[str, Any]
) -> None:
    from ... import figures
    from ...dynamics.provenance import record
    from ...dynamics.storage.atomic import write_json
    from ...dynamics.storage.datasets import write_dataset
    from ..artefacts import save_drawing
    from .diagnose import document

    ds = trajectory.to_xarray()
    if data.clean is not None:
        ds = ds.assign(clean=("sample", data.clean))
    write_dataset(folder / "trajectory.zarr", ds)
    provenance = record(
        settings | {"data_facts": dict(data.facts), "fingerprint": data.fingerprint()},
        root_seed=settings["seed"], wall_seconds=trajectory.wall_seconds,
    )  # fmt: skip
    write_json(folder / "diagnosis.json", document(report) | {"provenance": provenance})
    with figures.style.context():
        drawings = _drawings(ds, data.name)
    for name, drawing in drawings.items():
        save_drawing(folder, name, drawing, provenance, quick=False)


def _drawings(ds: xr.Dataset, name: str) -> dict[str, Drawing]:
    from ... import figures
    from ..item import Drawing

    weights = figures.style.new_figure((5.0, 3.0))
    clean = ds["clean"].values if "clean" in ds else None
    ax = weights.subplots()
    figures.weights_over_time(ds, ax, clean=clean, labels=("clean samples", "other samples"))
    spectrum = figures.style.new_figure()
    figures.weight_spectrum(ds, spectrum.subplots())
    quantities = {"ess": "effective sample size", "val_loss": "validation risk",
                  "test_loss": "test risk", "test_accuracy": "test accuracy"}  # fmt: skip
    quantities = {key: label for key, label in quantities.items() if key in ds}
    observables = figures.style.new_figure(figures.style.DOUBLE)
    axes = observables.subplots(1, len(quantities), squeeze=False)[0]
    for panel, (key, label) in zip(axes, quantities.items(), strict=True):
        figures.observable_over_time({"": ds}, key, panel, label=label)
    later = ds["time"].values[ds["time"].values > 0]
    for panel in (*axes, ax) if later.size > 1 else ():
        panel.set(xscale="log", xlim=(later[0], later[-1]))
    last = ds["w"].isel(time=-1, drop=True).to_dataset(name="w")
    return {
        "weights_over_time": Drawing(
            figure=weights,
            caption=f"{name}: weights against time, warm-started flow (mirror geometry).",
            tables={"w": ds[["w"]]},
        ),
        "spectrum": Drawing(
            figure=spectrum, caption="Final weights in decreasing order.", tables={"w": last}
        ),
        "observables": Drawing(
            figure=observables, caption="Effective sample size and risks against time.",
            tables={"observables": ds[list(quantities)]},
        ),
    }  # fmt: skip
