"""Against time: single weights, and observables of several runs with the exact flow overlaid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from . import style
from .results import Result, as_dataset, time_axis

__all__ = ["observable_over_time", "weights_over_time"]

_MAX_LINES = 200


@style.styled
def weights_over_time(
    traj: Result,
    ax: Axes | None = None,
    *,
    clean: ArrayLike | None = None,
    floor: float = 1e-12,
    labels: tuple[str, str] = ("target cluster", "other cluster"),
) -> Axes:
    """Draw each sample's weight against time on a logarithmic axis.

    Parameters
    ----------
    traj : Trajectory or Dataset
        With ``w`` over (time | step, sample). Of more than 200 samples, 200 are drawn, evenly
        spaced in the order of their final weights, the largest among them.
    ax : Axes, optional
        None makes a new figure.
    clean : (n,) of bool, optional
        Colours the samples of the target law and the others apart.
    floor : float
        The axis ends here, or below the smallest weight where that is larger.
    labels : (str, str)
        Legend for clean samples and for the others.

    Returns
    -------
    Axes
    """
    ds = as_dataset(traj)
    time, label = time_axis(ds)
    w = np.asarray(ds["w"].transpose(time, "sample").values, dtype=np.float64)
    if not 0 < floor < 1:
        raise ValueError(f"`floor` must lie between 0 and 1; got {floor}.")
    ax = style.axes_or_new(ax)
    chosen = _spread(w[-1])
    mask = None if clean is None else _mask(clean, w.shape[1])[chosen]
    t = ds[time].values.astype(np.float64)
    _draw_lines(ax, t, np.maximum(w[:, chosen], floor * 1e-6), mask, labels)
    ax.axhline(1 / w.shape[1], **style.STYLES["guide"], zorder=3)
    ax.annotate(
        "1/n", (1, 1 / w.shape[1]), xycoords=("axes fraction", "data"), xytext=(2, 0),
        textcoords="offset points", va="center", fontsize=7,
    )  # fmt: skip
    ax.set_ylim(max(floor, 0.3 * float(w[:, chosen].min())), 2)
    ax.set(xlabel=label, ylabel="weight of a sample", yscale="log")
    if t[-1] > t[0]:
        ax.set_xlim(t[0], t[-1])
    return ax


@style.styled
def observable_over_time(
    runs: Mapping[str, Result],
    quantity: str,
    ax: Axes | None = None,
    *,
    exact: str | None = None,
    label: str | None = None,
    log: bool | None = None,
) -> Axes:
    """Draw one observable of several runs against time.

    Parameters
    ----------
    runs : mapping of str to Trajectory or Dataset
        Legend entries and results that hold `quantity` over time or step, in the order of a
        parameter: the colours run from dark to light.
    quantity : str
        Name of the variable.
    ax : Axes, optional
        None makes a new figure.
    exact : str, optional
        The entry of `runs` to draw on top, dashed and black.
    label : str, optional
        Label of the vertical axis; default is the name of the variable.
    log : bool, optional
        Logarithmic vertical axis; by default where the values span more than a decade.

    Returns
    -------
    Axes
    """
    if exact is not None and exact not in runs:
        raise ValueError(f"`exact` must name one of `runs`; got {exact!r}.")
    ax = style.axes_or_new(ax)
    others = [name for name in runs if name != exact]
    colours = dict(zip(others, style.sequence(len(others)), strict=True))
    for name, result in runs.items():
        ds = as_dataset(result)
        time, xlabel = time_axis(ds)
        look = style.STYLES["exact"] if name == exact else {"color": colours[name]}
        ax.plot(ds[time], ds[quantity], label=name, zorder=4 if name == exact else 3, **look)
        ax.set_xlabel(xlabel)
    ax.set_ylabel(label or quantity)
    if _spans_decade(runs, quantity) if log is None else log:
        ax.set_yscale("log")
    return ax


def _spans_decade(runs: Mapping[str, Result], quantity: str) -> bool:
    values = np.concatenate([np.ravel(as_dataset(run)[quantity]) for run in runs.values()])
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 10 * finite.min())


def _spread(final: NDArray[np.float64]) -> NDArray[np.intp]:
    order = np.argsort(final)[::-1]
    if order.size <= _MAX_LINES:
        return order
    return order[np.unique(np.linspace(0, order.size - 1, _MAX_LINES).round().astype(int))]


def _mask(clean: ArrayLike, num_samples: int) -> NDArray[np.bool_]:
    mask = np.asarray(clean, dtype=np.bool_)
    if mask.shape != (num_samples,):
        raise ValueError(f"`clean` must have shape ({num_samples},); got {mask.shape}.")
    return mask


def _draw_lines(
    ax: Axes,
    t: NDArray[np.float64],
    w: NDArray[np.float64],
    mask: NDArray[np.bool_] | None,
    labels: tuple[str, str],
) -> None:
    # The others first, so that the clean samples lie on top.
    groups: list[tuple[Any, str, str]] = [(slice(None), "clean", "samples")]
    if mask is not None:
        groups = [(~mask, "other", labels[1]), (mask, "clean", labels[0])]
    handles = []
    for group, role, label in groups:
        colour = style.STYLES[role]["color"]
        lines = [np.column_stack([t, column]) for column in w[:, group].T]
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=0.6, alpha=0.5))
        handles.append(Line2D([], [], color=colour, label=label))
    if mask is not None:
        ax.legend(
            handles=handles[::-1], loc="lower left", bbox_to_anchor=(0, 1), ncols=2,
            borderaxespad=0.2,
        )  # fmt: skip
