"""Figures of the item nets_width."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, ScalarFormatter

from ... import figures
from ..item import Drawing, Results

__all__ = ["draw", "table"]


def table(results: Results[Any]) -> xr.Dataset:
    """Everything but the weights over (seed, ridge, width)."""
    cells = [
        ds.drop_vars("w").assign_coords(seed=part.seed, ridge=part.ridge, width=part.width)
        .expand_dims(["seed", "ridge", "width"])
        for part, ds in results.items()
    ]  # fmt: skip
    joined = xr.combine_by_coords(cells, combine_attrs="override")
    assert isinstance(joined, xr.Dataset), "Datasets combine to a Dataset"
    return joined


def draw(results: Results[Any]) -> dict[str, Drawing]:
    """Support against p and against the degrees of freedom; ESS of the joint algorithm."""
    ds = table(results)
    figure = figures.style.new_figure((7.0, 2.9))
    count, freedom, joint = figure.subplots(1, 3)
    label = r"$\lambda$ = {:g}"
    figures.counts_by(
        ds, "p", "support_1e-06", "ridge", count, label=label, lines="width",
        xlabel="parameters p", ylabel="samples that keep weight",
    )  # fmt: skip
    _guides(ds, count)
    figures.counts_by(
        ds, "freedom_uniform", "support_1e-06", "ridge", freedom, label=label, identity=True,
        xlabel="degrees of freedom, uniform weights", ylabel="samples that keep weight",
    )  # fmt: skip
    figures.counts_by(
        ds, "p", "ess_tangent", "ridge", joint, label=label, lines="width",
        xlabel="parameters p", ylabel="ESS, fast joint run",
    )  # fmt: skip
    runs = ds.where(ds["ess_net"].notnull(), drop=True)
    joint.plot(
        runs["p"].values.ravel(), runs["ess_net"].values.ravel(), "x", markersize=4,
        color=figures.style.COLOURS["vermillion"], label="network itself",
    )  # fmt: skip
    for ax in (count, freedom, joint):
        _plain(ax)
    handles = [*count.get_legend_handles_labels()[0], joint.get_lines()[-1]]
    figure.legend(handles=handles, loc="outside upper left", ncols=7, columnspacing=1.2)
    caption = (
        "Weights at frozen theta, and fast, of two-layer networks with 24 training samples, each "
        "linearised at its minimiser for uniform weights. Left: samples with more than 1e-6 of the "
        "largest weight at the end of the frozen flow. Middle: the same against the degrees of "
        "freedom of the inner ridge regression at uniform weights. Right: effective sample size "
        "over the second half of a fast joint run of the linearised network, and of the network "
        "itself where the crosses are. Dots are runs, lines their geometric means."
    )
    return {"support": Drawing(figure=figure, caption=caption, tables={"runs": ds})}


def _guides(ds: xr.Dataset, ax: Axes) -> None:
    """Add the bound of the theory and the effective rank of the gradients."""
    others = ["seed", "ridge"]
    p = ds["p"].mean(others)
    black, red = figures.style.COLOURS["black"], figures.style.COLOURS["vermillion"]
    ax.plot(p, ds["bound"].mean(others), "--", color=black, linewidth=1, label="min(p, n-1)")
    ax.plot(p, ds["effective_rank"].mean(others), ":", color=red, label="effective rank")


def _plain(ax: Axes) -> None:
    """Write counts as plain numbers."""
    for axis in (ax.yaxis, *([ax.xaxis] if ax.get_xlim()[1] < 100 else [])):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
        axis.set_ticks([1, 2, 5, 10, 20])
