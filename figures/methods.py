"""Methods beside each other at equal budgets: three pictures of one comparison.

All three take the Dataset of `analysis.comparison.compare`. With ``family=None`` a picture shows
the medians of all entries in the colours of their families; with a family it shows the members of
that one, every seed, in front of the medians of the others in grey. With ``by="method"`` a family
is a method with all that was done to it, and `variants_legend` is the legend of many such pictures.
A hollow mark is a median over the seeds that did not fail.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from . import style
from .end_labels import Ends, label_ends
from .families import Look, looks, variant_of

__all__ = ["budget_frontier", "risk_against_ess", "sparsity_against_ratio", "variants_legend"]

By: TypeAlias = Literal["family", "method"]

_GREY: dict[str, Any] = {"color": "0.82", "linewidth": 0.7, "zorder": 1}
_REFERENCE = "reference"
_OTHERS = "others"
_MANY = 24
"""Entries above which labels at the ends of curves do not fit."""
_REFERENCES = {
    "uniform": ("uniform weights", ":"),
    "validation_only": ("validation only", "-."),
    "clean_only": ("clean samples only", "--"),
    "derivative_free": ("derivative-free", (0, (1, 3))),
}


@style.styled
def sparsity_against_ratio(
    ds: xr.Dataset,
    ax: Axes | None = None,
    *,
    family: str | None = None,
    by: By = "family",
) -> Axes:
    """Draw ESS/n at the end of the budget against the ratio R of speeds.

    Parameters
    ----------
    ds : Dataset
        Holds ``ess`` over (entry, ratio, seed, budget), ``is_scaled`` over entry, and the attribute
        ``num_samples``.
    ax : Axes, optional
        None makes a new figure.
    family : str, optional
        The one in front.
    by : {"family", "method"}
        What a family is.

    Returns
    -------
    Axes
        An entry without a rate of its own has no R: it is a level line.
    """
    ax = style.axes_or_new(ax)
    share = _share(ds)
    ax.set(xscale="log", yscale="log", xlabel="ratio of speeds R", ylabel="ESS / n")
    _fit(ax, ds["ratio"].values, share)
    label_ends(ax, _curves(ax, share, "ratio", family, by))
    _legend(ax, ds, family, by)
    return ax


@style.styled
def budget_frontier(
    ds: xr.Dataset,
    ax: Axes | None = None,
    *,
    family: str | None = None,
    by: By = "family",
) -> Axes:
    """Draw the test risk reached against the number of oracle calls.

    Parameters
    ----------
    ds : Dataset
        At one ratio for each entry, chosen by the validation loss: ``test_loss`` over
        (entry, seed, budget); ``reference_test_loss`` over (reference, seed), if known, gives level
        lines.
    ax : Axes, optional
        None makes a new figure.
    family : str, optional
        The one in front.
    by : {"family", "method"}
        What a family is.

    Returns
    -------
    Axes
    """
    ax = style.axes_or_new(ax)
    ax.set(xscale="log", yscale="log", xlabel="oracle calls", ylabel="test risk")
    _fit(ax, ds["budget"].values, ds["test_loss"], ds.get("reference_test_loss"))
    ends = _curves(ax, ds["test_loss"], "budget", family, by)
    _references(ax, ds)
    label_ends(ax, ends)
    _legend(ax, ds, family, by)
    return ax


@style.styled
def risk_against_ess(
    ds: xr.Dataset,
    ax: Axes | None = None,
    *,
    family: str | None = None,
    by: By = "family",
) -> Axes:
    """Draw the test risk against ESS/n, both at the end of the budget, along R.

    Parameters
    ----------
    ds : Dataset
        Holds ``ess`` and ``test_loss`` over (entry, ratio, seed, budget), and the attribute
        ``num_samples``; ``reference_test_loss`` over (reference, seed), if known, gives level
        lines.
    ax : Axes, optional
        None makes a new figure.
    family : str, optional
        The one in front.
    by : {"family", "method"}
        What a family is.

    Returns
    -------
    Axes
        A line joins the medians of an entry in the order of R.
    """
    ax = style.axes_or_new(ax)
    share, risk = _share(ds), ds["test_loss"].isel(budget=-1)
    ax.set(xscale="log", yscale="log", xlabel="ESS / n", ylabel="test risk")
    _fit(ax, share, risk, ds.get("reference_test_loss"))
    for name, look in looks(_names(ds), by).items():
        one, two = (
            field.sel(entry=name).transpose("ratio", "seed").values for field in (share, risk)
        )
        _draw(ax, one, two, look, name, family)
    _references(ax, ds)
    _legend(ax, ds, family, by)
    return ax


def variants_legend(figure: Figure, ds: xr.Dataset) -> None:
    """Put above a figure what the looks mean that are drawn by ``by="method"``.

    Parameters
    ----------
    figure : Figure
        In constrained layout; the references of its first axes are in the legend too.
    ds : Dataset
        Its entries.
    """
    found = {variant_of(name): look for name, look in looks(_names(ds), "method").items()}
    handles = [_handle(variant, look) for variant, look in found.items()]
    handles += [line for line in figure.axes[0].lines if line.get_gid() == _REFERENCE]
    handles.append(Line2D([], [], **_GREY | {"label": "all others"}))
    figure.legend(handles=handles, loc="outside upper left", ncols=7, fontsize=7.5)


def _curves(ax: Axes, field: xr.DataArray, dim: str, family: str | None, by: By) -> Ends:
    """Draw ``field (entry, dim, seed)`` against ``dim``; return where the curves want labels."""
    x, names = field[dim].values, _names(field)
    ends: Ends = {}
    for name, look in looks(names, by).items():
        values = field.sel(entry=name).transpose(dim, "seed").values
        if family is None and len(names) <= _MANY:
            ends |= _end(name, x, _median(values), look)
        _draw(ax, x[:, None], values, look, name, family)
    return ends


def _names(ds: xr.Dataset | xr.DataArray) -> list[str]:
    return [str(name) for name in ds["entry"].values]


def _text(name: str) -> str:
    return name.replace("_", " ")


def _share(ds: xr.Dataset) -> xr.DataArray:
    """Return ESS/n at the end of the budget."""
    return ds["ess"].isel(budget=-1) / int(ds.attrs["num_samples"])


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median over the seeds (last) that did not fail; NaN where all did."""
    middle = np.full(values.shape[:-1], np.nan)
    some = np.isfinite(values).any(axis=-1)
    middle[some] = np.nanmedian(values[some], axis=-1)
    return middle


