"""The phase diagram of a refined sweep, or of any cells scattered over the plane of the speeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.tri import LinearTriInterpolator, Triangulation
from numpy.typing import ArrayLike

from . import style
from .maps import LABELS, colour_scale
from .results import failed_cells

__all__ = ["refined_map"]

_MARKERS = "x+1*2"
_PIXELS = 300


@style.styled
def refined_map(
    ds: xr.Dataset,
    ax: Axes | None = None,
    *,
    quantity: str = "ess",
    curves: ArrayLike | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw an observable, linear between the cells, with the cells as dots.

    Parameters
    ----------
    ds : Dataset over cell
        With coordinates ``alpha(cell)`` and ``beta(cell)``, both positive.
    ax : Axes, optional
        None makes a new figure.
    quantity : str
        Name of the variable to colour, one value per cell.
    curves : (k, 2, 2), optional
        Straight pieces to draw over the map, from one (alpha, beta) to another.
    limits : (low, high), optional
        Limits of the colour scale.

    Returns
    -------
    Axes
    """
    if quantity not in ds or ds[quantity].dims != ("cell",):
        raise ValueError(f"`quantity` must be a variable of `ds` over cell; got {quantity!r}.")
    places = []
    for rate in ("alpha", "beta"):
        if rate not in ds or not bool((ds[rate] > 0).all()):
            raise ValueError(f"`ds` must hold a positive {rate} for each cell.")
        places.append(np.log10(ds[rate].values))
    ax = style.axes_or_new(ax)
    failures = failed_cells(ds["status"]) if "status" in ds else {}
    values = np.array(ds[quantity].values, dtype=np.float64)
    for mask in failures.values():
        values[mask] = np.nan
    mesh = Triangulation(*places)
    is_good = np.isfinite(values)
    mesh.set_mask(~is_good[mesh.triangles].all(axis=1))
    alpha, beta = ds["alpha"].values, ds["beta"].values
    norm = colour_scale(quantity, values, limits)
    ax.set(xscale="log", yscale="log")
    raster = [np.linspace(place.min(), place.max(), _PIXELS) for place in places]
    heights = np.log(values) if isinstance(norm, LogNorm) else values
    drawn = LinearTriInterpolator(mesh, np.where(is_good, heights, 0.0))(*np.meshgrid(*raster))
    drawn = np.ma.exp(drawn) if isinstance(norm, LogNorm) else drawn
    colours = ax.pcolormesh(10 ** raster[0], 10 ** raster[1], drawn, norm=norm, rasterized=True)
    handles = _draw_cells(ax, alpha, beta, failures)
    if curves is not None:
        colour = style.COLOURS["vermillion"]
        pieces = list(np.asarray(curves, dtype=np.float64))
        ax.add_collection(LineCollection(pieces, colors=[colour], linewidths=1.0))
        handles.append(Line2D([], [], color=colour, linewidth=1.0, label="boundary"))
    ax.set_xlabel(r"speed of $\theta$: $\alpha$ (1/time)")
    ax.set_ylabel(r"speed of $w$: $\beta$ (1/time)")
    ax.figure.colorbar(colours, ax=ax).set_label(LABELS.get(quantity, quantity))
    ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles),
        borderaxespad=0.2, columnspacing=1.0,
    )  # fmt: skip
    return ax


def _draw_cells(ax: Axes, alpha: Any, beta: Any, failures: dict[str, Any]) -> list[Any]:
    """Mark cells by dots, failed ones by a sign for each failure."""
    good = ~np.any([np.zeros(alpha.shape, bool), *failures.values()], axis=0)
    handles = ax.plot(
        alpha[good], beta[good], ".", color=style.COLOURS["black"], markersize=2.0,
        markeredgewidth=0, label="cell", zorder=3,
    )  # fmt: skip
    for marker, (name, mask) in zip(_MARKERS, failures.items(), strict=False):
        handles += ax.plot(
            alpha[mask], beta[mask], marker, color=style.COLOURS["grey"], markersize=2.5,
            markeredgewidth=0.6, label=name.replace("_", " "),
        )  # fmt: skip
    return handles
