"""Two things that one cannot have at once: every run a dot, and the runs that none beats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from . import style

__all__ = ["tradeoff"]


@style.styled
def tradeoff(
    ds: xr.Dataset,
    cost: str,
    gain: str,
    by: str,
    ax: Axes | None = None,
    *,
    fronts: Sequence[xr.Dataset] = (),
    xlabel: str | None = None,
    ylabel: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw `gain` against `cost` on logarithmic axes, one dot for each run.

    Parameters
    ----------
    ds : Dataset
        Holds `cost` and `gain` over `by` and any other dimensions; runs of infinite cost are
        left out. The dots are the first collection of the axes, for a colour bar.
    cost, gain, by : str
        Names of the two variables, and of the dimension whose logarithm colours the dots.
    ax : Axes, optional
        None makes a new figure.
    fronts : sequence of Dataset
        Runs that no other beats, with the same two variables, from cheap to dear: one line each,
        level from a run to the next, which is where no run is.
    xlabel, ylabel : str, optional
        Axis labels; the names when left out.
    limits : (low, high), optional
        Ends of the colour scale; those of `by` when left out.

    Returns
    -------
    Axes
    """
    if by not in ds.dims:
        raise ValueError(f"`ds` must be over {by}; got {tuple(ds.dims)}.")
    ax = style.axes_or_new(ax)
    x, y, colour = (field.values.ravel() for field in xr.broadcast(ds[cost], ds[gain], ds[by]))
    drawn = np.isfinite(x) & np.isfinite(y)
    low, high = limits or (float(ds[by].min()), float(ds[by].max()))
    ax.scatter(
        x[drawn], y[drawn], c=colour[drawn], cmap="viridis", norm=LogNorm(low, high), s=9,
        linewidths=0, alpha=0.8, rasterized=True,
    )  # fmt: skip
    for front in fronts:
        ax.step(
            front[cost].values, front[gain].values, where="post", linewidth=0.8,
            color=style.COLOURS["black"], alpha=0.6,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel=xlabel or cost, ylabel=ylabel or gain)
    return ax
