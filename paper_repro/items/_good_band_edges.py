"""Ends of the bands, measured and predicted, from the stored runs."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...dynamics.types import Array
from ..item import Results
from ._bands import band, joint_band, width
from ._good_band_runs import BandPart
from ._good_band_theory import threshold

__all__ = ["COLLAPSED", "edges", "held_edges", "misses"]

COLLAPSED = 0.05
"""An ESS below this share of n counts as collapsed."""
UNSETTLED = 1e-3
"""A run is settled when its validation loss has lost all but this share of its excess."""
SETTLED = 1e-6
"""The same share where the end of a run counts as a point at rest."""


def edges(results: Results[BandPart]) -> xr.Dataset:
    """Return the bands over (case, seed, K) with their predictions.

    ``low``, ``high``, ``width``: test risk within 10 % of the best of the case (any rate, any
    budget). ``kept``: largest rate up to which the ESS stays above 5 % of n. ``width_kept``: both
    together. ``settled``: largest rate of the band of settled runs. ``best``: the least test risk
    at each K.
    """
    rows: dict[str, dict[int, xr.Dataset]] = {}
    for part, ds in results.items():
        if part.start == "uniform":
            rows.setdefault(part.case, {})[part.seed] = _edges(part, ds)
    joined = [
        xr.concat([by_seed[seed] for seed in sorted(by_seed)], "seed", join="exact")
        .assign_coords(seed=sorted(by_seed))
        for by_seed in rows.values()
    ]  # fmt: skip
    return xr.concat(joined, xr.DataArray(list(rows), dims="case", name="case"), join="exact")


def _edges(part: BandPart, ds: xr.Dataset) -> xr.Dataset:
    rate = ds["eta"].values
    bound = threshold(float(ds["risk"].min()))
    columns: dict[str, list[float]] = {}
    for K in ds["K"].values:
        here = ds.sel(K=K)
        good = band(rate, here["risk"].values, bound)
        shares = part.n / here["ess"].values
        kept = band(rate, np.where(np.isnan(shares), np.inf, shares), 1.0 / COLLAPSED)
        settled = band(rate, here["unsettled"].values, UNSETTLED)
        row = {
            "low": good[0], "high": _inside(rate, good[1]), "width": width(good),
            "kept": _inside(rate, kept[1]), "width_kept": width(joint_band(good, kept)),
            "settled": _inside(rate, settled[1]), "best": float(here["risk"].min()),
        }  # fmt: skip
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    found = ds.drop_dims("eta").assign({name: ("K", value) for name, value in columns.items()})
    return found.assign(fastest=_fastest(ds))


def _inside(rate: Array, end: float) -> float:
    """Return an upper end of a band; NaN where the band stops with the grid."""
    return end if end < rate[-1] else np.nan


def _fastest(ds: xr.Dataset) -> float:
    """Largest spectral radius of its own step at the end of a run at rest; 0 where none is."""
    radii = ds["radius"].values[ds["unsettled"].isel(K=-1).values < SETTLED]
    return float(np.nanmax(radii)) if np.isfinite(radii).any() else 0.0


def held_edges(results: Results[BandPart]) -> dict[str, dict[int, float]]:
    """Return, by case and seed, where runs beside a solved point leave it, over the limit there."""
    found: dict[str, dict[int, float]] = {}
    for part, ds in results.items():
        if part.start == "end":
            high = _inside(part.rates, band(part.rates, ds["grown"].values, 1.0)[1])
            found.setdefault(part.case, {})[part.seed] = high
    return found


def misses(found: xr.Dataset, measured: str, predicted: str) -> xr.DataArray:
    """Return log10 of a measured end over a predicted one."""
    ratio = found[measured] / found[predicted]
    return ratio.copy(data=np.log10(ratio.values))
