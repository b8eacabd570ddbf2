"""What a comparison says: medians, worst draws, the best ratio by the validation loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray

__all__ = ["summarise"]

INTERVAL = (0.25, 0.75)
LARGER_IS_WORSE = {"val_loss", "test_loss", "test_loss_star", "test_loss_averaged", "outer_loss"}


def summarise(ds: xarray.Dataset) -> xarray.Dataset:
    """Return one row for each entry at its best ratio, over all draws.

    The ratio of an entry is that of the least median validation loss of theta at the end of the
    budget, over all draws together, so that the test set stays independent; a run that ended badly
    counts as infinite. Every number ``x`` becomes ``x`` (median), ``x_low`` and ``x_high``
    (quartiles) and, for losses, accuracies, ESS, clean mass and cosines, ``x_worst`` (the worst
    draw). Runs that ended badly make the worst loss infinite.

    Parameters
    ----------
    ds : Dataset
        Of :func:`compare`.

    Returns
    -------
    Dataset
        Over ``entry``: the numbers at the end of the budget, ``best_ratio``, ``num_broken`` (draws
        that ended badly at that ratio), ``num_missing``; over ``(entry, budget)``: ``x_along`` for
        what was described along the budget; over ``reference``: medians and quartiles of the
        references.
    """
    import xarray

    status = ds["status"]
    ended = status >= 0
    final = ds["val_loss"].isel(budget=-1, drop=True)
    score = final.where(np.isfinite(final), np.inf).where(ended).median("seed", skipna=True)
    place = score.fillna(np.inf).argmin("ratio")
    best = ds.isel(ratio=place)
    out: dict[str, xarray.DataArray] = {
        "best_ratio": ds["ratio"].isel(ratio=place).drop_vars("ratio"),
        "num_broken": (best["status"] > 1).sum("seed"),
        "num_missing": (best["status"] < 0).sum("seed"),
    }
    for name, values in best.drop_vars("ratio").data_vars.items():
        if name == "status" or not np.issubdtype(values.dtype, np.floating):
            continue
        present = values
        if str(name) in LARGER_IS_WORSE:
            present = values.where(np.isfinite(values), np.inf)
            present = present.where(best["status"] >= 0)
        if "budget" in values.dims:
            out |= _statistics(f"{name}_along", present)
            present = present.isel(budget=-1, drop=True)
        out |= _statistics(str(name), present)
    return xarray.Dataset(out, attrs=ds.attrs)


def _statistics(name: str, values: xarray.DataArray) -> dict[str, xarray.DataArray]:
    """Return median, quartiles and the worst of a variable over the draws."""
    low, high = (_quantile(values, q) for q in INTERVAL)
    found = {name: _quantile(values, 0.5), f"{name}_low": low, f"{name}_high": high}
    plain = name.removesuffix("_along").removeprefix("reference_")
    if plain in LARGER_IS_WORSE:
        found[f"{name}_worst"] = values.max("seed")
    elif plain.startswith(("test_accuracy", "ess", "clean_mass", "cosine")):
        found[f"{name}_worst"] = values.min("seed")
    return found


def _quantile(values: xarray.DataArray, q: float) -> xarray.DataArray:
    """Return a quantile over the draws that is one of them, or a mean of two for the median.

    Infinite values order like any others.
    """
    ordered = np.sort(values.transpose(..., "seed").values, axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(-1) + np.isposinf(ordered).sum(-1)
    where = q * (np.maximum(count, 1) - 1)
    lower, upper = (np.asarray(f(where), dtype=int)[..., None] for f in (np.floor, np.ceil))
    a, b = (np.take_along_axis(ordered, k, -1)[..., 0] for k in (lower, upper))
    share = where - lower[..., 0]
    with np.errstate(invalid="ignore"):
        value = np.where(share > 0, (1 - share) * a + share * b, a)
    value = np.where(count > 0, value, np.nan)
    return values.isel(seed=0, drop=True).transpose(...).copy(data=value)
