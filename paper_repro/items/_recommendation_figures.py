"""The figures of the recommendation: all candidates on all data sets, and the chosen one tested."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...figures import comparison, style
from ..item import Drawing
from ._recommendation_choice import Scores
from ._recommendation_runs import DEVELOPMENT, SCALES

__all__ = ["candidates_figure", "outcomes_figure"]

WORDS = {"curvature": r"$\eta\kappa_{\max}$", "ratio": "$R$"}
COLOURS = {
    "recommended": "blue", "fixed curvature": "sky", "fixed R": "vermillion",
    "default step": "orange", "held back": "yellow",
    "tuned on validation": "green", "best in hindsight": "black", "validation only": "purple",
}  # fmt: skip


def candidates_figure(found: Scores, entry: str) -> Drawing:
    """Mean score of one entry against both scales, one line for each data set."""
    figure = style.new_figure((7.0, 3.3))
    axes = figure.subplots(1, 2, sharey=True)
    tables = {}
    names = [str(name) for name in found["name"].values]
    for ax, (scale, values) in zip(axes, SCALES.items(), strict=True):
        labels = [f"{entry}|{scale}|{value:g}" for value in values]
        labels = [label for label in labels if label in found["candidate"].values]
        x = np.array([float(label.split("|")[2]) for label in labels])
        score = found["score"].sel(candidate=labels)
        for k, name in enumerate(names):
            colour = style.CYCLE[k % len(style.CYCLE)]
            is_development = name in DEVELOPMENT
            line = ("-" if k < len(style.CYCLE) else "-.") if is_development else "--"
            here = score.sel(name=name)
            ax.plot(x, here, "o", color=colour, alpha=0.35, markersize=3, mew=0)
            ax.plot(
                x, here.mean("seed"), line, color=colour,
                label=f"{name}" if is_development else f"{name} (held out)",
            )  # fmt: skip
        ax.axhline(1.0, **style.STYLES["guide"])
        ax.axhline(0.0, **style.STYLES["guide"])
        ax.set_xscale("log")
        ax.set_xlabel(f"outer step as {WORDS[scale]} at the start")
        tables[f"by_{scale}"] = score.assign_coords(value=("candidate", x)).to_dataset(name="score")
    axes[0].set_ylabel("share of the harm left")
    axes[0].legend(fontsize=6.5)
    style.legend_above(figure, axes, columns=5)
    caption = (
        f"Share of the harm that is left by {entry} (0: trained on the clean samples alone, 1: "
        "uniform weights) against the outer step on two scales; dots are draws, lines their means. "
        "Dashed data sets were held out."
    )
    return Drawing(figure=figure, caption=caption, tables=tables)


def outcomes_figure(tested: xr.Dataset) -> Drawing:
    """Every arm on every data set, the held-out ones to the right."""
    names = [str(name) for name in tested["name"].values]
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = style.new_figure((7.4, 1.75 * rows + 0.2))
    grid = np.atleast_2d(figure.subplots(rows, columns, sharey=True, sharex=True, squeeze=False))
    colours = {arm: style.COLOURS[colour] for arm, colour in COLOURS.items()}
    for ax, name in zip(grid.ravel(), names, strict=False):
        here = tested.sel(name=name).transpose("seed", "arm")
        comparison.seed_dots(here, "score", ax, category="arm", xlabel=" ", colours=colours)
        for guide in (0.0, 1.0):
            ax.axvline(guide, zorder=0, **style.STYLES["guide"])
        ax.set_title(name if name in DEVELOPMENT else f"{name} *")
    for k, ax in enumerate(grid.ravel()):
        ax.set_visible(k < len(names))
        ax.tick_params(labelbottom=k + columns >= len(names))
    figure.supxlabel("share of the harm left (* data sets that were held out)", fontsize=8.5)
    caption = (
        "The recommendation, fixed on the development sets, against what it competes with: the "
        "best candidates of each scale fixed in the same way, the default outer step, a step "
        "tuned on the validation loss of each draw, a step tuned on a half of the validation "
        "samples that is held back for that, the best candidate of each data set in hindsight, "
        "and training on the validation samples alone. Dots are draws, bars their means."
    )
    return Drawing(figure=figure, caption=caption, tables={"outcomes": tested})
