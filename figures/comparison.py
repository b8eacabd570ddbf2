"""Arms of a comparison beside each other, every seed shown."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr
from matplotlib.axes import Axes

from . import style

__all__ = ["seed_dots"]


@style.styled
def seed_dots(
    ds: xr.Dataset,
    quantity: str,
    ax: Axes | None = None,
    *,
    category: str = "arm",
    xlabel: str | None = None,
    colours: Mapping[str, str] | None = None,
    log: bool = False,
) -> Axes:
    """Draw `quantity` of each arm on a line of its own, the first on top.

    Parameters
    ----------
    ds : Dataset
        Holds `quantity` over ``seed`` and `category`; each seed is a dot, the bar is their mean.
        NaN is left out: an arm that has no such quantity keeps an empty line.
    quantity, category : str
        Names of the variable and of the dimension of the arms, whose labels are drawn.
    ax : Axes, optional
        None makes a new figure.
    xlabel : str, optional
        `quantity` when left out.
    colours : mapping, optional
        Colour of an arm by its label; blue when left out.
    log : bool
        Logarithmic horizontal axis.

    Returns
    -------
    Axes
    """
    field = ds[quantity]
    if set(field.dims) != {"seed", category}:
        raise ValueError(f"`ds[{quantity!r}]` must be over seed and {category}; got {field.dims}.")
    ax = style.axes_or_new(ax)
    labels = [str(label) for label in field[category].values]
    for row, label in enumerate(labels):
        values = field.isel({category: row}).dropna("seed")
        colour = (colours or {}).get(label, style.COLOURS["blue"])
        ax.plot(values, [row] * values.size, "o", color=colour, alpha=0.5, markersize=3.5, mew=0)
        if values.size:
            mean = float(values.mean())
            ax.plot([mean], [row], "|", color=colour, markersize=8, mew=1.6)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(xlabel or quantity)
    if log:
        ax.set_xscale("log")
    return ax
