r"""Adjoints of least squares by conjugate gradients, with the inverse of an earlier H per cell.

The inverses are kept in single precision: they only precondition, and it halves what an iteration
has to read. That of a cell is renewed when the iterations that it cost since it was made would have
paid for a new one.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import spotrf, spotri

from ..linalg import solve_each
from ..problems import LeastSquares
from .blocks import RowBlocks
from .compiled.solve import SMALL_PIVOT
from .krylov import correct_cells

__all__ = ["Adjoints"]

TOLERANCE = 1e-14
"""Energy norm of the error of v relative to that of v."""
CAP = 60
"""Iterations after which a direct solve is cheaper."""
FREE = 4
"""Iterations that a new inverse would need as well."""
CREDIT = 80
"""Iterations in excess of ``FREE``, summed over steps, that pay for a new inverse."""
UNSEEN = 1e-24
"""Weights, relative to the largest, that round-off of H swallows."""
RETRY = 16
"""Steps after which a cell that was left to the direct solver is tried again."""
SMALLEST = 1e-30
"""Weights below this are left out of a preconditioner: single precision would denormalise."""


class Adjoints:
    """Solves ``H v = grad F`` for the cells of a chunk, step after step.

    Parameters
    ----------
    problem : LeastSquares
    rows : RowBlocks
        X in blocks that suit products with vectors of all cells.
    squares : RowBlocks
        X in units of ``unit`` and in single precision, in blocks that suit ``X^T diag(w) X``.
    unit : float
        Of the order of the entries of X.
    size : int
        Number of cells.
    """

    def __init__(
        self, problem: LeastSquares, rows: RowBlocks, squares: RowBlocks, unit: float, size: int
    ) -> None:
        p = problem.num_params
        self.rows, self.squares = rows, squares
        self.X, self.ridge = problem.X, problem.ridge
        self.scale = unit**-2
        self.inverse = np.zeros((size, p, p), dtype=np.float32)
        self.debt = np.full(size, CREDIT + 1)

    def keep(self, good: np.ndarray) -> None:
        """Drop the cells that ended."""
        self.inverse, self.debt = self.inverse[good], self.debt[good]

    def solve(
        self, w: np.ndarray, b: np.ndarray, guess: np.ndarray, weighted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``H^{-1} b`` (b, p) and which cells could be solved.

        Parameters
        ----------
        w : (k, b, r)
            In the blocks of ``rows``.
        b, guess : (b, p)
        weighted : (b, p)
            ``X^T diag(w) X guess``.
        """
        for k in np.flatnonzero(self.debt > CREDIT):
            self._renew(int(k), w[:, k])
        Hv = weighted + self.ridge * guess
        energy = np.abs(np.vecdot(guess, Hv))
        X, columns = self.rows.blocks, self.rows.columns
        correction, count = correct_cells(
            X, columns, w, self.ridge, self.inverse, self.scale, b - Hv, energy, TOLERANCE, CAP
        )
        v = guess + correction
        spent = np.where(np.isfinite(self.inverse[:, 0, 0]), CREDIT + 1, CREDIT // RETRY)
        self.debt += np.where(count < 0, spent, np.maximum(count - FREE, 0))
        solved, sound = np.ones(len(b), dtype=bool), np.isfinite(b).all(axis=-1)
        v[~sound] = np.nan
        direct = np.flatnonzero((count < 0) & sound)
        if direct.size:
            H = np.stack([self._hessian(w[:, k]) for k in direct])
            v[direct], solved[direct] = solve_each(H, b[direct])
        return v, solved

    def _hessian(self, w: np.ndarray) -> np.ndarray:
        """Return H of one cell, w ``(k, r)``, from the samples that are seen in it."""
        flat = self.rows.join(w[:, None])[0]
        kept = flat > UNSEEN * flat.max()
        X = self.X[kept]
        H = X.T @ (flat[kept, None] * X)
        H.flat[:: len(H) + 1] += self.ridge
        return H

    def _renew(self, k: int, w: np.ndarray) -> None:
        """Invert the present H of cell k."""
        p = self.inverse.shape[2]
        flat = self.rows.join(w[:, None])
        H = self.squares.gram(
            self.squares.cut(np.where(flat > SMALLEST, flat, 0.0).astype(np.float32))[:, 0]
        )
        H.flat[:: p + 1] += self.ridge * self.scale
        self.inverse[k] = _inverse(H)
        self.debt[k] = 0


def _inverse(H: np.ndarray) -> np.ndarray:
    """Return the inverse of a positive definite H in single precision, NaN where it is no help.

    With NaN the conjugate gradients stop at once, and leave the cell to the direct solver: for the
    digits that it shares with the plain algorithm (see ``SMALL_PIVOT``) as much as for speed.
    """
    factor, info = spotrf(H.T, lower=1)
    if info == 0 and not (factor.diagonal() ** 2 >= SMALL_PIVOT * H.diagonal()).all():
        info = 1
    if info == 0:
        half, info = spotri(factor, lower=1, overwrite_c=1)
    if info != 0:
        return np.full_like(H, np.nan)
    half.flat[:: len(H) + 1] *= 0.5
    return half + half.T
