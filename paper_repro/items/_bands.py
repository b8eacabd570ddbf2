"""Bands of rates: the first run of rates on a grid that keep a quantity below a threshold."""

from __future__ import annotations

import numpy as np

from ...dynamics.types import Array

__all__ = ["band", "joint_band", "width"]

EMPTY = (np.nan, np.nan)


def band(rate: Array, value: Array, threshold: float) -> tuple[float, float]:
    """Return the ends of the first interval of rates whose values are all below a threshold.

    The first, since far above it runs are chaotic, and some are good by luck.

    Between the last good rate and the first bad one, the end is where the line through both, in
    logarithms, meets the threshold; the middle where the bad value is infinite. A band that begins
    or stops with the grid has its ends there.

    Parameters
    ----------
    rate : (k,)
        Increasing, > 0.
    value : (k,)
        Positive; infinite where a run broke.
    threshold : float

    Returns
    -------
    (low, high) : float
        NaN where no rate is good.
    """
    good = np.asarray(value <= threshold)
    if not good.any():
        return EMPTY
    first = int(np.argmax(good))
    rest = ~good[first:]
    last = first + int(np.argmax(rest)) - 1 if rest.any() else len(rate) - 1
    return (
        _crossing(rate, value, threshold, first, first - 1),
        _crossing(rate, value, threshold, last, last + 1),
    )


def joint_band(*bands: tuple[float, float]) -> tuple[float, float]:
    """Return the intersection of bands; NaN where they do not meet."""
    low, high = max(b[0] for b in bands), min(b[1] for b in bands)
    known = all(np.isfinite(end) for b in bands for end in b)
    return (low, high) if known and low < high else EMPTY


def width(ends: tuple[float, float]) -> float:
    """Return the width of a band in decades; 0 where it is empty."""
    return float(np.log10(ends[1] / ends[0])) if np.isfinite(ends[0]) else 0.0


def _crossing(rate: Array, value: Array, threshold: float, good: int, bad: int) -> float:
    if not 0 <= bad < len(rate):
        return float(rate[good])
    share = 0.5
    if np.isfinite(value[bad]):
        share = np.log(threshold / value[good]) / np.log(value[bad] / value[good])
    return float(rate[good] * (rate[bad] / rate[good]) ** share)
