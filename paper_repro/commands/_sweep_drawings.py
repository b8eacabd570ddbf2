"""The figures of a sweep: maps over alpha and beta, side by side along one more axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ... import figures
from ..artefacts import save_drawing
from ..item import Drawing

__all__ = ["save_maps", "save_refined"]

QUANTITIES = ("ess", "test_loss", "val_loss", "test_accuracy")
MAX_PANELS = 4


def save_maps(folder: Path, ds: xr.Dataset, name: str, provenance: dict[str, Any]) -> None:
    """Draw each quantity at the last step; where there is no plane of rates, draw nothing."""
    last = ds.isel(step=-1, drop=True) if "step" in ds.dims else ds
    if min(last.sizes["alpha"], last.sizes["beta"]) < 2:
        return
    for quantity in (name for name in QUANTITIES if name in last):
        drawing = _drawing(last, quantity, name)
        save_drawing(folder, f"phase_diagram_{quantity}", drawing, provenance, quick=False)


def save_refined(folder: Path, ds: xr.Dataset, name: str, provenance: dict[str, Any]) -> None:
    """Draw each quantity at the last step over scattered cells, and the curve they follow."""
    last = ds.isel(step=-1, drop=True) if "step" in ds.dims else ds
    if min(np.unique(last["alpha"]).size, np.unique(last["beta"]).size) < 2:
        return
    curves = ds["boundary"].values if "boundary" in ds else None
    for quantity in (name for name in QUANTITIES if name in last):
        figure = figures.style.new_figure((4.2, 3.0))
        with figures.style.context():
            figures.refined_map(
                last, figure.subplots(), quantity=quantity, curves=curves,
                limits=_limits(last, quantity),
            )  # fmt: skip
        caption = (
            f"{name}: {quantity} after the last of the steps, linear between the cells (dots); the "
            "line is the level curve that the cells follow."
        )
        table = last[[quantity, "status"]].reset_coords("level") if "level" in last.coords else last
        drawing = Drawing(figure=figure, caption=caption, tables={"cells": table})
        save_drawing(folder, f"phase_diagram_{quantity}", drawing, provenance, quick=False)


def _drawing(last: xr.Dataset, quantity: str, name: str) -> Drawing:
    panels, words = _panels(last[[quantity, "status"]])
    figure = figures.style.new_figure((0.6 + 3.6 * len(panels), 3.2 if len(panels) > 1 else 3.0))
    with figures.style.context():
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        limits = _limits(last, quantity)
        for ax, (title, panel) in zip(axes, panels.items(), strict=True):
            figures.phase_diagram(panel, ax, quantity=quantity, limits=limits)
            ax.set_title(title)
            if ax is not axes[0]:
                ax.set_ylabel("")
    caption = f"{name}: {quantity} after the last of the steps{words}."
    return Drawing(figure=figure, caption=caption, tables={"grid": last[[quantity, "status"]]})


def _panels(ds: xr.Dataset) -> tuple[dict[str, xr.Dataset], str]:
    """Return the Dataset over (alpha, beta) of each panel by its title, and what was left out."""
    words = ""
    if "seed" in ds.dims:
        # A cell counts as failed where most of its seeds failed.
        words = f", median of {ds.sizes['seed']} seeds"
        status = ds["status"].median("seed").round().astype(ds["status"].dtype)
        ds = ds.drop_vars("status").median("seed").assign(status=status)
    others = [str(name) for name in ds.dims if name not in ("alpha", "beta")]
    if not others:
        return {"": ds}, words
    shown, *rest = sorted(others, key=lambda name: -ds.sizes[name])
    for name in rest:
        words += f", at {name} = {ds[name].values[0]:g}"
    ds = ds.isel(dict.fromkeys(rest, 0), drop=True)
    size = ds.sizes[shown]
    which = np.unique(np.linspace(0, size - 1, min(size, MAX_PANELS)).round().astype(int))
    if which.size < size:
        words += f", {which.size} of {size} values of {shown}"
    titles = {k: f"{shown} = {ds[shown].values[k]}" for k in which.tolist()}
    return {title: ds.isel({shown: k}, drop=True) for k, title in titles.items()}, words


def _limits(last: xr.Dataset, name: str) -> tuple[float, float] | None:
    """Colour risks up to three times the best (one bad cell must not hide the others)."""
    good = last[name].where(last["status"] <= 1)
    if name.endswith("_loss"):
        best = float(good.min())
        return (best, 3 * best) if best > 0 else None
    if last["status"].ndim > 2 and bool(good.notnull().any()):
        return float(good.min()), float(good.max())
    return None
