"""Counts of samples, one dot for each run, coloured by a parameter."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from . import style

__all__ = ["counts_by"]


@style.styled
def counts_by(
    ds: xr.Dataset,
    x: str,
    y: str,
    by: str,
    ax: Axes | None = None,
    *,
    xlabel: str | None = None,
    ylabel: str | None = None,
    label: str = "{:g}",
    identity: bool = False,
    lines: str | None = None,
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw one quantity against another on logarithmic axes, coloured by the values of `by`.

    Parameters
    ----------
    ds : Dataset
        Holds `x` and `y`, over `by` and any other dimensions: each entry is a dot.
    x, y, by : str
        Names of the variables, and of the dimension that colours them.
    ax : Axes, optional
        None makes a new figure.
    xlabel, ylabel, label : str, optional
        Axis labels, and how a value of `by` is written in the legend.
    identity : bool
        Draws the line y = x.
    lines : str, optional
        Name of a dimension along which geometric means over all others are joined by a line.
    colours : sequence of str, optional
        One for each value of `by`; from dark to light when left out.

    Returns
    -------
    Axes
    """
    ax = style.axes_or_new(ax)
    values = ds[by].values
    for value, colour in zip(values, colours or style.sequence(len(values)), strict=True):
        part = ds.sel({by: value})
        one, two = xr.broadcast(part[x], part[y])
        name = label.format(value)
        ax.plot(
            one.values.ravel(), two.values.ravel(), "o", color=colour, alpha=0.55, mew=0,
            markersize=3.5, label=None if lines else name,
        )  # fmt: skip
        if lines is not None:
            others = [name for name in one.dims if name != lines]
            ax.plot(_middle(one, others), _middle(two, others), "-", color=colour, label=name)
    if identity:
        both = np.concatenate([np.ravel(ds[x]), np.ravel(ds[y])])
        ends = [np.nanmin(both), np.nanmax(both)]
        ax.plot(ends, ends, **style.STYLES["guide"], zorder=1)
    ax.set(xscale="log", yscale="log", xlabel=xlabel or x, ylabel=ylabel or y)
    return ax


def _middle(field: xr.DataArray, dims: list[Hashable]) -> xr.DataArray:
    """Return the geometric mean, which is what the eye sees on a logarithmic axis."""
    mean = xr.apply_ufunc(np.log, field).mean(dims)
    return xr.apply_ufunc(np.exp, mean)
