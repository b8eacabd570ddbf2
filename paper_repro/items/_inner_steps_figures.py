"""The figures of the item on inner steps."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from ... import figures
from ...dynamics.types import Array
from ..item import Drawing

__all__ = ["best", "errors"]

_PROBLEMS = ("edge", "outside", "inside", "toy")
_TITLES = {
    "edge": "target at an edge", "outside": "target outside", "inside": "target inside",
    "toy": "two-cluster toy",
}  # fmt: skip
_METHODS = {"unrolled": "unrolled", "exact": "exact adjoint"}
_RATES = {
    "tuned": "the outer rate is the best of a grid for each T and N",
    "fixed": "one outer rate, 0.1/sd(Psi), for all T and N",
}


def errors(groups: Mapping[tuple[str, float, str], xr.Dataset], quantity: str) -> Drawing:
    """Gap against T, a panel for each problem and method."""
    figure = figures.style.new_figure((7.0, 4.4))
    axes = figure.subplots(len(_METHODS), len(_PROBLEMS), sharex=True, squeeze=False)
    tables = {}
    for column, problem in enumerate(_PROBLEMS):
        for row, (method, name) in enumerate(_METHODS.items()):
            found = [ds for key, ds in groups.items() if (key[0], key[2]) == (problem, method)]
            ax = axes[row, column]
            figures.error_against_steps(found[0][quantity], ax)
            tables[f"{problem}_{method}"] = found[0]
            ax.set_title(f"{_TITLES[problem]}\n{name}")
            if column:
                ax.set_ylabel("")
            if row + 1 < len(_METHODS):
                ax.set_xlabel("")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, title="inner updates $N$", loc="outside upper center", ncols=5)
    caption = (
        "Gap h(w) - min h after N inner updates in all against the number T of inner steps for "
        "each step of the weights (mirror steps), for the quadratics and the two-cluster toy; "
        f"{_RATES[quantity]}. Lines are geometric means over the draws, dots are draws."
    )
    return Drawing(figure=figure, caption=caption, tables=tables)


def best(fields: Mapping[str, xr.DataArray], laws: Mapping[str, Mapping[str, Array]]) -> Drawing:
    """Best T against N, with both laws."""
    figure = figures.style.new_figure((7.0, 2.9))
    axes = figure.subplots(1, len(fields), sharey=True)
    for ax, (problem, T) in zip(axes, fields.items(), strict=True):
        figures.best_steps(T, ax, laws=laws[problem])
        ax.set_title(_TITLES[problem])
    axes[1].set_ylabel("")
    caption = (
        "Best number T of inner steps of the unrolled method against the number N of inner updates "
        "in all. Dots are draws, the line is their geometric mean, to which both laws are fitted."
    )
    tables = {name: T.to_dataset(name="best_T") for name, T in fields.items()}
    return Drawing(figure=figure, caption=caption, tables=tables)
