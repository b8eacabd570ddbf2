"""The figures of the item on distribution shift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import xarray as xr
from matplotlib.axes import Axes

from ... import figures
from ..item import Drawing

__all__ = ["along"]

_XLABELS = {
    "share": "share of the target in the training data",
    "angle": "angle between the clusters (degrees)",
    "m": "validation samples $m$",
}
_YLABELS = {
    "excess": r"excess test risk / floor",
    "gap": r"(test $-$ validation risk) / floor",
    "ess": "ESS/n at the end",
}
_REFERENCES: dict[str, tuple[str, str, Literal["-", "--"]]] = {
    "uniform": ("uniform weights", "grey", "-"),
    "clean": ("clean only", "orange", "-"),
    "validation": ("validation only", "black", "--"),
}
_COLOURS = ("blue", "green", "vermillion")


def along(axis: str, found: Mapping[str, xr.Dataset], speeds: Mapping[str, float]) -> Drawing:
    """Test risk, generalisation gap and size along one axis, a row for each line of runs."""
    rows = {name: ds for name, ds in found.items() if name.split("-")[0] == axis}
    figure = figures.style.new_figure((9.0, 2.5 * len(rows) + 0.4))
    axes = figure.subplots(len(rows), 3, sharex=True, sharey="col", squeeze=False)
    for row, (name, ds) in zip(axes, rows.items(), strict=True):
        for ax, (quantity, ylabel) in zip(row, _YLABELS.items(), strict=True):
            _panel(ax, ds, quantity, axis, speeds)
            ax.set(xlabel=_XLABELS[axis] if row[0] in axes[-1] else "", ylabel=ylabel)
        row[1].set_title(_title(name))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    caption = (
        f"Against the {_XLABELS[axis].replace('$', '')}: test risk of theta minus that of the "
        "target's parameter (the floor), test minus validation risk, both over the floor and where "
        "positive; effective sample size. Warm-started runs at ratios of speeds R after a fixed "
        "number of steps, and three references without weights to learn. Dots are draws, lines "
        "their geometric mean."
    )
    tables = {f"shift_{name}": ds.astype("float64") for name, ds in rows.items()}
    return Drawing(figure=figure, caption=caption, tables=tables)


def _title(line: str) -> str:
    words = {"m": "m = ", "noise": "noise "}
    parts = line.split("-")[1:]
    return ", ".join(next(w + part.removeprefix(key) for key, w in words.items()
                          if part.startswith(key)) for part in parts)  # fmt: skip


def _panel(ax: Axes, ds: xr.Dataset, quantity: str, axis: str, speeds: Mapping[str, float]) -> None:
    def draw(field: xr.DataArray, label: str, colour: str) -> None:
        table = field.where(field > 0).to_dataset(name=quantity)
        figures.rates_curve(
            table, quantity, ax, rate="value", log=True, geometric=True, label=label,
            xscale="log" if axis == "m" else "linear", colour=figures.style.COLOURS[colour],
        )  # fmt: skip

    for colour, (name, ratio) in zip(_COLOURS, speeds.items(), strict=True):
        run = ds.sel(ratio=ratio)
        field = run["test"] - 1 if quantity == "excess" else run[quantity]
        draw(field, f"{name}: $R$ = {ratio:g}", colour)
    if quantity == "excess":
        for name, (label, colour, line) in _REFERENCES.items():
            draw(ds[name] - 1, label, colour)
            ax.lines[-1].set_linestyle(line)
