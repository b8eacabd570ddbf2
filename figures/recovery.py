"""How fast the warm-started flow approaches the exact one."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from . import style
from .results import measured

__all__ = ["recovery_error", "slow_manifold"]


@style.styled
def recovery_error(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw the error of the weights against beta/alpha, as certificate T3 measured it.

    Parameters
    ----------
    certificate : Certificate
        Of statement T3.
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
    """
    data = measured(certificate, "T3")
    ax = style.axes_or_new(ax)
    ratios = np.asarray(data["ratios"])
    on, off = r"$\theta(0) = \theta^\star$", r"$\theta(0)$ off $\theta^\star$"
    _pairs(ax, ratios, data["errors"], data["layers"], (f": {on}", f": {off}"))
    ax.plot(
        ratios, data["rank deficient"], "^-", color=style.COLOURS["black"],
        label=f"no strong convexity, {off}",
    )  # fmt: skip
    first = np.asarray(next(iter(data["errors"].values())))
    ax.plot(ratios, 0.4 * first[0] * ratios / ratios[0], label="slope 1", **style.STYLES["guide"])
    return _labelled(ax, r"$\sup_t\,|w - w_{\mathrm{exact}}|_1$")


@style.styled
def slow_manifold(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw the lag of theta against beta/alpha with and without its leading term removed (T3b).

    Parameters
    ----------
    certificate : Certificate
        Of statement T3b.
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
    """
    data = measured(certificate, "T3b")
    ax = style.axes_or_new(ax)
    ratios = np.asarray(data["ratios"])
    _pairs(ax, ratios, data["raw"], data["removed"], ("", ", leading term removed"))
    return _labelled(ax, r"$\sup_t\,|\theta - \theta^\star(w)|$")


def _labelled(ax: Axes, ylabel: str) -> Axes:
    """Finish axes over the ratio of speeds, both logarithmic."""
    ax.set(xscale="log", yscale="log", xlabel=r"ratio of speeds $\beta/\alpha$", ylabel=ylabel)
    ax.legend(loc="lower right", fontsize=6.5)
    return ax


def _pairs(
    ax: Axes,
    x: NDArray[np.float64],
    solid: dict[str, Any],
    dashed: dict[str, Any],
    endings: tuple[str, str],
) -> None:
    """Draw two curves for each problem: the first two with names, all others in grey."""
    for number, name in enumerate(solid):
        named = number < 2
        colour = style.CYCLE[number] if named else style.COLOURS["grey"]
        label = name if named else "others"
        shown = number <= 2
        ax.plot(
            x, solid[name], "o-", color=colour, zorder=2 if named else 1,
            label=label + endings[0] if shown else None,
        )  # fmt: skip
        ax.plot(
            x, dashed[name], "s--", color=colour, markerfacecolor="white",
            zorder=2 if named else 1, label=label + endings[1] if shown else None,
        )  # fmt: skip
