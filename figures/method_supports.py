"""How many samples every method keeps with fast weights, against the bound of its kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from . import style
from .results import measured

__all__ = ["supports_by_method"]


@style.styled
def supports_by_method(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw the supports of all methods at held theta, and the bounds that they obey.

    Parameters
    ----------
    certificate : Certificate
        That of M1 (`theorems.verify_all`).
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
        One row for each method, one line in it for each number of parameters. Every run is a mark:
        filled at a rest point, open where the method is solved (its field vanishes, and no bound
        holds). Areas are proportional to the numbers of runs; ticks are the bounds.
    """
    ax = style.axes_or_new(ax)
    data = measured(certificate, "M1")
    rows = [*data["runs"], *({**row, "kind": "start"} for row in data["unbounded"])]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    sizes = sorted({row["p"] for row in rows})
    for k, (p, colour) in enumerate(zip(sizes, style.CYCLE, strict=False)):
        shift = 0.7 * ((k + 0.5) / len(sizes) - 0.5)
        for y, label in enumerate(labels):
            chosen = [row for row in rows if row["label"] == label and row["p"] == p]
            _row(ax, chosen, y + shift, colour)
        ax.plot([], [], "o", color=colour, label=f"p = {p}")
    black = style.COLOURS["black"]
    ax.plot([], [], "o", markerfacecolor="none", color=black, label="solved")
    ax.plot([], [], "|", color=black, markersize=7, markeredgewidth=1.6, label="bound")
    for y in range(1, len(labels)):
        ax.axhline(y - 0.5, **style.STYLES["guide"])
    ax.set_yticks(range(len(labels)), labels)
    ax.set(ylim=(len(labels) - 0.4, -0.6), xlabel="samples with weight")
    ax.set_xscale("log", base=2)
    n = data["num_samples"]
    ticks = [*(x for x in (1, 2, 3, 4, 6, 9, 14) if x < 0.8 * n), n]
    ax.set_xticks(ticks, [str(x) for x in ticks])
    ax.set_xlim(0.85, 1.15 * n)
    ax.minorticks_off()
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(sizes) + 2)
    return ax


def _row(ax: Axes, chosen: list[dict[str, Any]], y: float, colour: str) -> None:
    """Draw the runs of one method with one p."""
    for is_solved in (False, True):
        found = [row["support"] for row in chosen if (row["kind"] == "solved") == is_solved]
        values, counts = np.unique(np.array(found, dtype=int), return_counts=True)
        ax.scatter(
            values, np.full(values.size, y), s=8.0 + 4.0 * counts,
            facecolors="none" if is_solved else colour, edgecolors=colour, linewidths=0.8, zorder=3,
        )  # fmt: skip
    if chosen and "bound" in chosen[0]:
        ax.plot(chosen[0]["bound"], y, "|", color=colour, markersize=10, markeredgewidth=1.4)
