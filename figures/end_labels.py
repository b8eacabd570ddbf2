"""Labels at the right end of curves, spread so that none covers another."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

__all__ = ["Ends", "label_ends", "spread"]

Ends: TypeAlias = dict[str, tuple[float, float, str]]
"""By label: x and y of the end of a curve, in data, and its colour."""


def spread(positions: ArrayLike, gap: float, low: float = 0.0, high: float = 1.0) -> NDArray:
    """Return the nearest positions (in squares) that lie in [low, high] and `gap` apart.

    Parameters
    ----------
    positions : (m,)
        In any order, which is kept.
    gap : float
        Smaller where m positions do not fit.
    """
    wanted = np.asarray(positions, dtype=np.float64)
    count = wanted.size
    if count == 0:
        return wanted
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(count)
    free = isotonic_regression(wanted[order] - steps).x
    found = np.empty(count)
    found[order] = np.clip(free, low, high - steps[-1]) + steps
    return found


def label_ends(ax: Axes, ends: Ends, size: float = 6.5) -> None:
    """Write each label right of the axes, joined to the end of its curve.

    Parameters
    ----------
    ax : Axes
        With its final limits: labels do not move with them.
    ends : dict
        The curves.
    size : float
        Of the text, in points.
    """
    height = 72 * ax.bbox.transformed(ax.figure.dpi_scale_trans.inverted()).height
    to_axes = ax.transData + ax.transAxes.inverted()
    points = {
        label: tuple(np.clip(to_axes.transform((x, y)), -0.02, 1.02))
        for label, (x, y, _) in ends.items()
    }
    rows = spread([y for _, y in points.values()], 1.25 * size / height)
    for (label, point), row in zip(points.items(), rows, strict=True):
        colour = ends[label][2]
        ax.annotate(
            label, point, xytext=(1.06, row), xycoords="axes fraction",
            textcoords="axes fraction", fontsize=size, color=colour, va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.7,
                "shrinkA": 1, "shrinkB": 2, "relpos": (0.0, 0.5),
            },
        )  # fmt: skip
