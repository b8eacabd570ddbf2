"""Stability of rest points and of the algorithm, as certificates of the theory record it."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from . import style
from .results import measured

__all__ = ["euler_order", "hopf_branches", "spectra_plane", "stability_regions"]

_KINDS = {
    "solved": ("solved, dense", "o", "blue"),
    "vertex": ("solved, sparse", "s", "sky"),
    "trapped": ("trapped", "^", "vermillion"),
    "frozen": (r"frozen $\theta$", "D", "green"),
}
_ORDERS = {
    "simultaneous": "simultaneous",
    "theta_first": r"$\theta$ first",
    "w_first": r"$w$ first",
}
_LEVELS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.2, 1.5, 2.0, 4.0)


@style.styled
def spectra_plane(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw spectra of the warm-started flow at rest points of every kind in the complex plane.

    Parameters
    ----------
    certificate : Certificate
        Of T7. Open symbols are eigenvalues of the analytic Jacobian, crosses those of differences.
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
    """
    points = measured(certificate, "T7")["points"]
    ax = style.axes_or_new(ax)
    for kind, (label, marker, colour) in _KINDS.items():
        mu, seen = np.asarray(points[kind]["analytic"]), np.asarray(points[kind]["measured"])
        ax.scatter(mu.real, mu.imag, s=34, marker=marker, facecolor="none", linewidth=1.1,
                   edgecolor=style.COLOURS[colour], label=label)  # fmt: skip
        ax.scatter(seen.real, seen.imag, s=9, marker="x", color=style.COLOURS["black"],
                   linewidth=0.7)  # fmt: skip
    ax.scatter([], [], s=9, marker="x", color=style.COLOURS["black"], label="differences")
    ax.axvline(0.0, **style.STYLES["guide"])
    ax.set_xscale("symlog", linthresh=0.1, linscale=0.7)
    low, high = ax.get_xlim()
    ticks = [sign * 10.0**k for sign in (-1, 1) for k in range(0, 12, 2)]
    ax.set_xticks([0.0, *(tick for tick in ticks if low < tick < high)], minor=False)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(r"Re $\mu$ (1/time)")
    ax.set_ylabel(r"Im $\mu$ (1/time)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1.0)
    return ax


@style.styled
def hopf_branches(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw the eigenvalues of a solved point as beta/alpha grows through its Hopf ratio.

    Parameters
    ----------
    certificate : Certificate
        Of T7b.
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
    """
    branch = measured(certificate, "T7b")["branches"]
    ax = style.axes_or_new(ax)
    ratios, mu = np.asarray(branch["ratios"]), np.asarray(branch["spectra"])
    scaled = mu / np.abs(mu)
    for k in range(mu.shape[1]):
        real = np.abs(mu[:, k].imag) < 1e-9 * np.abs(mu[:, k])
        for mask, colour, marker in ((real, "green", "."), (~real, "blue", "o")):
            ax.plot(ratios[mask], scaled[mask, k].real, marker, color=style.COLOURS[colour],
                    markersize=2)  # fmt: skip
    ax.axhline(0.0, **style.STYLES["guide"])
    ax.axvline(branch["hopf"], color=style.COLOURS["vermillion"], linestyle="--")
    ax.set_xscale("log")
    ax.set_xlabel(r"$\beta/\alpha$")
    ax.set_ylabel(r"Re $\mu\,/\,|\mu|$")
    handles = [
        Line2D([], [], color=style.COLOURS["blue"], marker="o", linestyle="", label="complex pair"),
        Line2D([], [], color=style.COLOURS["green"], marker=".", linestyle="", label="real"),
        Line2D([], [], color=style.COLOURS["vermillion"], linestyle="--", label="Hopf ratio"),
    ]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


@style.styled
def stability_regions(
    certificate: Any, ax: Axes | None = None, *, order: str = "simultaneous"
) -> Axes:
    """Draw spectral radius, theory's limits and outcomes of runs over the two learning rates.

    Parameters
    ----------
    certificate : Certificate
        Of T7c: one solved point with p = 1.
    ax : Axes, optional
        None makes a new figure.
    order : {"simultaneous", "theta_first", "w_first"}
        Which of the updates sees the other.

    Returns
    -------
    Axes
    """
    if order not in _ORDERS:
        raise ValueError(f"`order` must be one of {', '.join(_ORDERS)}; got {order!r}.")
    data = measured(certificate, "T7c")["regions"]
    rows = data[order]
    ax = style.axes_or_new(ax)
    x, y = np.asarray(data["rho_h"]), np.asarray(data["eta_kappa"])
    colours = mpl.colormaps["PuOr_r"]
    mesh = ax.pcolormesh(
        x, y, np.asarray(rows["radius"]).T, cmap=colours,
        norm=BoundaryNorm(_LEVELS, colours.N, extend="max"), shading="nearest", rasterized=True,
    )  # fmt: skip
    low, high = np.asarray(rows["limits"]).T
    stable = high > low
    black = style.COLOURS["black"]
    ax.plot(x[stable], high[stable], "-", color=black)
    ax.plot(x[stable], low[stable], "-", color=black)
    decays = np.asarray(rows["decays"], dtype=bool)
    grid = np.meshgrid(data["run_rho_h"], data["run_eta_kappa"], indexing="ij")
    ax.plot(grid[0][decays], grid[1][decays], "o", mfc="white", mec=black, mew=0.8)
    ax.plot(grid[0][~decays], grid[1][~decays], "x", color=black, mew=0.9)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.set_xlabel(r"inner step $\rho H$")
    ax.set_ylabel(r"outer step $\eta\kappa$")
    bar = ax.figure.colorbar(mesh, ax=ax, ticks=(0.5, 0.8, 1.0, 1.2, 2.0))
    bar.set_label("spectral radius of one step")
    handles = [
        Line2D([], [], color=black, label="theory"),
        Line2D([], [], color=black, marker="o", mfc="white", linestyle="", label="run decays"),
        Line2D([], [], color=black, marker="x", linestyle="", label="run grows"),
    ]
    ax.legend(
        handles=handles, title=_ORDERS[order], loc="lower left", bbox_to_anchor=(0, 1), ncols=3,
        columnspacing=0.8, handletextpad=0.3,
    )  # fmt: skip
    return ax


@style.styled
def euler_order(certificate: Any, ax: Axes | None = None) -> Axes:
    """Draw the error of the algorithm at a fixed time against the length of its steps.

    Parameters
    ----------
    certificate : Certificate
        Of T2.
    ax : Axes, optional
        None makes a new figure.

    Returns
    -------
    Axes
    """
    studies = measured(certificate, "T2")["studies"]
    ax = style.axes_or_new(ax)
    markers = {"uniform": "o", "random": "s"}
    colours = {"LeastSquares": "blue", "SoftmaxRegression": "vermillion"}
    names = {"LeastSquares": "ridge", "SoftmaxRegression": "softmax"}
    seen = set()
    for row in studies:
        key = (row["name"], row["start"])
        label = None if key in seen else f"{names[key[0]]}, {key[1]} $w(0)$"
        seen.add(key)
        colour = style.COLOURS[colours[key[0]]]
        ax.plot(row["dt"], row["error"], marker=markers[key[1]], color=colour, mfc="none",
                label=label)  # fmt: skip
    dt, error = np.asarray(studies[0]["dt"]), np.asarray(studies[0]["error"])
    ax.plot(dt, 0.4 * error[-1] * dt / dt[-1], **style.STYLES["guide"], label="slope 1")
    ax.set(xscale="log", yscale="log", xlabel=r"step $dt$ (time)")
    ax.set_ylabel(r"$|(\theta, w) - (\theta, w)_{\mathrm{ODE}}|$ at $t = 1$")
    ax.legend()
    return ax
