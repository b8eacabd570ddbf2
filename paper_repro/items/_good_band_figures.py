"""The figures of the item on the good band of rates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from ... import figures
from ..item import Drawing, Results
from ._good_band_cases import timed
from ._good_band_runs import BandPart

__all__ = ["bands", "risks", "scatter", "widths"]

_MARKS = {
    "low_flow": "flow arrives",
    "turn": r"$2/\kappa_{\max}$ at the start",
    "limit_end": "T7c at the end of the flow",
}
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "data": ("base", "n50", "n600", "p2", "p10", "noise0.1", "noise1"),
    "order, inner steps": ("theta-first", "T10"),
    "exact method": ("exact",),
}
_PANELS = {
    "low_flow": ("low", r"time of the flow / $K$", r"lower end $\eta$"),
    "limit_end": ("high", "T7c at the end of the flow", r"upper end $\eta$"),
    "turn": ("high", r"$2/\kappa_{\max}$ at the start", r"upper end $\eta$"),
}
_CURVES = {
    "base": "blue", "theta-first": "orange", "T10": "green", "exact": "black",
    "entropy0.1": "vermillion", "rho0.1": "purple", "warmup": "sky",
}  # fmt: skip


def bands(found: xr.Dataset) -> Drawing:
    """Bars of good rates for all cases, with the predicted ends."""
    figure = figures.style.new_figure((6.4, 5.2))
    ax = figure.subplots()
    figures.rate_bands(found, ax, marks=_MARKS)
    caption = (
        "Good outer rates after a fixed number of steps: each bar is one draw; an arrow says that "
        "the largest rate tried is good. The exact flow's time to a good risk tells the lower end, "
        "the curvature at the start the upper one; the limit of theory T7c at the solved point "
        "where the exact flow ends lies above it, far above where theta goes first. After a "
        "warm-up of 100 steps with a small eta (which makes any small rate good) the bands reach "
        "that limit."
    )
    return Drawing(figure=figure, caption=caption, tables={"bands": found})


def widths(found: xr.Dataset, budget: int) -> Drawing:
    """Widths of all cases, with and without a demand on the ESS, and against K."""
    figure = figures.style.new_figure((9.6, 4.2))
    axes = figure.subplots(1, 3)
    shown = [case for case in timed() if case in found["case"].values]
    here = found.sel(K=budget, case=shown)
    titles = {"width": "test risk within 10 %", "width_kept": r"... and ESS above $n/20$"}
    for ax, (name, title) in zip(axes, titles.items(), strict=False):
        figures.seed_dots(here, name, ax, category="case", xlabel="width of the band (decades)")
        ax.set_title(title)
        ax.set_xlim(left=-0.1)
    axes[1].set_yticklabels([])
    for case, colour in _CURVES.items():
        if case in shown:
            figures.rates_curve(
                found.sel(case=case), "width", axes[2], rate="K", xlabel="steps $K$", label=case,
                ylabel="width of the band (decades)", colour=figures.style.COLOURS[colour],
            )  # fmt: skip
    axes[2].legend()
    axes[2].set_xticks(found["K"].values, [str(K) for K in found["K"].values])
    axes[2].set_xticks([], minor=True)
    caption = (
        "Width of the band of good outer rates. Dots are draws, bars and lines their mean. Right: "
        "against the number of steps."
    )
    return Drawing(figure=figure, caption=caption, tables={"widths": found})


def scatter(found: xr.Dataset) -> Drawing:
    """Measured ends of the band against predicted ones."""
    figure = figures.style.new_figure((9.6, 3.2))
    axes = figure.subplots(1, len(_PANELS))
    grouped = _grouped(found)
    colours = [figures.style.COLOURS[name] for name in ("blue", "orange", "black")]
    # One frame for both predictions of the upper end, so that they compare.
    frames = [_frame(grouped, "low", "low_flow"), *[_frame(grouped, "high", "limit_end")] * 2]
    for ax, frame, (predicted, (measured, xlabel, ylabel)) in zip(
        axes, frames, _PANELS.items(), strict=True
    ):
        figures.counts_by(
            grouped, predicted, measured, "group", ax, xlabel=f"predicted: {xlabel}",
            ylabel=f"measured: {ylabel}", label="{}", colours=colours,
        )  # fmt: skip
        ax.set(xlim=frame, ylim=frame)
        ax.plot(frame, frame, **figures.style.STYLES["guide"])
        ax.set_aspect("equal", adjustable="box")
    axes[0].legend()
    figures.style.legend_above(figure, axes)
    caption = (
        "Ends of the band, measured against predicted; each dot is one draw of one case, the "
        "dotted line is equality."
    )
    return Drawing(figure=figure, caption=caption, tables={"ends": found})


def _frame(grouped: xr.Dataset, *names: str) -> tuple[float, float]:
    """Return the limits of an axis that shows all values of some variables."""
    values = np.concatenate([grouped[name].values.ravel() for name in names])
    return float(np.nanmin(values)) / 2.0, 2.0 * float(np.nanmax(values))


def _grouped(found: xr.Dataset) -> xr.Dataset:
    """Ends over (group, draw), groups padded with NaN to one length."""
    names = sorted({name for panel in _PANELS.items() for name in (panel[0], panel[1][0])})
    rows = {
        group: found[names].sel(case=[case for case in cases if case in found["case"].values])
        for group, cases in _GROUPS.items()
    }
    size = max(row.sizes["case"] * row.sizes["seed"] for row in rows.values())
    fields = {}
    for name in names:
        table = np.full((len(rows), size), np.nan)
        for line, row in zip(table, rows.values(), strict=True):
            values = row[name].values.ravel()
            line[: values.size] = values
        fields[name] = (("group", "draw"), table)
    return xr.Dataset(fields, {"group": list(rows)})


def risks(results: Results[BandPart], budget: int) -> Drawing:
    """Test risk and ESS against eta for some cases, mean and draws."""
    figure = figures.style.new_figure((7.0, 3.2))
    axes = figure.subplots(1, 2)
    joined = {}
    for case, colour in _CURVES.items():
        parts = [part for part in results if part.case == case and part.start == "uniform"]
        if not parts:
            continue
        ds = xr.concat(
            [results[part][["risk", "ess"]].sel(K=budget) for part in parts],
            xr.DataArray([part.seed for part in parts], dims="seed", name="seed"), join="exact",
        )  # fmt: skip
        joined[case] = ds.assign(share=ds["ess"] / parts[0].n, risk=ds["risk"].where(
            np.isfinite(ds["risk"])))  # fmt: skip
        for ax, name, ylabel in zip(
            axes, ("risk", "share"), (r"test risk of $\theta$", "ESS / $n$"), strict=True
        ):
            figures.rates_curve(
                joined[case], name, ax, ylabel=ylabel, label=case, log=True,
                colour=figures.style.COLOURS[colour],
            )  # fmt: skip
    axes[0].legend()
    figures.style.legend_above(figure, axes, columns=7)
    caption = "Test risk and effective sample size after a fixed number of steps. Dots are draws."
    return Drawing(figure=figure, caption=caption, tables=joined)
