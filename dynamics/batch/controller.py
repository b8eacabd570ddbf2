r"""Step sizes from error estimates: a PI controller for each cell.

.. math:: h_{k+1} = h_k \cdot 0.9\; e_k^{-0.7/5}\; e_{k-1}^{0.4/5},

with the error :math:`e = \mathrm{rms}_i(\hat e_i / (a_i + r |z_i|))`, accepted when at most 1;
after a refused step plainly :math:`0.9\, e^{-1/5}`. K. Gustafsson, *Control-theoretic techniques
for stepsize selection in implicit Runge-Kutta methods*, ACM TOMS 20 (1994).
"""

from __future__ import annotations

import numba

from ..compiling import INNER
from .tableau import ORDER

__all__ = ["error_norm", "first_step", "next_factor", "refused_factor"]

SAFETY = 0.9
SMALLEST, LARGEST = 0.2, 8.0
"""Least and greatest ratio of one step to the one before."""


@numba.njit(**INNER)
def error_norm(x, z, z_new, atol, rtol):  # type: ignore[no-untyped-def]
    """Return the root mean square of x in units of the tolerance at z and z_new."""
    total = 0.0
    for i in range(z.size):
        ratio = x[i] / (atol[i] + rtol * max(abs(z[i]), abs(z_new[i])))
        total += ratio * ratio
    return (total / z.size) ** 0.5


@numba.njit(inline="always", **INNER)
def first_step(size, slope, curvature, span):  # type: ignore[no-untyped-def]
    """Return a first step from the norms of z, z' and z'' (Hairer, Norsett and Wanner, II.4)."""
    guess = 0.01 * size / slope if size > 1e-5 and slope > 1e-5 else 1e-6
    steepest = max(slope, curvature)
    if steepest <= 1e-15:
        return min(max(1e-6, 1e-3 * guess), span)
    return min(100.0 * guess, (0.01 / steepest) ** (1.0 / ORDER), span)


@numba.njit(inline="always", **INNER)
def next_factor(error, previous):  # type: ignore[no-untyped-def]
    """Return the ratio of the next step to an accepted one."""
    factor = SAFETY * max(error, 1e-10) ** (-0.7 / ORDER) * max(previous, 1e-4) ** (0.4 / ORDER)
    return min(max(factor, SMALLEST), LARGEST)


@numba.njit(inline="always", **INNER)
def refused_factor(error):  # type: ignore[no-untyped-def]
    """Return the ratio of the next attempt to a refused one."""
    return min(max(SAFETY * error ** (-1.0 / ORDER), SMALLEST), SAFETY)
