r"""Euler steps of least squares with many parameters: adjoints by conjugate gradients.

.. math::

    H v = \nabla F(\theta), \qquad H = X^\top \mathrm{diag}(w) X + \lambda I .

Forming and factoring H costs ``n p^2 + p^3/3`` operations per cell and step, a product with H only
``4 n p``, and most of that is shared-X matrix products over all cells of a chunk. So v starts
from the last adjoints, extrapolated (:mod:`.extrapolation`), and the rest is found by conjugate
gradients with the inverse of an earlier H of the same cell as the preconditioner (:mod:`.krylov`).
It is renewed when the iterations that it cost since then would have paid for a new one, and at once
where they do not suffice; what is badly conditioned is left to the direct solver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..features import field_coefficients, num_features
from ..problems import LeastSquares
from ..types import Array
from .adjoints import Adjoints
from .blocks import RowBlocks
from .cells import Cells, Plan, judge
from .extrapolation import History
from .workers import march, num_workers

__all__ = ["IterativeEngine"]

MAX_ORDER = 3
"""Adjoints that the next one is extrapolated from."""
TILE_NUMBERS = 16_000_000
"""Weights, or entries of the preconditioners, per tile (128 MB)."""
CHUNK_NUMBERS = 160_000
"""The same per chunk, so that what one thread works on stays in its L2 cache."""
MIN_CHUNK, MAX_CHUNK = 4, 32


class IterativeEngine:
    """Steps LeastSquares cells; ``advance`` yields after every step that is to be saved."""

    def __init__(self, problem: LeastSquares, plan: Plan) -> None:
        self.problem = problem
        self.plan = plan
        n, p = problem.num_samples, problem.num_params
        self.is_reduced = num_features(p) < n
        self.tile = max(2 * MIN_CHUNK, TILE_NUMBERS // max(n, p * p))
        cells = min(self.tile, plan.rho.size)
        share = -(-cells // (2 * num_workers()))
        width = min(MAX_CHUNK, max(MIN_CHUNK, CHUNK_NUMBERS // max(n, p * p)), max(1, share))
        self.width = width
        self.rows = RowBlocks(problem.X, 2 * width)
        self.unit = float(np.abs(problem.X).max()) or 1.0
        self.squares = RowBlocks((problem.X / self.unit).astype(np.float32), p)

    def advance(
        self, index: Array, report: Callable[[float], None] | None = None
    ) -> Iterator[tuple[int, Cells]]:
        """Yield ``(step, cells)`` at each saved step of the cells ``index``."""
        size = index.size
        theta, log_w = np.tile(self.plan.theta0, (size, 1)), np.tile(self.plan.log_w0, (size, 1))
        U = np.zeros((size, num_features(theta.shape[1]))) if self.is_reduced else None
        tile = Cells(index, theta, log_w, U)
        # neighbours in a chunk should need about as many iterations, and the hardest start first
        order = np.lexsort((self.plan.rho[index], self.plan.eta[index]))[::-1]
        parts = np.split(order, range(self.width, size, self.width))
        return march(tile, parts, lambda part: _Chunk(self, tile, part), self.plan, report)


class _Chunk:
    """Some cells of a tile, everything of length n as ``(k, b, r)``."""

    def __init__(self, engine: IterativeEngine, tile: Cells, part: np.ndarray) -> None:
        self.problem, self.rows = engine.problem, engine.rows
        U = None if tile.U is None else tile.U[part]
        self.cells = Cells(tile.index[part], tile.theta[part], tile.log_w[part], U)
        self.step = 0
        self.rho = engine.plan.rho[self.cells.index]
        self.eta = engine.plan.eta[self.cells.index]
        self.theta, self.U = self.cells.theta.copy(), None if U is None else U.copy()
        self.log_w = self.rows.cut(self.cells.log_w, fill=-np.inf)
        self.w = np.exp(self.log_w)
        self.y = self.rows.cut(self.problem.y[None])
        self.history = History(np.zeros_like(self.theta), MAX_ORDER)
        self.adjoints = Adjoints(self.problem, self.rows, engine.squares, engine.unit, len(part))

    def advance(self) -> None:
        """Take one step."""
        b, rows, problem = len(self.theta), self.rows, self.problem
        guess = self.history.guess()
        both = rows.forward(np.concatenate([self.theta, guess]))
        both[:, :b] -= self.y
        r, a = both[:, :b], both[:, b:]
        sums = rows.backward(np.concatenate([self.w, self.w], axis=1) * both)
        gradient = self.theta @ problem.val_hessian - problem.val_target
        v, solved = self.adjoints.solve(self.w, gradient, guess, sums[b:])
        a += rows.forward(v - guess)
        a *= r
        a *= self.eta[:, None]
        a += self.log_w
        a -= a.max(axis=(0, 2))[:, None]
        w = np.exp(a)
        total = w.sum(axis=(0, 2))
        a -= np.log(total)[:, None]
        w /= total[:, None]
        theta = self.theta - self.rho[:, None] * (sums[:b] + problem.ridge * self.theta)
        U = self.U
        if U is not None:
            U = U + self.eta[:, None] * field_coefficients(self.theta, v)
        self.history.add(v)
        self._accept(theta, a, w, U, judge(theta, total, solved))

    def _accept(
        self, theta: Array, log_w: Array, w: Array, U: Array | None, verdict: Array
    ) -> None:
        """Take the new states of the good cells; the others end where they were."""
        if verdict.any():
            self.write(self.step)
            good = self.cells.bury(verdict)
            theta = theta[good]
            U = None if U is None else U[good]
            log_w, w = log_w[:, good], w[:, good]
            self.rho, self.eta = self.rho[good], self.eta[good]
            self.adjoints.keep(good)
            self.history.keep(good)
        self.theta, self.log_w, self.w, self.U = theta, log_w, w, U

    def write(self, step: int) -> None:
        """Write the states of the living cells into ``cells``."""
        states = {"theta": self.theta, "log_w": self.rows.join(self.log_w)}
        self.cells.write(step, **states, **({} if self.U is None else {"U": self.U}))
