"""The figures of the cleaning with networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ... import figures
from ..item import Drawing, Results
from ._nets_cleaning_tables import MITIGATIONS, Combination, combinations, table

__all__ = ["draw"]

_NAMES = {"mlp": "MLP", "cnn": "CNN"}
_QUANTITIES = {
    "test_accuracy": "test accuracy",
    "ess": "effective sample size",
    "clean_mass": "mass on clean samples",
}


def draw(results: Results[Any], fast: float) -> dict[str, Drawing]:
    """Return one figure over the rates, and one of mitigations for each network with them."""
    here = combinations(results)
    out = {"rates": _rates(results, here, fast)}
    for combination in here:
        if combination.has(results, "entropy"):
            name = f"mitigations_{combination.images.replace('-', '_')}_{combination.kind}"
            out[name] = _mitigations(results, combination, fast)
    return out


def _rates(results: Results[Any], here: list[Combination], fast: float) -> Drawing:
    """One row for each data set, one colour for each network."""
    images = list(dict.fromkeys(combination.images for combination in here))
    figure = figures.style.new_figure((7.0, 0.5 + 1.8 * len(images)))
    axes = figure.subplots(len(images), 3, sharex=True, squeeze=False)
    colours = {"mlp": figures.style.COLOURS["blue"], "cnn": figures.style.COLOURS["vermillion"]}
    tables = {}
    for combination in here:
        ds, plain = (table(results, combination, arm) for arm in ("rate", "baselines"))
        row, colour = axes[images.index(combination.images)], colours[combination.kind]
        for ax, (quantity, label) in zip(row, _QUANTITIES.items(), strict=True):
            figures.rates_curve(
                ds, quantity, ax, rate="value", ylabel=label, colour=colour,
                label=_NAMES[combination.kind], log=quantity == "ess",
            )  # fmt: skip
        uniform = float(plain["test_accuracy"].sel(baseline="uniform").mean())
        row[0].axhline(uniform, color=colour, linestyle=":", linewidth=1.0)
        row[0].set_ylim(-0.03, 1.03)
        row[2].set_ylim(-0.03, 1.03)
        row[1].set_title(combination.images)
        tables[f"{combination.images}_{combination.kind}"] = ds
    for ax in axes[:-1].ravel():
        ax.set_xlabel("")
    axes[0, 0].legend()
    figures.style.legend_above(figure, [axes[0, 0]])
    caption = (
        f"Hyper data-cleaning with networks on {_listed(images)}, the data sets found, half of the "
        "labels redrawn: test accuracy, effective sample size and mass of the weights on clean "
        "samples against the outer rate, after a fixed number of outer steps (mirror steps on the "
        "simplex). Dots are seeds, lines their means, dotted lines the accuracy of training "
        f"without reweighting. Mitigations are tried at the rate {fast:g}."
    )
    return Drawing(figure=figure, caption=caption, tables=tables)


def _mitigations(results: Results[Any], combination: Combination, fast: float) -> Drawing:
    """Every knob of every arm, as accuracy and as effective sample size."""
    ds, colours = _arms(results, combination, fast)
    figure = figures.style.new_figure((7.0, 0.6 + 0.17 * ds.sizes["arm"]))
    accuracy, size = figure.subplots(1, 2, sharey=True)
    figures.seed_dots(ds, "test_accuracy", accuracy, xlabel="test accuracy", colours=colours)
    figures.seed_dots(
        ds, "ess", size, xlabel="effective sample size", colours=colours, log=True
    )  # fmt: skip
    for ax, quantity in ((accuracy, "test_accuracy"), (size, "ess")):
        ax.axvline(float(ds[quantity].isel(arm=0).mean()), **figures.style.STYLES["guide"])
    caption = (
        f"What helps at a collapsing outer rate (eta = {fast:g}), {combination.images}, "
        f"{_NAMES[combination.kind]}: one knob at a time, every value tried; above, the best outer "
        "rate instead; below, training without weights that move. Dots are seeds, bars their "
        "means; the dotted lines mark the collapse."
    )
    return Drawing(figure=figure, caption=caption, tables={"arms": ds})


def _arms(
    results: Results[Any], combination: Combination, fast: float
) -> tuple[xr.Dataset, dict[str, str]]:
    """Return all runs over (seed, arm), the collapse first, and the colour of each arm."""
    palette = figures.style.COLOURS
    rates = table(results, combination, "rate")
    chosen = float(rates["test_accuracy"].mean("seed").idxmax("value"))
    cells = {f"fast: $\\eta$ = {fast:g}": rates.sel(value=fast)}
    cells[f"best: $\\eta$ = {chosen:g}"] = rates.sel(value=chosen)
    colours = dict(zip(cells, (palette["vermillion"], palette["black"]), strict=True))
    looks = (palette["blue"], palette["sky"], palette["orange"], palette["green"])
    for (arm, name), colour in zip(MITIGATIONS.items(), looks, strict=True):
        ds = table(results, combination, arm)
        for value in ds["value"].values:
            label = f"{name} {value:g}"
            cells[label], colours[label] = ds.sel(value=value), colour
    plain = table(results, combination, "baselines")
    for name in plain["baseline"].values:
        cells[str(name)] = plain.sel(baseline=name).assign(ess=("seed", _nothing(plain)))
        colours[str(name)] = palette["grey"]
    quantities = ["test_accuracy", "ess"]
    parts = [cell[quantities].reset_coords(drop=True) for cell in cells.values()]
    joined: xr.Dataset = xr.concat(parts, xr.DataArray(list(cells), dims="arm", name="arm"))
    return joined, colours


def _nothing(ds: xr.Dataset) -> Any:
    return np.full(ds.sizes["seed"], np.nan)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"
