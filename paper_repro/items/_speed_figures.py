"""The figures of the item on speed and sparsity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from ... import figures
from ..item import Drawing

__all__ = ["against_ratio", "tradeoff"]

_CALLS = "oracle calls to the goal"
_STEPS = "steps to the goal"
_SIZE = "ESS/n at the end"
_RATIO = "ratio of speeds $R$"


def _title(case: str) -> str:
    p, noise, *size = case.split("-")
    words = f"$p$ = {p[1:]}, noise {noise.removeprefix('noise')}"
    return words + (f", $n$ = {size[0][1:]}" if size else "")


def tradeoff(
    found: Mapping[str, xr.Dataset], fronts: Mapping[str, Sequence[xr.Dataset]]
) -> Drawing:
    """Size against oracle calls, a panel for each case."""
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = figures.style.new_figure((2.4 * columns + 0.6, 2.3 * rows + 0.3))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(found) :]:
        ax.remove()
    cross = {"color": figures.style.COLOURS["vermillion"], "marker": "x", "markersize": 3.5}
    for ax, (name, ds) in zip(axes.flat, found.items(), strict=False):
        figures.tradeoff(ds, "calls", "ess", "ratio", ax, fronts=fronts[name], xlabel=_CALLS,
                         ylabel=_SIZE)  # fmt: skip
        ax.plot(ds["exact_calls"].values.ravel(), ds["exact_ess"].values.ravel(), linestyle="",
                mew=0.8, label="exact algorithm", **cross)  # fmt: skip
        ax.set_title(_title(name))
        ax.label_outer()
    bar = figure.colorbar(axes[0, 0].collections[0], ax=axes, shrink=0.9)
    bar.set_label(f"{_RATIO} (warm-started)")
    axes[0, 0].lines[0].set_label("not beaten (a line for each draw)")
    ends = [axes[0, 0].lines[0], axes[0, 0].lines[-1]]
    figure.legend(handles=ends, loc="outside upper center", ncols=2)
    caption = (
        "Effective sample size at the end against oracle calls until the test risk of theta stays "
        "within a tenth of that of the validation-only fit. Every dot is a run of the warm-started "
        "algorithm (simultaneous, mirror steps, from theta*(w0)), every cross one of the exact "
        "algorithm; black: for each draw, the warm-started runs that no other beats in both. Runs "
        "that do not get there are left out."
    )
    tables = {f"tradeoff_{name}": ds for name, ds in found.items()}
    return Drawing(figure=figure, caption=caption, tables=tables)


def against_ratio(found: Mapping[str, xr.Dataset]) -> Drawing:
    """Steps and size against R: for all inner steps of the first case, and for all cases."""
    figure = figures.style.new_figure((7.4, 5.2))
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    first = next(iter(found))
    multiples = found[first]["multiple"].values
    of_rho = [
        (f"{m:g}", found[first].sel(multiple=m), colour)
        for m, colour in zip(multiples, figures.style.sequence(len(multiples)), strict=True)
    ]
    of_case = [
        (_title(name), ds.sel(multiple=1.0), colour)
        for (name, ds), colour in zip(found.items(), figures.style.CYCLE, strict=False)
    ]
    rows = (("settled", _STEPS), ("ess", _SIZE))
    for column, (curves, title) in enumerate(
        [(of_rho, rf"$\rho L$ ({_title(first)})"), (of_case, r"case ($\rho L = 1$)")]
    ):
        for row, (quantity, label) in enumerate(rows):
            ax = axes[row, column]
            for name, ds, colour in curves:
                figures.rates_curve(ds, quantity, ax, rate="ratio", log=True, label=name,
                    colour=colour, xlabel=_RATIO, ylabel=label)  # fmt: skip
            ax.label_outer()
        axes[0, column].legend(title=title, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    caption = (
        "Steps until the test risk of theta stays within a tenth of that of the validation-only "
        "fit, and effective sample size at the end, against the ratio of speeds R. Left: inner "
        "steps rho in units of 1/L. Right: noise and dimension. Dots are draws, lines their mean, "
        "drawn where all draws get there."
    )
    tables = {f"ratio_{name}": ds for name, ds in found.items()}
    return Drawing(figure=figure, caption=caption, tables=tables)
