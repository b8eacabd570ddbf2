"""Flows on the simplex of three samples, in ternary axes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from . import style

__all__ = ["simplex_portrait"]

KINDS = {
    "attracting": {"marker": "o", "color": style.COLOURS["vermillion"]},
    "saddle": {"marker": "D", "color": style.COLOURS["orange"]},
    "repelling": {"marker": "o", "color": "white"},
}
"""Looks of rest points; an open circle repels."""


@style.styled
def simplex_portrait(portrait: Any, ax: Axes | None = None) -> Axes:
    """Draw orbits on the triangle of three weights, and its rest points with their stability.

    Parameters
    ----------
    portrait : Portrait
        From `analysis.rest_points.frozen_portrait`.
    ax : Axes, optional
        Ternary axes (``projection="ternary"`` after ``import mpltern``); None makes a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        When ``ax`` is not ternary.
    """
    ax = _ternary(ax)
    field: Any = ax  # Matplotlib does not know the methods that mpltern adds.
    weights, velocity = np.asarray(portrait.weights), np.asarray(portrait.velocity)
    speed = np.linalg.norm(velocity, axis=1, keepdims=True)
    arrows = velocity / np.where(speed > 0, speed, 1.0)
    field.quiver(*weights.T, *arrows.T, color=style.COLOURS["grey"], scale=24, width=0.0045,
                 headwidth=4.5, pivot="mid")  # fmt: skip
    for number, orbit in enumerate(portrait.orbits):
        field.plot(*np.asarray(orbit).T, color=style.COLOURS["blue"], linewidth=0.9,
                   label="orbits" if number == 0 else None)  # fmt: skip
    points, kinds = np.asarray(portrait.rest_points), np.array(portrait.kinds)
    for kind, look in KINDS.items():
        chosen = points[kinds == kind]
        if len(chosen):
            field.scatter(*chosen.T, label=kind, s=38, edgecolors="black", linewidths=0.9,
                          zorder=6, clip_on=False, **look)  # fmt: skip
    field.set_tlabel("weight of sample 1")
    field.set_llabel("weight of sample 2")
    field.set_rlabel("weight of sample 3")
    field.legend(loc="upper left", bbox_to_anchor=(0.83, 1.02))
    return ax


def _ternary(ax: Axes | None) -> Axes:
    """Return ternary axes: ``ax``, or those of a new figure."""
    if ax is None:
        import matplotlib.pyplot as plt

        import_module("mpltern")  # registers the projection

        figure = plt.figure(figsize=(4.4, 3.3))
        return figure.add_subplot(projection="ternary")
    if not hasattr(ax, "set_tlabel"):
        raise ValueError('`ax` must have projection="ternary" (import mpltern first).')
    return ax
