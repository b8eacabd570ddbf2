"""The principle: samples in the plane, their learnt weights as marker area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from . import style
from .results import Result, weights_at_end

__all__ = ["principle", "weighted_samples"]

_AREA = 5.0  # points^2 of a sample with the uniform weight 1/n
_GROUPS = (("clean", "target cluster"), ("other", "other cluster"))


@style.styled
def weighted_samples(
    X: ArrayLike, weights: Result | ArrayLike, clean: ArrayLike, ax: Axes | None = None
) -> Axes:
    """Draw samples in the plane with an area proportional to their weight.

    Parameters
    ----------
    X : (n, p >= 2)
        Samples; the first two coordinates are drawn.
    weights : Trajectory, Dataset or (n,)
        Weights on the simplex; of a trajectory, the final ones.
    clean : (n,) of bool
        True for samples of the target law.
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
    """
    points = np.asarray(X, dtype=np.float64)
    mask = np.asarray(clean, dtype=np.bool_)
    w = weights_at_end(weights)
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(f"`X` must have shape (n, p) with p at least 2; got {points.shape}.")
    if mask.shape != (len(points),) or w.shape != (len(points),):
        raise ValueError(
            f"`weights` and `clean` must have shape ({len(points)},); got {w.shape}, {mask.shape}."
        )
    ax = style.axes_or_new(ax)
    ax.scatter(points[:, 0], points[:, 1], s=2, color="0.75", linewidths=0, zorder=1)
    for (role, _), group in zip(_GROUPS, (mask, ~mask), strict=True):
        ax.scatter(
            points[group, 0], points[group, 1], s=_AREA * len(w) * w[group], alpha=0.6,
            color=style.STYLES[role]["color"], linewidths=0, zorder=3 if role == "clean" else 2,
        )  # fmt: skip
    ax.set(xlabel="$x_1$", ylabel="$x_2$")
    ax.margins(0.12)
    ax.set_aspect("equal", adjustable="box")
    return ax


@style.styled
def principle(
    X: ArrayLike,
    clean: ArrayLike,
    weights: Mapping[str, Result | ArrayLike],
    axes: Sequence[Axes] | None = None,
) -> NDArray[Any]:
    """Draw several learnt weightings of the same samples side by side.

    Parameters
    ----------
    X : (n, p >= 2)
        Samples; the first two coordinates are drawn.
    clean : (n,) of bool
        True for samples of the target law.
    weights : mapping of str to Trajectory, Dataset or (n,)
        Title of each panel and its weights.
    axes : sequence of Axes, optional
        One for each entry of `weights`; None makes a new figure two columns wide.

    Returns
    -------
    array of Axes
    """
    if axes is None:
        import matplotlib.pyplot as plt

        panels = plt.subplots(
            1, len(weights), figsize=style.DOUBLE, sharex=True, sharey=True, squeeze=False
        )[1][0]
    else:
        panels = np.asarray(axes, dtype=object)
    if len(panels) != len(weights):
        raise ValueError(f"`axes` must hold {len(weights)} axes; got {len(panels)}.")
    for ax, (title, entry) in zip(panels, weights.items(), strict=True):
        weighted_samples(X, entry, clean, ax)
        ax.set_title(title)
    for ax in panels[1:]:
        ax.set_ylabel("")
    figure = panels[0].figure
    if isinstance(figure, Figure):
        _legend(figure, len(np.asarray(clean)))
    return panels


def _legend(figure: Figure, num_samples: int) -> None:
    handles = [
        Line2D([], [], color=style.STYLES[role]["color"], marker="o", linestyle="", label=label)
        for role, label in _GROUPS
    ]
    for weight in (1 / num_samples, 0.02, 0.2):
        label = "w = 1/n" if weight == 1 / num_samples else f"w = {weight:g}"
        handles.append(
            Line2D([], [], color="0.6", marker="o", linestyle="", label=label, markeredgewidth=0,
                   markersize=(_AREA * num_samples * weight) ** 0.5)
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside right center", labelspacing=1.3, handletextpad=1.0)
