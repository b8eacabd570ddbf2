"""Observables against the outer learning rate, every seed shown."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from . import style

__all__ = ["rates_curve"]


@style.styled
def rates_curve(
    ds: xr.Dataset,
    quantity: str,
    ax: Axes | None = None,
    *,
    rate: str = "eta",
    xlabel: str = r"outer step $\eta$",
    ylabel: str | None = None,
    label: str | None = None,
    colour: str = style.COLOURS["blue"],
    log: bool = False,
    geometric: bool = False,
    xscale: str = "log",
) -> Axes:
    """Draw `quantity` against a learning rate, or another setting, on a logarithmic axis.

    Parameters
    ----------
    ds : Dataset
        Holds `quantity` over `rate` and, with several seeds, ``seed``: the line is the mean,
        and each seed is a dot.
    quantity, rate : str
        Names of the variable and of the dimension.
    ax : Axes, optional
        None makes a new figure.
    xlabel, ylabel, label : str
        Axis labels (`ylabel` defaults to `quantity`) and legend entry.
    colour : str
        Colour of line and dots.
    log : bool
        Logarithmic vertical axis.
    geometric : bool
        The line is the geometric mean over the seeds.
    xscale : str
        Scale of the horizontal axis: ``"log"`` or ``"linear"``.

    Returns
    -------
    Axes
    """
    field = ds[quantity]
    unexpected = set(field.dims) - {rate, "seed"}
    if rate not in field.dims or unexpected:
        raise ValueError(
            f"`ds[{quantity!r}]` must be over {rate} and, if need be, seed; got {field.dims}."
        )
    ax = style.axes_or_new(ax)
    x = ds[rate].values
    marker = "o"
    if "seed" in field.dims:
        for seed in field["seed"]:
            ax.plot(x, field.sel(seed=seed), "o", color=colour, alpha=0.5, markersize=3.5, mew=0)
        field, marker = _mean(field, geometric), ""
    ax.plot(x, field, "-", marker=marker, color=colour, label=label, markersize=3)
    ax.set_xscale(xscale)
    ax.set(xlabel=xlabel, ylabel=ylabel or quantity)
    if log:
        ax.set_yscale("log")
    return ax


def _mean(field: xr.DataArray, geometric: bool) -> xr.DataArray:
    """Return the mean over the seeds; the geometric one is in the middle of a logarithmic axis."""
    if not geometric:
        return field.mean("seed")
    logs = field.copy(data=np.log(field.values)).mean("seed")
    return logs.copy(data=np.exp(logs.values))
