"""One page of dots: all methods and references, one column for each quantity."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ...figures import comparison, style
from ...figures.families import looks
from ..item import Drawing
from ._comparison_runs import decades

__all__ = ["page"]

_COLUMNS = {
    "ess": "ESS", "clean_mass": "clean mass", "cosine_end": r"cosine to $\nabla h$",
    "risk": r"risk of $\theta$", "risk_star": r"of $\theta^\star(w)$",
    "risk_averaged": r"of averaged $w$",
}  # fmt: skip
_NAMES = {
    "uniform": "uniform weights", "validation_only": "validation only",
    "clean_only": "clean samples only", "derivative_free": "5 group weights",
}  # fmt: skip
_WORST = 100.0
"""Risks above this are drawn there."""
_TICKS = {1: "1", 2: "2", 5: "5", 10: "10", 30: "30", 100: "100", 300: "300"}


def page(ds: xr.Dataset, name: str, speed: str, ratio: float) -> Drawing:
    """Draw the comparison at one ratio, best mean risk of theta first."""
    rows = _rows(ds)
    entries = [str(label) for label in ds["entry"].values]
    colours = {label.replace("_", " "): look.colour for label, look in looks(entries).items()}
    colours |= dict.fromkeys(_NAMES.values(), style.COLOURS["grey"])
    figure = style.new_figure((7.6, 1.1 + 0.16 * rows.sizes["arm"]))
    axes = figure.subplots(1, len(_COLUMNS), sharey=True)
    risks = np.concatenate([rows[q].values.ravel() for q in _COLUMNS if q.startswith("risk")])
    ends = {"risk": float(np.nanmax(np.minimum(risks, _WORST))), "ess": ds.attrs["num_samples"]}
    for ax, (quantity, words) in zip(axes, _COLUMNS.items(), strict=True):
        end = ends.get(quantity.partition("_")[0])
        values = rows[quantity] if end is None else decades(rows[quantity].clip(max=end))
        comparison.seed_dots(
            values.to_dataset(name=quantity), quantity, ax, category="arm", xlabel=words,
            colours=colours,
        )  # fmt: skip
        ax.grid(axis="y", color="0.92", linewidth=0.5)
        ax.set_axisbelow(True)
        if end is None:
            ax.set_xlim(-1.05 if quantity == "cosine_end" else -0.05, 1.05)
            ax.axvline(0.0, zorder=0, **style.STYLES["guide"])
        else:
            _label_powers(ax, end, is_risk=quantity != "ess")
    figure.supxlabel(
        "risks are test losses over that of training on clean samples only", fontsize=8
    )
    caption = (
        f"All methods on {name} with {speed} weights (R = {ratio:g}) at an equal budget of oracle "
        "calls, ordered by the mean log risk of theta; references in grey. Dots are draws, bars "
        "means (geometric for ESS and risks); colours are families of methods. Risks above "
        f"{_WORST:g} are drawn there. Methods without a rate of their own ran at their defaults."
    )
    return Drawing(
        figure=figure, caption=caption, tables={"draws": rows, "summary": _summary(rows)}
    )


def _label_powers(ax: Axes, end: float, *, is_risk: bool) -> None:
    """Label an axis of decimal logarithms by the numbers themselves."""
    low, high = (-0.06 if is_risk else -0.1) * max(1.0, np.log10(end)), 1.06 * np.log10(end)
    wide = end > 10
    shown = {
        k: text for k, text in _TICKS.items() if k <= end and not (wide and k in {2, 5, 30, 300})
    }
    ax.set_xticks(np.log10(list(shown)), list(shown.values()))
    ax.set_xlim(low, high)
    ax.axvline(0.0, zorder=0, **style.STYLES["guide"])


def _rows(ds: xr.Dataset) -> xr.Dataset:
    """Return methods and references over (arm, seed), best first."""
    kept = ds[[*_COLUMNS, "cosine_min", "steps"]]
    names = [str(label).replace("_", " ") for label in ds["entry"].values]
    methods = kept.drop_vars(["is_scaled", "label"]).rename(entry="arm").assign_coords(arm=names)
    references = xr.Dataset(
        {
            "ess": ds["reference_ess"],
            "clean_mass": ds["reference_clean_mass"],
            "risk": ds["reference_risk"],
        }
    ).rename(reference="arm")
    references = references.assign_coords(arm=[_NAMES[str(n)] for n in references["arm"].values])
    rows = xr.concat([methods, references], "arm", join="outer", data_vars="all")
    score = decades(rows["risk"].clip(max=_WORST)).mean("seed")
    return rows.isel(arm=np.argsort(score.values, kind="stable")).transpose("arm", "seed")


def _summary(rows: xr.Dataset) -> xr.Dataset:
    """Return medians and worst draws of everything."""
    out = {}
    for name, values in rows.data_vars.items():
        out[f"{name}_median"] = values.median("seed")
        is_bad_when_large = str(name).startswith("risk")
        out[f"{name}_worst"] = values.max("seed") if is_bad_when_large else values.min("seed")
    return xr.Dataset(out)
