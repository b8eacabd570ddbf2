"""The figure of the class imbalance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from ... import figures
from ..item import Drawing

__all__ = ["arms"]

_QUANTITIES = {
    "balanced_accuracy": "balanced test accuracy",
    "recall": "minority recall",
    "minority_weight": "weight on the minority",
    "ess": "effective sample size",
}


def arms(
    chosen: xr.Dataset, every: xr.Dataset, images: str, kind: str, names: Mapping[str, str],
    mirror: Sequence[str],
) -> Drawing:  # fmt: skip
    """Return accuracy, recall, weight and effective sample size of every arm."""
    palette = figures.style.COLOURS
    colours = dict.fromkeys(names.values(), palette["orange"])
    colours |= {names[arm]: palette["blue"] for arm in mirror}
    plain = [name for name in names.values() if name not in every["arm"].values]
    colours |= dict.fromkeys(plain, palette["grey"])
    figure = figures.style.new_figure((7.0, 0.6 + 0.2 * chosen.sizes["arm"]))
    axes = figure.subplots(1, 4, sharey=True)
    for ax, (quantity, label) in zip(axes, _QUANTITIES.items(), strict=True):
        figures.seed_dots(
            chosen, quantity, ax, xlabel=label, colours=colours, log=quantity == "ess"
        )
    axes[0].axvline(0.5, **figures.style.STYLES["guide"])
    for ax in axes[1:3]:
        ax.set_xlim(-0.05, 1.05)
    caption = (
        f"Two digits of {images} of which one is rare in training, {kind.upper()}, with ten "
        "balanced validation images: accuracy on balanced test images (0.5 is chance), recall of "
        "the rare digit, and weights, averaged over the second half of the run. Grey: weights that "
        "are not learnt. Orange: methods of other papers. Blue: mirror steps on the simplex. Dots "
        "are seeds, bars their means, at the value of the knob with the best mean accuracy."
    )
    return Drawing(figure=figure, caption=caption, tables={"arms": chosen, "knobs": every})
