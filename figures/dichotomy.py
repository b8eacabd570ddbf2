"""Solved and trapped rest points in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from . import style
from .results import measured

__all__ = ["solved_and_trapped"]

FLOOR = 1e-12
"""Smallest |grad F| that is drawn; zero stands there."""
SPREAD = 0.13
"""Vertical distance at which points with equal counts are fanned out."""

LOOKS: dict[str, dict[str, Any]] = {
    "solved": {"color": style.COLOURS["blue"], "marker": "o"},
    "trapped": {"color": style.COLOURS["vermillion"], "marker": "^"},
    "vertices": {"color": style.COLOURS["green"], "marker": "s"},
    "saddles": {"color": style.COLOURS["black"], "marker": "x"},
}
LABELS = {
    "solved": "limit of the flow, solved", "trapped": "limit of the flow, trapped",
    "vertices": "vertex of solved weights", "saddles": "trapped saddle",
}  # fmt: skip


@style.styled
def solved_and_trapped(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw rest points of the warm-started flow: how many samples they keep, and grad F there.

    Limits of the flow fall into two classes (theory T6): solved ones, with as many nonzeros as you
    like, and trapped ones, with at most p. Vertices of the polytope of solved weights have at most
    p + 1; trapped points with more than p are saddles, which no orbit ends at.

    Parameters
    ----------
    certificate : Certificate
        That of T6 (``theorems.statement("T6")()``).
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
    """
    data = measured(certificate, "T6")
    ax = style.axes_or_new(ax)
    orbits = [row for row in data["orbits"] if row["settled"]]
    groups = {name: [row for row in orbits if row["outcome"] == name] for name in LABELS}
    groups["vertices"] = list(data["vertices"])
    groups["saddles"] = list(data["saddles"])
    for name, rows in groups.items():
        if rows:
            x, y = _coordinates(rows)
            ax.plot(x, y, linestyle="none", label=LABELS[name], markersize=3.8,
                    markerfacecolor="none", **LOOKS[name])  # fmt: skip
    for level, text in ((0, "$p$"), (1, "$p + 1$")):
        ax.axhline(level, zorder=0, **style.STYLES["guide"])
        ax.annotate(text, (1.0, level), xycoords=("axes fraction", "data"), ha="left", va="center",
                    xytext=(2, 0), textcoords="offset points", fontsize=7)  # fmt: skip
    ax.set(xscale="log", xlabel=r"$|\nabla F(\theta)|$ at rest", ylabel=r"nonzeros $- p$")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(ax.get_ylim()[0] - 0.3, ax.get_ylim()[1] + 0.3)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.28), ncols=2, columnspacing=1.0,
              handletextpad=0.2)  # fmt: skip
    return ax


def _coordinates(rows: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return |grad F| above the floor and nonzeros - p, equal counts fanned out."""
    x = np.maximum([row.get("grad_norm", 0.0) for row in rows], FLOOR)
    y = np.array([row["nonzeros"] - row["p"] for row in rows], dtype=float)
    for level in np.unique(y):
        same = np.flatnonzero(y == level)
        y[same] += SPREAD * ((np.arange(same.size) % 3) - min(1, same.size // 2))
    return x, y
