"""Inner steps at a fixed number of inner updates: errors, and the best number of steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from . import style

__all__ = ["best_steps", "error_against_steps"]


@style.styled
def error_against_steps(
    field: xr.DataArray, ax: Axes | None = None, *, ylabel: str = r"gap $h(w) - \min h$"
) -> Axes:
    """Draw an error against the number T of inner steps, one line for each budget N.

    Parameters
    ----------
    field : DataArray over (seed, T, N)
        Positive, NaN where T does not fit into N: the line is the geometric mean over the seeds,
        and each seed is a dot.
    ax : Axes, optional
        None makes a new figure.
    ylabel : str

    Returns
    -------
    Axes
    """
    if set(field.dims) != {"seed", "T", "N"}:
        raise ValueError(f"`field` must be over seed, T and N; got {field.dims}.")
    ax = style.axes_or_new(ax)
    T = field["T"].values
    for colour, N in zip(style.sequence(field.sizes["N"]), field["N"].values, strict=True):
        values = field.sel(N=N).transpose("seed", "T").values
        for row in values:
            ax.plot(T, row, "o", color=colour, alpha=0.35, markersize=1.8, mew=0)
        ax.plot(T, np.exp(np.log(values).mean(0)), "-", color=colour, label=f"{N:g}")
    ax.set(xscale="log", yscale="log", xlabel="inner steps $T$", ylabel=ylabel)
    return ax


@style.styled
def best_steps(
    best: xr.DataArray,
    ax: Axes | None = None,
    *,
    laws: Mapping[str, ArrayLike] | None = None,
) -> Axes:
    """Draw the best number of inner steps against the budget N.

    Parameters
    ----------
    best : DataArray over (seed, N)
        NaN where it is not known.
    ax : Axes, optional
        None makes a new figure.
    laws : mapping, optional
        Fitted curves over the same N, by their names in the legend.

    Returns
    -------
    Axes
    """
    if set(best.dims) != {"seed", "N"}:
        raise ValueError(f"`best` must be over seed and N; got {best.dims}.")
    ax = style.axes_or_new(ax)
    N, values = best["N"].values, best.transpose("seed", "N").values
    for row in values:
        ax.plot(N, row, "o", color=style.COLOURS["blue"], alpha=0.45, markersize=3.5, mew=0)
    ax.plot(N, np.exp(np.log(values).mean(0)), "-", color=style.COLOURS["blue"], label="mean")
    ends = (("vermillion", "--"), ("green", ":"), ("purple", "-."))
    for (colour, line), (name, curve) in zip(ends, (laws or {}).items(), strict=False):
        ax.plot(N, np.asarray(curve), line, color=style.COLOURS[colour], label=name)
    ax.set(xscale="log", yscale="log", xlabel="inner updates $N$", ylabel="best inner steps $T$")
    ax.legend()
    return ax
