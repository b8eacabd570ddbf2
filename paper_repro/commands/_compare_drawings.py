"""The three figures of a comparison: sparsity against R, the frontier, risk against ESS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ... import figures
from ...figures.families import looks
from ..artefacts import save_drawing
from ..item import Drawing

__all__ = ["drawn_page", "save_figures"]

EMPTY = "."
MANY = 24
"""Entries above which there is one small picture for each method, not for each family."""
COLUMNS = 6

_REFERENCES = ("reference_test_loss",)


def save_figures(
    folder: Path, ds: xr.Dataset, chosen: xr.Dataset, name: str, provenance: dict[str, Any]
) -> list[str]:
    """Draw what there is to draw; ``chosen`` is ``ds`` at the best ratio of each entry.

    Returns the names of the figures that were drawn.
    """
    words = "Medians over the seeds; behind each family every seed, and the others in grey."
    made = {
        "sparsity_against_ratio": (
            figures.sparsity_against_ratio, ds, ("ess",),
            "ESS/n at the end of the budget against the ratio R of speeds.",
        ),
        "budget_frontier": (
            figures.budget_frontier, chosen, ("test_loss",),
            "Test risk reached against oracle calls, R chosen by the validation risk.",
        ),
        "risk_against_ess": (
            figures.risk_against_ess, ds, ("ess", "test_loss"),
            "Test risk against ESS/n at the end of the budget; each line follows R.",
        ),
    }  # fmt: skip
    drawn = []
    for label, (draw, data, quantities, caption) in made.items():
        if any(quantity not in data for quantity in quantities):
            continue
        figure = drawn_page(draw, data)
        drawing = Drawing(
            figure=figure, caption=f"{name}: {caption} {words}", tables=_tables(data, quantities)
        )
        save_drawing(folder, label, drawing, provenance, quick=False)
        drawn.append(label)
    return drawn


def drawn_page(draw: Callable[..., Axes], ds: xr.Dataset) -> Figure:
    """Return all entries in small pictures, next to a large one where that can be read."""
    names = [str(name) for name in ds["entry"].values]
    return _by_family(draw, ds, names) if len(names) <= MANY else _by_method(draw, ds, names)


def _by_family(draw: Callable[..., Axes], ds: xr.Dataset, names: list[str]) -> Figure:
    """Return one large picture of all entries, and one small picture for each family."""
    families = list(dict.fromkeys(look.family for look in looks(names).values()))
    rows = 1 if len(families) <= 2 else 2
    columns = -(-len(families) // rows)
    figure = figures.style.new_figure((3.9 + 2.1 * columns, 2.2 + 1.9 * rows))
    with figures.style.context():
        axes = figure.subplot_mosaic(
            [["", *row] for row in _mosaic(families, columns)], empty_sentinel=EMPTY,
            sharex=True, sharey=True, width_ratios=[1.7, *[1.0] * columns],
        )  # fmt: skip
        for family, ax in axes.items():
            draw(ds, ax, family=family or None)
        _share_labels([axes[family] for family in families], columns)
        for ax in list(axes.values())[1:]:
            ax.set_ylabel("")
    return figure


def _by_method(draw: Callable[..., Axes], ds: xr.Dataset, names: list[str]) -> Figure:
    """Return one small picture for each method, all that was done to it in front."""
    families = list(dict.fromkeys(look.family for look in looks(names, "method").values()))
    columns = min(COLUMNS, len(families))
    mosaic: list[Any] = _mosaic(families, columns)
    figure = figures.style.new_figure((1.0 + 1.9 * columns, 1.2 + 1.7 * len(mosaic)))
    with figures.style.context():
        axes = figure.subplot_mosaic(mosaic, empty_sentinel=EMPTY, sharex=True, sharey=True)
        for family, ax in axes.items():
            draw(ds, ax, family=family, by="method")
        _share_labels(list(axes.values()), columns)
        figures.variants_legend(figure, ds)
    return figure


def _mosaic(families: list[str], columns: int) -> list[list[str]]:
    """Return the rows of a grid of families, filled up with empty cells."""
    cells = families + [EMPTY] * (-len(families) % columns)
    return [cells[k : k + columns] for k in range(0, len(cells), columns)]


def _share_labels(axes: list[Axes], columns: int) -> None:
    """Leave labels to the first of a row and to the lowest of a column."""
    for k, ax in enumerate(axes):
        is_lowest = k + columns >= len(axes)
        ax.tick_params(labelleft=k % columns == 0, labelbottom=is_lowest)
        if not is_lowest:
            ax.set_xlabel("")
        if k % columns:
            ax.set_ylabel("")


def _tables(ds: xr.Dataset, quantities: tuple[str, ...]) -> dict[str, xr.Dataset]:
    """Return what is plotted: the runs, and the references beside them."""
    tables = {"runs": ds[list(quantities)]}
    if "test_loss" in quantities and all(name in ds for name in _REFERENCES):
        tables["references"] = ds[list(_REFERENCES)]
    return tables
