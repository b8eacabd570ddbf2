r"""Preconditioned conjugate gradients for the adjoints of many cells at once.

Solves :math:`H_k \delta_k = r_k` for the cells k of a chunk, each with its own operator, in shared
matrix products. The residual is measured in the norm of the preconditioner,

.. math:: r^\top P r \le \epsilon^2\,\|v\|_H^2, \qquad P \approx H^{-1},

which is the energy norm of the error: what enters the weights is :math:`X v`, and
:math:`\sum_i w_i (x_i\cdot\delta)^2 \le \|\delta\|_H^2`. Unlike :func:`..linalg.cg`, which serves
any array library, cells that are done leave the products, so that the slow ones cost no more than
themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Correction", "correct"]

Operator = Callable[[np.ndarray], np.ndarray]
"""Products ``(a, p) -> (a, p)`` of a cells with their own matrices."""

TINY = 1e-300
"""Keeps 0/0 away from systems that are solved exactly."""
COMPACT = 0.75
"""The products are narrowed when at most this share of their cells still iterates."""


class Correction(NamedTuple):
    """What :func:`correct` returns."""

    x: np.ndarray
    """(b, p), the corrections."""
    iterations: np.ndarray
    """(b,), products with H that each cell took."""
    converged: np.ndarray
    """(b,) bool."""


def correct(
    operator: Callable[[np.ndarray], Operator],
    precondition: Callable[[np.ndarray], Operator],
    residual: np.ndarray,
    energy: np.ndarray,
    *,
    tol: float,
    cap: int,
) -> Correction:
    r"""Return :math:`\delta = H^{-1} r` for all cells, from the first iterate 0.

    Parameters
    ----------
    operator, precondition : callable
        ``cells (a,) -> (rows (a, p) -> rows (a, p))``: products with H and with P for these cells.
    residual : (b, p)
    energy : (b,)
        :math:`\|v\|_H^2` of the solution to be corrected, as far as it is known; that of the first
        correction is added.
    tol : float
        :math:`\epsilon`.
    cap : int
        Largest number of iterations.
    """
    x = np.zeros_like(residual)
    iterations = np.full(len(x), cap)
    converged = np.zeros(len(x), dtype=bool)
    cells = np.arange(len(x))
    waits = np.ones(len(x), dtype=bool)
    times_H, times_P = operator(cells), precondition(cells)
    r, part = residual.copy(), x.copy()
    d = times_P(r)
    rz = np.vecdot(r, d)
    goal = tol**2 * (energy + np.abs(rz))
    for count in range(cap + 1):
        done = np.abs(rz) <= goal
        first = cells[done & waits]
        converged[first], iterations[first] = True, count
        waits &= ~done & (rz > 0)  # not positive: P is indefinite in round-off, or not a number
        remaining = np.count_nonzero(waits)
        if count == cap or not remaining:
            break
        if remaining <= COMPACT * waits.size:
            x[cells] = part
            cells, part, r, d, rz, goal = (a[waits] for a in (cells, part, r, d, rz, goal))
            times_H, times_P, waits = operator(cells), precondition(cells), waits[waits]
        # those that need not go on do so until the next narrowing, to no effect
        Hd = times_H(d)
        step = (rz / (np.vecdot(d, Hd) + TINY))[:, None]
        part += step * d
        Hd *= step
        r -= Hd
        z = times_P(r)
        rz, previous = np.vecdot(r, z), rz
        d *= (rz / (previous + TINY))[:, None]
        d += z
    x[cells] = part
    return Correction(x, iterations, converged)
