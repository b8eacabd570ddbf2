"""The figures of the two-cluster toy."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from ... import figures
from ..item import Drawing

__all__ = ["observables", "principle", "spectra", "weights_over_time"]

_TIME = "time (1 / slower speed)"
_RATIO = r"$\beta/\alpha$"


def principle(exact: xr.Dataset, fast: xr.Dataset, ratio: float) -> Drawing:
    """Final weights of the exact flow and of fast weights as marker areas."""
    figure = figures.style.new_figure((7.0, 2.5))
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    weights = {"exact flow": exact, f"fast weights ({_RATIO} = {ratio:g})": fast}
    figures.principle(exact["x"].values, exact["clean"].values, weights, axes)
    for ax, ds in zip(axes, weights.values(), strict=True):
        ax.text(0.03, 0.97, f"ESS {float(ds['ess'][-1]):.1f}", transform=ax.transAxes, va="top")
    table = xr.Dataset(
        {"x1": exact["x"][:, 0], "x2": exact["x"][:, 1], "clean": exact["clean"],
         "w_exact": _last(exact), "w_fast": _last(fast)}
    )  # fmt: skip
    caption = (
        "The principle: samples of two clusters, marker area proportional to the learnt weight, "
        f"for the exact bilevel flow and for fast weights (beta/alpha = {ratio:g}). Geometry: "
        "mirror flow on the simplex."
    )
    return Drawing(figure=figure, caption=caption, tables={"weights": table})


def weights_over_time(runs: Mapping[float, xr.Dataset]) -> Drawing:
    """All weights against time, one panel for each ratio."""
    figure = figures.style.new_figure(figures.style.DOUBLE)
    axes = figure.subplots(1, len(runs), sharey=True)
    for ax, (ratio, ds) in zip(axes, runs.items(), strict=True):
        figures.weights_over_time(ds, ax, clean=ds["clean"].values)
        ax.set(xscale="log", xlim=(float(ds["time"][1]), float(ds["time"][-1])), xlabel=_TIME)
        ax.set_title(f"{_RATIO} = {ratio:g}")
    for ax in axes[1:]:
        ax.set_ylabel("")
    figures.style.legend_above(figure, axes)
    joined = xr.concat(
        [ds["w"].reset_coords(drop=True) for ds in runs.values()],
        xr.DataArray(list(runs), dims="ratio", name="ratio"), join="override",
    )  # fmt: skip
    caption = (
        "Weights of all samples against time for slow, equal and fast weights (mirror flow). Time "
        "is in units of the slower of the two time scales."
    )
    return Drawing(figure=figure, caption=caption, tables={"w": joined.to_dataset(name="w")})


def spectra(runs: Mapping[float, xr.Dataset], exact: xr.Dataset, threshold: float) -> Drawing:
    """Final weights in decreasing order."""
    figure = figures.style.new_figure((3.4, 3.1))
    ax = figure.subplots()
    entries = {f"{ratio:g}": ds for ratio, ds in runs.items()} | {"exact": exact}
    figures.weight_spectrum(entries, ax, exact="exact", threshold=threshold)
    figures.style.legend_above(figure, [ax], _RATIO)
    table = xr.Dataset({f"w_{name}": _last(ds) for name, ds in entries.items()})
    caption = "Final weights in decreasing order, relative to the largest, for each beta/alpha."
    return Drawing(figure=figure, caption=caption, tables={"w": table})


def observables(runs: Mapping[float, xr.Dataset], exact: xr.Dataset) -> Drawing:
    """Validation risk, test risk and ESS against time, the exact flow on top."""
    labels = {
        "val_loss": "validation risk",
        "test_loss": "test risk",
        "ess": "effective sample size",
    }
    figure = figures.style.new_figure(figures.style.DOUBLE)
    axes = figure.subplots(1, len(labels))
    entries = {f"{ratio:g}": ds for ratio, ds in runs.items()} | {"exact": exact}
    for ax, (quantity, label) in zip(axes, labels.items(), strict=True):
        figures.observable_over_time(entries, quantity, ax, exact="exact", label=label)
        ax.set(xscale="log", xlabel=_TIME)
        ax.set_xlim(float(exact["time"][1]), float(exact["time"][-1]))
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, title=_RATIO, loc="outside right center")
    table = xr.concat(
        [ds[list(labels)] for ds in entries.values()],
        xr.DataArray(list(entries), dims="ratio", name="ratio"), join="override",
    )  # fmt: skip
    caption = (
        "Validation risk, risk on an independent test set, and effective sample size against time "
        "for each beta/alpha; the exact flow is dashed."
    )
    return Drawing(figure=figure, caption=caption, tables={"observables": table})


def _last(ds: xr.Dataset) -> xr.DataArray:
    return ds["w"].isel(time=-1, drop=True)
