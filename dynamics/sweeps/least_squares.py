r"""Euler steps of least squares for a tile of cells, in NumPy.

.. math::

    \theta^+ = \theta - \rho\,(M\theta - b + \lambda\theta), \qquad
    \log w^+ = \log w + \eta\,(X\theta - y)\odot(X v) + \mathrm{const}, \qquad
    (M + \lambda I)\,v = \nabla F(\theta) .

Where p(p+3)/2 < n the moments M and b come from one product of the weights with the quadratic
features, and U follows along (theory T8). The weights themselves are advanced through log w rather
than rebuilt from U: log w = log w0 + Phi U is a difference of large numbers once U is large, and
the log-weights of the support would lose digits that the plain algorithm keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..features import field_coefficients, num_features, quadratic_features, split_moments
from ..linalg import solve_each
from ..problems import LeastSquares
from ..types import Array
from .cells import Cells, Plan, judge

__all__ = ["LeastSquaresEngine"]

TILE_NUMBERS = 40_000
"""Weights per tile (0.3 MB of float64), so that a tile stays in the cache."""
MIN_TILE = 8


class LeastSquaresEngine:
    """Steps LeastSquares cells; ``advance`` yields after every step that is to be saved."""

    def __init__(self, problem: LeastSquares, plan: Plan) -> None:
        self.problem = problem
        self.plan = plan
        self.num_params = problem.num_params
        self.is_reduced = num_features(problem.num_params) < problem.num_samples
        self.features = quadratic_features(problem.X, problem.y) if self.is_reduced else None
        self.tile = max(MIN_TILE, TILE_NUMBERS // max(problem.num_samples, problem.num_params**2))
        self._ridge = problem.ridge * np.eye(self.num_params, dtype=problem.X.dtype)
        self._columns = np.ascontiguousarray(problem.X.T)

    def advance(
        self, index: Array, report: Callable[[float], None] | None = None
    ) -> Iterator[tuple[int, Cells]]:
        """Yield ``(step, cells)`` at each saved step of the cells ``index``."""
        cells = self._start(index)
        theta, log_w, U = cells.theta, cells.log_w, cells.U
        rho, eta = self.plan.rho[index, None], self.plan.eta[index, None]
        if 0 in self.plan.save_steps:
            yield 0, cells
        for step in range(1, self.plan.num_steps + 1):
            if cells.alive.size:
                new_theta, new_log_w, change, total, solved = self._step(theta, log_w, rho, eta)
                verdict = judge(new_theta, total, solved)
                if verdict.any():
                    cells.write(step - 1, theta=theta, log_w=log_w, **_named(U))
                    good = cells.bury(verdict)
                    new_theta, new_log_w, change = new_theta[good], new_log_w[good], change[good]
                    rho, eta, U = rho[good], eta[good], None if U is None else U[good]
                theta, log_w = new_theta, new_log_w
                U = None if U is None else U + eta * change
            if report is not None:
                report(step / self.plan.num_steps)
            if step in self.plan.save_steps:
                cells.write(step, theta=theta, log_w=log_w, **_named(U))
                yield step, cells

    def _start(self, index: Array) -> Cells:
        size, dtype = index.size, self.problem.X.dtype
        theta = np.tile(self.plan.theta0.astype(dtype), (size, 1))
        log_w = np.tile(self.plan.log_w0.astype(dtype), (size, 1))
        U = (
            np.zeros((size, num_features(self.num_params)), dtype=dtype)
            if self.is_reduced
            else None
        )
        return Cells(index, theta, log_w, U)

    def _step(
        self, theta: Array, log_w: Array, rho: Array, eta: Array
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return new theta, new log w, dU/eta, the sum of the new weights, and who was solved."""
        r = theta @ self._columns
        r -= self.problem.y
        M, slope = self._moments(np.exp(log_w), theta, r)
        gradient = theta @ self.problem.val_hessian - self.problem.val_target
        v, solved = self._solve(M + self._ridge, gradient)
        r *= v @ self._columns
        r *= eta
        r += log_w
        r -= r.max(axis=-1, keepdims=True)
        total = np.exp(r).sum(axis=-1, keepdims=True)
        r -= np.log(total)
        new_theta = theta - rho * (slope + self.problem.ridge * theta)
        change = field_coefficients(theta, v) if self.is_reduced else v
        return new_theta, r, change, total[:, 0], solved

    def _moments(self, w: Array, theta: Array, r: Array) -> tuple[np.ndarray, np.ndarray]:
        """Return ``E_w[x x^T]`` (A, p, p) and ``E_w[r x]`` (A, p)."""
        if self.features is None:
            M = np.stack([(self._columns * row) @ self.problem.X for row in w])
            return M, (w * r) @ self.problem.X
        M, b = split_moments(w @ self.features, self.num_params)
        return M, (M @ theta[..., None])[..., 0] - b

    def _solve(self, H: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
        """Return v and who was solved, in the row space where the ridge is 0."""
        Q = self.problem.row_space
        if Q is not None:
            H, b = Q.T @ H @ Q, b @ Q
        v, solved = solve_each(H, b, may_be_singular=self.problem.ridge == 0)
        return (v if Q is None else v @ Q.T), solved


def _named(U: Array | None) -> dict[str, np.ndarray]:
    return {} if U is None else {"U": U}
