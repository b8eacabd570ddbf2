"""Methods with and without a mitigation, against the ratio R of speeds."""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes

from . import style

__all__ = ["beside_plain"]


@style.styled
def beside_plain(field: xr.DataArray, plain: xr.DataArray, ax: Axes | None = None) -> Axes:
    """Draw a quantity of some methods with a mitigation, and without it as a dashed line.

    Parameters
    ----------
    field, plain : DataArray
        Positive, over ``(method, ratio, seed)``; each seed of `field` is a dot, lines are medians.
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
        Both axes are logarithmic.
    """
    for name, array in (("field", field), ("plain", plain)):
        if set(array.dims) != {"method", "ratio", "seed"}:
            raise ValueError(f"`{name}` must be over method, ratio and seed; got {array.dims}.")
    ax = style.axes_or_new(ax)
    ratio = field["ratio"].values
    for k, method in enumerate(field["method"].values):
        colour = style.CYCLE[k % len(style.CYCLE)]
        words = str(method).replace("_", " ")
        shift = 1.0 + 0.12 * (k - (field.sizes["method"] - 1) / 2)
        here = field.isel(method=k).transpose("ratio", "seed")
        ax.plot(ratio * shift, here, "o", color=colour, alpha=0.4, markersize=3, mew=0)
        ax.plot(ratio * shift, here.median("seed"), "-", color=colour, label=words)
        base = plain.sel({"method": method}).median("seed")
        ax.plot(ratio * shift, base, "--", color=colour, lw=0.9, label=f"{words}, plain")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.legend()
    return ax
