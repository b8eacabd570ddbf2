"""The phase diagram: an observable over the plane of the two speeds."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from . import style
from .results import failed_cells

__all__ = ["LABELS", "colour_scale", "phase_diagram"]

LABELS = {
    "ess": "effective sample size",
    "entropy": "entropy of w (nats)",
    "support": "number of weights above threshold",
    "val_loss": "validation risk",
    "test_loss": "test risk",
    "outer_loss": "outer objective h(w)",
    "test_accuracy": "test accuracy",
    "clean_mass": "weight on clean samples",
}
"""Labels of the colour bar, by variable."""

_LOGARITHMIC = ("ess", "support", "val_loss", "test_loss", "outer_loss")


@style.styled
def phase_diagram(
    ds: xr.Dataset,
    ax: Axes | None = None,
    *,
    quantity: str = "ess",
    band: xr.DataArray | None = None,
    threshold: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw an observable of a sweep over the speeds alpha of theta and beta of w.

    Parameters
    ----------
    ds : Dataset over (alpha, beta)
        As `sweep` returns it, with positive speeds; of several saved steps the last is drawn.
    ax : Axes, optional
        None makes a new figure.
    quantity : str
        Name of the variable to colour. Risks and counts that span more than a decade get a
        logarithmic scale.
    band : bool DataArray over (alpha, beta), optional
        Region whose boundary is drawn, such as the good learning rates.
    threshold : float, optional
        Which threshold of ``support`` to draw; needed for ``quantity="support"`` only.
    limits : (low, high), optional
        Limits of the colour scale; values outside are marked on the colour bar.

    Returns
    -------
    Axes
    """
    for rate in ("alpha", "beta"):
        if rate not in ds.dims or not bool((ds[rate] > 0).all()):
            raise ValueError(f"`ds` must be over positive {rate} (its axis is logarithmic).")
    ds = ds.sortby(["alpha", "beta"])
    if "step" in ds.dims:
        ds = ds.isel(step=-1)
    field = _select(ds, quantity, threshold)
    ax = style.axes_or_new(ax)
    failures = failed_cells(ds["status"].transpose("alpha", "beta")) if "status" in ds else {}
    values = np.array(field.values, dtype=np.float64)
    for mask in failures.values():
        values[mask] = np.nan
    alpha, beta = ds["alpha"].values, ds["beta"].values
    mesh = ax.pcolormesh(
        _edges(alpha),
        _edges(beta),
        values.T,
        norm=colour_scale(quantity, values, limits),
        rasterized=True,
    )
    ax.set(xscale="log", yscale="log")
    handles = _draw_failures(ax, alpha, beta, failures)
    handles += _draw_band(ax, alpha, beta, band)
    ax.set_xlabel(r"speed of $\theta$: $\alpha$ (1/time)")
    ax.set_ylabel(r"speed of $w$: $\beta$ (1/time)")
    bar = ax.figure.colorbar(mesh, ax=ax, extend=_extend(values, limits))
    bar.set_label(LABELS.get(quantity, quantity))
    if handles:
        ax.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles),
            borderaxespad=0.2, columnspacing=1.0,
        )  # fmt: skip
    return ax


def _select(ds: xr.Dataset, quantity: str, threshold: float | None) -> xr.DataArray:
    if quantity not in ds:
        raise ValueError(f"`quantity` must be a variable of `ds`; got {quantity!r}.")
    field = ds[quantity]
    if "threshold" in field.dims:
        if threshold is None:
            raise ValueError(f"`threshold` must be given to draw {quantity}.")
        field = field.sel(threshold=threshold)
    if set(field.dims) != {"alpha", "beta"}:
        raise ValueError(f"`ds[{quantity!r}]` must be over alpha and beta; got {field.dims}.")
    return field.transpose("alpha", "beta")


def _edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cell edges halfway between the centres in logarithm: (k,) to (k+1,)."""
    logs = np.log(centres)
    if logs.size == 1:
        return np.exp(np.array([logs[0] - 0.5, logs[0] + 0.5]))
    middle = 0.5 * (logs[1:] + logs[:-1])
    first, last = 2 * logs[0] - middle[0], 2 * logs[-1] - middle[-1]
    return np.exp(np.concatenate([[first], middle, [last]]))


def colour_scale(
    quantity: str, values: NDArray[np.float64], limits: tuple[float, float] | None
) -> Normalize:
    """Return the colour scale: logarithmic for counts and risks that span more than a decade."""
    finite = values[np.isfinite(values)]
    if limits is not None:
        low, high = limits
    elif finite.size:
        low, high = float(finite.min()), float(finite.max())
    else:
        low, high = 1.0, 2.0
    if quantity in _LOGARITHMIC and 0 < 10 * low < high:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1.0)


def _extend(values: NDArray[np.float64], limits: tuple[float, float] | None) -> Any:
    if limits is None:
        return "neither"
    below, above = bool(np.any(values < limits[0])), bool(np.any(values > limits[1]))
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]


def _draw_failures(
    ax: Axes,
    alpha: NDArray[np.float64],
    beta: NDArray[np.float64],
    failures: dict[str, NDArray[np.bool_]],
) -> list[Any]:
    hatches = ("////", "....", "xxxx", "\\\\\\\\", "++++")
    handles = []
    for hatch, (name, mask) in zip(hatches, failures.items(), strict=False):
        with mpl.rc_context({"hatch.linewidth": 0.5, "hatch.color": style.COLOURS["grey"]}):
            ax.pcolor(
                _edges(alpha), _edges(beta), np.ma.masked_where(~mask.T, mask.T),
                facecolor="none", edgecolor="none", hatch=hatch, cmap="Greys", vmin=0, vmax=8,
                rasterized=True,
            )  # fmt: skip
            handles.append(
                Patch(facecolor="0.92", edgecolor=style.COLOURS["grey"], hatch=hatch,
                      label=name.replace("_", " "))
            )  # fmt: skip
    return handles


def _draw_band(
    ax: Axes, alpha: NDArray[np.float64], beta: NDArray[np.float64], band: xr.DataArray | None
) -> list[Any]:
    if band is None or not bool(band.any()) or bool(band.all()):
        return []
    inside = band.sortby(["alpha", "beta"]).transpose("alpha", "beta").values.astype(bool)
    colour = style.COLOURS["vermillion"]
    segments = _boundary(_edges(alpha), _edges(beta), inside)
    ax.add_collection(LineCollection(segments, colors=[colour], linewidths=1.4, capstyle="round"))
    return [Line2D([], [], color=colour, linewidth=1.4, label=str(band.name or "band"))]


def _boundary(
    x: NDArray[np.float64], y: NDArray[np.float64], inside: NDArray[np.bool_]
) -> list[list[tuple[float, float]]]:
    """Edges between cells inside and outside, segments of two points; the border is left open."""
    upright = np.argwhere(inside[1:] != inside[:-1])
    level = np.argwhere(inside[:, 1:] != inside[:, :-1])
    return [[(x[i + 1], y[j]), (x[i + 1], y[j + 1])] for i, j in upright] + [
        [(x[i], y[j + 1]), (x[i + 1], y[j + 1])] for i, j in level
    ]