def _draw(
    ax: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    look: Look,
    name: str,
    family: str | None,
) -> None:
    """Draw one entry: x and y are (points, seeds), x perhaps (points, 1)."""
    across, middle = _median(x), _median(y)
    if family is not None and look.family != family:
        _draw_behind(ax, across, middle)
        return
    if family is not None:
        wide = np.broadcast_to(x, y.shape)
        ax.plot(
            wide.ravel(), y.ravel(), look.marker, color=look.colour, alpha=0.25, mew=0, markersize=3
        )
    ax.plot(across, middle, linestyle=look.line, color=look.colour, zorder=3, label=_text(name))
    is_whole = np.isfinite(y).all(axis=-1)
    for chosen, face in ((is_whole, look.colour), (~is_whole, "white")):
        ax.plot(
            across[chosen], middle[chosen], look.marker, color=look.colour, mfc=face, zorder=4,
            markersize=3.5, mew=0.8,
        )  # fmt: skip


def _draw_behind(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Add a grey curve to the one line that holds all of them, with gaps: fast for hundreds."""
    found = [line for line in ax.lines if line.get_gid() == _OTHERS]
    line = found[0] if found else ax.plot([], [], gid=_OTHERS, **_GREY)[0]
    old_x, old_y = (np.asarray(a, dtype=float) for a in line.get_data())
    line.set_data(np.concatenate([old_x, x, [np.nan]]), np.concatenate([old_y, y, [np.nan]]))


def _end(name: str, x: NDArray[np.float64], middle: NDArray[np.float64], look: Look) -> Ends:
    """Return the last point of a curve under its label; nothing where it has none."""
    where = np.flatnonzero(np.isfinite(middle))
    if where.size == 0:
        return {}
    last = where[-1]
    return {_text(name): (float(x[last]), float(middle[last]), look.colour)}


def _fit(ax: Axes, x: Any, *fields: xr.DataArray | None) -> None:
    """Set the limits from all that is drawn, the same for every family."""
    for values, scale in ((np.asarray(x), ax.set_xlim), (_all(fields), ax.set_ylim)):
        good = values[np.isfinite(values) & (values > 0)]
        if good.size:
            margin = max((good.max() / good.min()) ** 0.05, 1.05)
            scale(good.min() / margin, good.max() * margin)


def _all(fields: tuple[xr.DataArray | None, ...]) -> NDArray[np.float64]:
    return np.concatenate([field.values.ravel() for field in fields if field is not None])


def _references(ax: Axes, ds: xr.Dataset) -> None:
    """Draw the median of each reference as a level line."""
    if "reference_test_loss" not in ds:
        return
    for name in map(str, ds["reference"].values):
        level = _median(ds["reference_test_loss"].sel(reference=name).values)
        label, line = _REFERENCES.get(name, (name, ":"))
        if np.isfinite(level):
            ax.axhline(
                float(level), color=style.COLOURS["grey"], linestyle=line, linewidth=0.9, zorder=2,
                label=label, gid=_REFERENCE,
            )  # fmt: skip


def _legend(ax: Axes, ds: xr.Dataset, family: str | None, by: By) -> None:
    """Put the legend above the axes: the members of a family, or the families and references."""
    if by == "method":
        ax.set_title(_text(family or ""), loc="left", fontsize=7.5)
        return
    shown = looks(_names(ds))
    if family is None:
        colours = {look.family: look.colour for look in shown.values()}
        handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
        handles += [line for line in ax.lines if line.get_gid() == _REFERENCE]
    else:
        members = {name: look for name, look in shown.items() if look.family == family}
        handles = [_handle(name, look) for name, look in members.items()]
    columns = 3 if family is None else 1 + len(handles) // 7
    ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=6.5, ncols=columns,
        title=family, title_fontsize=7.5, alignment="left", columnspacing=1.0, handlelength=2.6,
        borderaxespad=0.2, labelspacing=0.3, markerscale=0.8,
    )  # fmt: skip


def _handle(name: str, look: Look) -> Line2D:
    return Line2D(
        [], [], color=look.colour, linestyle=look.line, marker=look.marker, label=_text(name)
    )
