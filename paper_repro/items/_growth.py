r"""Two laws of growth fitted to positive numbers, compared in logarithm.

.. math:: T = b\,(\ln N + c) \qquad\text{against}\qquad T = a N^q .

Both have two parameters and are fitted by least squares in ln T, so that their residuals compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from ...dynamics.types import Array

__all__ = ["Growth", "fit_growth", "valley"]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Fits of T against N: slope b and shift c, exponent q, and root mean squares in ln T."""

    slope: float
    shift: float
    exponent: float
    factor: float
    residual_log: float
    residual_power: float

    def logarithmic(self, N: Array) -> Array:
        """Return ``b (ln N + c)``."""
        return self.slope * (np.log(N) + self.shift)

    def power(self, N: Array) -> Array:
        """Return ``a N^q``."""
        return self.factor * N**self.exponent


def fit_growth(N: Array, T: Array) -> Growth:
    """Fit both laws to at least three points ``N (k,), T (k,)``, all positive."""
    x, y = np.log(N), np.log(T)
    if x.size < 3:
        raise ValueError(f"`N` must have at least 3 entries; got {x.size}.")
    exponent, offset = np.polyfit(x, y, 1)

    def spread(log_gap: float) -> float:
        return float(np.std(y - np.log(x - x[0] + np.exp(log_gap))))

    best = minimize_scalar(spread, bounds=(-7.0, 7.0), method="bounded")
    shift = float(np.exp(best.x)) - x[0]
    return Growth(
        slope=float(np.exp(np.mean(y - np.log(x + shift)))), shift=float(shift),
        exponent=float(exponent), factor=float(np.exp(offset)),
        residual_log=float(best.fun), residual_power=float(np.std(y - offset - exponent * x)),
    )  # fmt: skip


def valley(T: Array, error: Array) -> float:
    """Return where the error is least: the vertex of the parabola through three points.

    In logarithms of both, through the least of ``error (k,)`` and its two neighbours on the
    increasing grid ``T (k,)``; the grid point itself at an end of the grid.
    """
    k = int(np.argmin(error))
    if k in (0, len(T) - 1):
        return float(T[k])
    x, y = np.log(T[k - 1 : k + 2]), np.log(error[k - 1 : k + 2])
    bend, slope, _ = np.polyfit(x - x[1], y, 2)
    if bend <= 0:
        return float(T[k])
    return float(np.exp(np.clip(x[1] - 0.5 * slope / bend, x[0], x[2])))
