"""The figure of the mitigations: one quantity against R, a panel for each of them."""

from __future__ import annotations

import xarray as xr

from ... import figures
from ..item import Drawing

__all__ = ["against_ratio"]

_WORDS = {
    "ess": "ESS/n", "risk": r"risk of $\theta$", "risk_star": r"risk of $\theta^\star(w)$",
}  # fmt: skip


def against_ratio(ds: xr.Dataset, quantity: str, name: str, worst: float) -> Drawing:
    """Draw each mitigation in front of the plain methods."""
    scale = ds.attrs["num_samples"] if quantity == "ess" else 1.0
    field = (ds[quantity] / scale).rename(quantity)
    kinds = [str(kind) for kind in ds["mitigation"].values if kind != "none"]
    figure = figures.style.new_figure((7.4, 4.2))
    axes = figure.subplots(2, -(-len(kinds) // 2), sharex=True, sharey=True)
    for k, (ax, kind) in enumerate(zip(axes.ravel(), kinds, strict=True)):
        figures.beside_plain(
            field.sel(mitigation=kind, drop=True), field.sel(mitigation="none", drop=True), ax
        )
        ax.set_title(kind.replace("_", " "))
        ax.set_ylabel(_WORDS[quantity] if k % axes.shape[1] == 0 else "")
        ax.set_xlabel("$R$" if k >= axes.shape[1] else "")
    figures.style.legend_above(figure, list(axes.ravel()), columns=6)
    unit = "" if quantity == "ess" else (
        " Risks are in units of that of training on the clean samples alone, and cut at "
        f"{worst:g}."
    )  # fmt: skip
    caption = (
        f"{_WORDS[quantity]} at an equal budget of oracle calls on {name} against the ratio R of "
        "speeds, with each mitigation (solid) and without (dashed). Dots are draws with the "
        f"mitigation, lines medians over the draws.{unit}"
    )
    return Drawing(figure=figure, caption=caption, tables={"runs": field.to_dataset()})
