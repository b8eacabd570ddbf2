"""Bands of good rates as bars, with the ends that theory gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from . import style

__all__ = ["rate_bands"]

_LOOKS = (("green", "|"), ("vermillion", "x"), ("purple", "+"), ("orange", "2"))
"""Colours and marks of predictions, in their order."""


@style.styled
def rate_bands(
    ds: xr.Dataset,
    ax: Axes | None = None,
    *,
    marks: Mapping[str, str] | None = None,
    category: str = "case",
    xlabel: str = r"outer step $\eta$",
) -> Axes:
    """Draw a bar from ``low`` to ``high`` for every seed, in one row for each case.

    Parameters
    ----------
    ds : Dataset
        ``low`` and ``high`` over ``seed`` and `category`. A bar without ``low`` is left out; one
        without ``high`` has no upper end among the rates that were tried, and ends in an arrow
        at the edge of the drawing.
    ax : Axes, optional
        None makes a new figure.
    marks : mapping, optional
        Names of further variables, drawn as marks on every bar, to their legend entries: at most
        four.
    category, xlabel : str
        Name of the dimension whose labels are drawn; label of the axis of rates.

    Returns
    -------
    Axes
    """
    marks = marks or {}
    if len(marks) > len(_LOOKS):
        raise ValueError(f"`marks` must have at most {len(_LOOKS)} entries; got {len(marks)}.")
    ax = style.axes_or_new(ax)
    labels = [str(label) for label in ds[category].values]
    shifts = np.linspace(-0.28, 0.28, ds.sizes["seed"]) if ds.sizes["seed"] > 1 else [0.0]
    low, high = (ds[name].transpose(category, "seed").values for name in ("low", "high"))
    drawn = [low, high, *(ds[name].values for name in marks)]
    top = 3.0 * max(float(np.nanmax(values)) for values in drawn if np.isfinite(values).any())
    bar: dict[str, Any] = {
        "color": style.COLOURS["blue"],
        "linewidth": 2.0,
        "solid_capstyle": "butt",
    }
    for row in range(len(labels)):
        for k, shift in enumerate(shifts):
            if not np.isfinite(low[row, k]):
                continue
            is_open = not np.isfinite(high[row, k])
            y, right = row + shift, top if is_open else high[row, k]
            ax.plot([low[row, k], right], [y, y], alpha=0.55, **bar)
            if is_open:
                ax.plot([right], [y], ">", color=bar["color"], markersize=3.5)
    rows = np.arange(len(labels))[:, None] + np.asarray(shifts)
    for (colour, mark), (name, words) in zip(_LOOKS, marks.items(), strict=False):
        values = ds[name].transpose(category, "seed").values
        ax.plot(values.ravel(), rows.ravel(), mark, color=style.COLOURS[colour], markersize=4.5,
                mew=1.2, label=words)  # fmt: skip
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xscale="log", ylim=(len(labels) - 0.5, -0.5), xlabel=xlabel)
    ax.tick_params(axis="y", length=0)
    if marks:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax
