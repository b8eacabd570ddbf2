r"""The path of a nonnegative lasso, active set by active set.

.. math::

    \lambda(\kappa) = \operatorname*{argmin}_{\lambda \ge 0}\;
    \tfrac12\,|f - \Gamma^\top\lambda|^2 + \kappa\,\mathbf 1^\top\lambda, \qquad
    d(\kappa) = f - \Gamma^\top\lambda(\kappa) .

d is the projection of f onto :math:`\{d : \Gamma d \le \kappa\mathbf 1\}`: the dual of one problem
is the other. The path is piecewise linear in :math:`\kappa` and is followed from the first sample,
at :math:`\kappa = \max_i \langle g_i, f\rangle`, down to 0, as by LARS (Efron et al. 2004) with
multipliers that must stay positive. As :math:`\kappa \to 0`, :math:`d/\kappa` tends to the solution
of ``max <f, nu>`` subject to :math:`\Gamma\nu \le \mathbf 1` where that is finite, and d to the
distance from f to the cone of the rows of :math:`\Gamma` where it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...dynamics import ConvergenceError, checks
from ...dynamics.types import Array
from .units import scaled_rank

__all__ = ["Piece", "nonnegative_path"]

SLOPE = 1e-11
"""Slopes below this are round-off of a tie, not an event."""
MAX_PIECES = 100
"""Cap on the pieces of a path, in multiples of the number of parameters."""


@dataclass(frozen=True)
class Piece:
    r"""One linear piece: :math:`\lambda_S = a - \kappa b` for :math:`\kappa` in ``[low, high]``.

    Attributes
    ----------
    active : (k,) int
        The rows with a positive multiplier, in the order of their entry.
    a, b : (k,)
        The multipliers.
    offset, slope : (p,)
        The projection, ``d = offset + kappa slope``.
    low, high : float
    """

    active: np.ndarray
    a: np.ndarray
    b: np.ndarray
    offset: np.ndarray
    slope: np.ndarray
    low: float
    high: float


def nonnegative_path(gamma: Array, f: Array) -> Iterator[Piece]:
    r"""Return the linear pieces of the path, from the largest :math:`\kappa` down to 0.

    Parameters
    ----------
    gamma : (n, p)
        Distinct rows.
    f : (p,)

    Yields
    ------
    Piece
        None at all where ``max(gamma @ f) <= 0``.

    Raises
    ------
    ValueError, TypeError
        For arrays that are not finite or do not fit.
    ConvergenceError
        When rows tie so closely that the path cycles.
    """
    gamma = checks.array("gamma", gamma, shape=(None, None))
    return _pieces(gamma, checks.array("f", f, shape=(gamma.shape[1],)))


def _pieces(gamma: Array, f: Array) -> Iterator[Piece]:
    level = float((gamma @ f).max())
    if level <= 0.0:
        return
    floor = 1e-14 * level
    rank = scaled_rank(gamma)
    active = [int(np.argmax(gamma @ f))]
    for _ in range(MAX_PIECES * gamma.shape[1]):
        q, upper = np.linalg.qr(gamma[active].T)
        entry = np.linalg.solve(upper.T, np.ones(len(active)))
        a, b = np.linalg.solve(upper, q.T @ f), np.linalg.solve(upper, entry)
        offset, slope = f - q @ (q.T @ f), q @ entry
        level_out, leaving = _next_leaving(a, b, level)
        level_in, entering = 0.0, -1
        if len(active) < rank:
            level_in, entering = _next_entering(gamma, offset, slope, level, active)
        low = max(level_in, level_out)
        low = 0.0 if low <= floor else low
        yield Piece(np.array(active), a, b, offset, slope, low, level)
        if low == 0.0:
            return
        level = low
        if level_out >= level_in:
            del active[leaving]
        else:
            active.append(entering)
    raise ConvergenceError(
        "the active sets of the gradients cycle: samples tie to round-off; merge or perturb them"
    )


def _next_leaving(a: Array, b: Array, level: float) -> tuple[float, int]:
    """Return the largest kappa below ``level`` at which a multiplier vanishes, and which."""
    falling = b < -SLOPE * np.abs(b).max()
    levels = np.where(falling, np.minimum(a / np.where(falling, b, 1.0), level), 0.0)
    first = int(np.argmax(levels))
    return float(levels[first]), first


def _next_entering(
    gamma: Array, offset: Array, slope: Array, level: float, active: list[int]
) -> tuple[float, int]:
    """Return the largest kappa below ``level`` at which an absent row becomes tight, and which."""
    excess, rate = gamma @ offset, gamma @ slope - 1.0
    rising = rate < -SLOPE
    rising[active] = False
    levels = np.where(rising, np.minimum(-excess / np.where(rising, rate, 1.0), level), 0.0)
    first = int(np.argmax(levels))
    return float(levels[first]), first
