r"""First guesses for the adjoints of the next step, from those of the last steps.

.. math::

    v_t \approx \sum_{j=1}^{k} (-1)^{j+1} \binom{k}{j}\, v_{t-j},

the polynomial of degree k - 1 through the last k adjoints. Its error falls with k where the cell
moves slowly, and grows with k where it does not, or where the adjoints are known to few digits: so
each cell takes the k that would have been the best in the step before.
"""

from __future__ import annotations

from math import comb

import numpy as np

__all__ = ["History"]


class History:
    """The last adjoints of the cells of a chunk.

    Parameters
    ----------
    first : (b, ...)
        What to begin with.
    max_order : int
        Largest k: worth more where a step costs more.
    """

    def __init__(self, first: np.ndarray, max_order: int) -> None:
        self._max_order = max_order
        self._last = [first]
        self._order = np.ones(len(first), dtype=int)

    def guess(self) -> np.ndarray:
        """Return a guess for each cell, ``(b, ...)``."""
        if len(self._last) == 1:
            return self._last[0].copy()
        out = np.empty_like(self._last[0])
        for order in np.unique(self._order):
            cells = self._order == order
            out[cells] = _extrapolate([v[cells] for v in self._last], order)
        return out

    def add(self, v: np.ndarray) -> None:
        """Take the adjoints that were found, and judge the orders by them."""
        known = range(1, len(self._last) + 1)
        axes = tuple(range(1, v.ndim))
        errors = [np.abs(_extrapolate(self._last, k) - v).max(axis=axes) for k in known]
        self._order = np.argmin(errors, axis=0) + 1
        self._last = [v, *self._last[: self._max_order - 1]]

    def keep(self, good: np.ndarray) -> None:
        """Drop the cells that ended."""
        self._last, self._order = [v[good] for v in self._last], self._order[good]


def _extrapolate(last: list[np.ndarray], order: int) -> np.ndarray:
    """Return the next member of a sequence, the latest first, to ``order`` terms."""
    out = order * last[0]
    for j in range(2, order + 1):
        out += (-1) ** (j + 1) * comb(order, j) * last[j - 1]
    return out
