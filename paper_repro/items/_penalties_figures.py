"""The figures of the items on penalties."""

from __future__ import annotations

import xarray as xr

from ... import figures
from ..item import Drawing

__all__ = ["TITLES", "against_ratio", "limit"]

TITLES = {
    "toy": "the two-cluster toy (least squares)",
    "digits": "cleaning of digits (softmax regression)",
    "net": "cleaning of digits (multilayer perceptron)",
}
_ROWS = {"entropy": "entropy", "l2": "l2", "implicit": "entropy, implicit"}
_COLUMNS = {
    "ess": "effective sample size",
    "support": "weights above $10^{-6}$",
    "clean_mass": "mass on clean samples",
    "test_loss": r"test risk of $\theta$",
    "test_loss_solved": r"test risk, retrained on $w$",
}
_LOGARITHMIC = ("ess", "support", "test_loss", "test_loss_solved")


def against_ratio(summary: xr.Dataset, title: str) -> Drawing:
    """Observables against R: a row for each penalty, a colour for each strength."""
    figure = figures.style.new_figure((9.6, 5.4))
    axes = figure.subplots(len(_ROWS), len(_COLUMNS), sharex=True, sharey="col")
    names = [str(name) for name in summary["case"].values]
    for row, (kind, words) in zip(axes, _ROWS.items(), strict=True):
        chosen = ["none", *(name for name in names if name.startswith(f"{kind} "))]
        colours = [*figures.style.sequence(len(chosen) - 1)[::-1], figures.style.COLOURS["black"]]
        for ax, (quantity, ylabel) in zip(row, _COLUMNS.items(), strict=True):
            for colour, name in zip(colours, reversed(chosen), strict=True):
                figures.rates_curve(
                    _finite(summary.sel(case=name), quantity), quantity, ax, rate="ratio",
                    xlabel="ratio of speeds $R$" if kind == "implicit" else "", ylabel=ylabel,
                    label=name.split()[-1], colour=colour, log=quantity in _LOGARITHMIC,
                )  # fmt: skip
        row[0].set_ylabel(f"{words}\n{_COLUMNS['ess']}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], title="strength / sd(Psi)", loc="outside upper center",
        ncols=len(labels),
    )  # fmt: skip
    caption = (
        f"Penalties on the weights, {title}: state after a fixed number of steps (mirror steps on "
        "the simplex) against the ratio R of the speeds of w and theta. Rows: entropy and l2 with "
        "explicit steps, entropy with implicit steps; black: no penalty. Dots are draws, lines "
        "their mean; runs that broke are left out."
    )
    return Drawing(figure=figure, caption=caption, tables={"observables": summary})


def _finite(summary: xr.Dataset, quantity: str) -> xr.Dataset:
    """Leave out runs that broke, whose last good state says nothing."""
    return summary[[quantity]].where(summary["status"] <= 1)


def limit(distances: xr.Dataset) -> Drawing:
    """Distance from the solved weights of largest entropy against tau."""
    figure = figures.style.new_figure()
    ax = figure.subplots()
    figures.rates_curve(
        distances, "distance", ax, rate="tau", xlabel=r"entropy penalty $\tau$", log=True,
        ylabel=r"$|w - w_{\mathrm{max.\,entropy}}|_1$", label="rest points",
    )  # fmt: skip
    tau = distances["tau"].values
    first = float(distances["distance"].mean("seed").isel(tau=0))
    ax.plot(tau, first * tau / tau[0], **figures.style.STYLES["guide"], label=r"order $\tau$")
    ax.set_xticks(tau, [f"{value:g}" for value in tau])
    ax.set_xticks([], minor=True)
    ax.legend()
    caption = (
        "Distance between the rest point with an entropy penalty tau and the solved weights of "
        "largest entropy, two-cluster toy. Dots are draws."
    )
    return Drawing(figure=figure, caption=caption, tables={"distance": distances})
