"""Sorted spectra of weights: how few samples carry the mass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from . import style
from .results import Result, weights_at_end

__all__ = ["weight_spectrum"]


@style.styled
def weight_spectrum(
    weights: Mapping[str, Result | ArrayLike] | Result | ArrayLike,
    ax: Axes | None = None,
    *,
    exact: str | None = None,
    floor: float = 1e-12,
    threshold: float | None = None,
) -> Axes:
    """Draw weights in decreasing order, relative to the largest, against their rank.

    Parameters
    ----------
    weights : mapping, Trajectory, Dataset or (n,)
        One set of weights, or several by legend entry in the order of a parameter (colours run
        from dark to light). Of trajectories, the final weights are drawn.
    ax : Axes, optional
        None makes a new figure.
    exact : str, optional
        The entry to draw on top, dashed and black.
    floor : float
        The axis ends here, or below the smallest relative weight where that is larger.
    threshold : float, optional
        Draws a guide at this relative threshold of the support.

    Returns
    -------
    Axes
    """
    ax = style.axes_or_new(ax)
    # A Dataset is a Mapping too.
    several = isinstance(weights, Mapping) and not isinstance(weights, xr.Dataset)
    runs: dict[str, Any] = dict(cast(Mapping[str, Any], weights)) if several else {"": weights}
    others = [name for name in runs if name != exact]
    colours = dict(zip(others, style.sequence(len(others)), strict=True))
    smallest = 1.0
    for name, result in runs.items():
        w = np.sort(weights_at_end(result))[::-1]
        smallest = min(smallest, float(w[-1] / w[0]))
        look = style.STYLES["exact"] if name == exact else {"color": colours[name]}
        rank = np.arange(1, w.size + 1)
        marker = "." if w.size <= 300 and name != exact else None
        ax.plot(rank, w / w[0], marker=marker, markersize=3, label=name or None,
                zorder=4 if name == exact else 3, **look)  # fmt: skip
    if threshold is not None:
        ax.axhline(threshold, **style.STYLES["guide"])
        ax.annotate(
            f"threshold {threshold:g}", (0.02, threshold), xycoords=("axes fraction", "data"),
            fontsize=7, va="bottom",
        )  # fmt: skip
    ax.set_ylim(max(floor, 0.3 * smallest), 2)
    ax.set(xscale="log", yscale="log")
    ax.set(xlabel="rank of the sample", ylabel="weight / largest weight")
    if several:
        ax.legend()
    return ax
