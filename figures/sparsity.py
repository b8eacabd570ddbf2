"""How many samples survive at frozen theta, and which: counts and the polytope of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from . import style
from .results import measured

__all__ = ["facet_hit", "support_counts"]


@style.styled
def support_counts(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw the number of samples that kept weight against p, over the runs of a study.

    Parameters
    ----------
    certificate : Certificate
        That of T5 (`theorems.verify_all`).
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
        Areas of the marks are proportional to the numbers of runs. Only settled runs are counted.
    """
    ax = style.axes_or_new(ax)
    runs = [run for run in measured(certificate, "T5")["runs"] if run["settled"]]
    looks = [
        ("no ridge", style.COLOURS["blue"], -0.14, lambda run: run["ridge"] == 0),
        ("ridge", style.COLOURS["vermillion"], 0.14, lambda run: run["ridge"] > 0),
    ]
    for label, colour, shift, chosen in looks:
        pairs = np.array([(run["p"], run["support"]) for run in runs if chosen(run)])
        if not len(pairs):
            continue
        cells, counts = np.unique(pairs, axis=0, return_counts=True)
        ax.scatter(
            cells[:, 0] + shift, cells[:, 1], s=120.0 * counts / counts.max() + 4.0, color=colour,
            label=f"{label} ({len(pairs)} runs)", zorder=3, linewidths=0,
        )  # fmt: skip
    largest = max(run["p"] for run in runs)
    line = np.array([0.5, largest + 0.5])
    ax.plot(line, line, label="bound: p", **style.STYLES["guide"])
    ax.set(xlim=(0.4, largest + 0.6), ylim=(0.4, largest + 0.9))
    ax.set_xticks(range(1, largest + 1))
    ax.set_yticks(range(1, largest + 1))
    ax.set(xlabel="parameters p", ylabel="samples with weight")
    legend = ax.legend(loc="upper left")
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([24.0])
    return ax


@style.styled
def facet_hit(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw the gradients of the samples, their convex hull, and the facet that grad F hits.

    Parameters
    ----------
    certificate : Certificate
        That of T5b, whose data hold an example with p = 2 and ridge 0.
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
        The samples at the ends of the facet keep all the weight; its outer normal is the adjoint.
    """
    ax = style.axes_or_new(ax)
    data = measured(certificate, "T5b")["polytope"]
    gradients, kept = np.asarray(data["gradients"]), np.asarray(data["support"])
    grad_val, weights = np.asarray(data["grad_val"]), np.asarray(data["weights"])
    hull, nu = gradients[np.asarray(data["hull"])], np.asarray(data["nu"])
    ax.fill(*hull.T, color=style.COLOURS["sky"], alpha=0.2, linewidth=0)
    ax.plot(*np.vstack([hull, hull[:1]]).T, color=style.COLOURS["sky"], linewidth=0.9)
    ax.plot(*gradients.T, ".", color=style.COLOURS["grey"], label="gradients of the samples")
    ax.plot(*gradients[kept].T, color=style.COLOURS["vermillion"], linewidth=2.2, label="facet hit")
    hit = grad_val / (grad_val @ nu)
    ax.plot(0, 0, "+", color=style.COLOURS["black"], markersize=7)
    ax.annotate(
        "", 1.55 * hit, (0.0, 0.0),
        arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    ax.plot([], [], color=style.COLOURS["black"], label="ray along the gradient of F")
    for point, weight in zip(gradients[kept], weights, strict=True):
        ax.annotate(
            f"w = {weight:.2f}", point, xytext=tuple(11.0 * nu / np.linalg.norm(nu)),
            textcoords="offset points", ha="center", va="center", fontsize=7.5,
        )  # fmt: skip
    ax.margins(0.25)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xlabel="first component of a gradient", ylabel="second component")
    ax.legend(loc="best")
    return ax
