r"""Euler steps of least squares in the array API, with direct solves.

.. math::

    \theta^+ = \theta - \rho\,(M\theta - b + \lambda\theta), \qquad
    \log w^+ = \log w + \eta\,(X\theta - y)\odot(X v) + \mathrm{const}, \qquad
    (M + \lambda I)\,v = \nabla F(\theta),

as :mod:`..least_squares`, whose numbers it shares. The second moments :math:`M = E_w[x x^\top]` of
all cells are one product of the weights with ``(n, p^2)`` products of features where that is small,
else a batched product.
"""

from __future__ import annotations

from ...features import num_features, quadratic_pairs
from ...linalg import solve_each
from ...problems import LeastSquares
from ...types import Array
from .step import Move, advance_log_weights

__all__ = ["LeastSquaresKernel"]

WIDE = 30
"""Largest p for which ``w @ (x x^T)`` in one product beats the batched product."""


class LeastSquaresKernel:
    """Steps LeastSquares cells with direct solves; see :class:`.step.Kernel`."""

    budget = cap = 0

    def __init__(self, problem: LeastSquares) -> None:
        self.problem, xp = problem, problem.xp
        n, p = problem.num_samples, problem.num_params
        self._columns = problem.X.T
        self._eye = xp.eye(p, dtype=problem.dtype, device=problem.device)
        self._is_wide = p > WIDE
        self._products = None if self._is_wide else _outer_products(problem)
        self.numbers_per_cell = n * p if self._is_wide else max(n, p * p)
        self._pairs = None
        if num_features(p) < n:
            rows, columns, factor = quadratic_pairs(p)
            self._pairs = xp.asarray(rows * p + columns, device=problem.device)
            self._factor = xp.asarray(factor, dtype=problem.dtype, device=problem.device)

    def start(self, theta: Array, log_w: Array) -> Array:
        d = 0 if self._pairs is None else num_features(self.problem.num_params)
        return self.problem.xp.zeros((theta.shape[0], d), dtype=theta.dtype, device=theta.device)

    def coordinates(self, carry: Array) -> Array | None:
        return None if self._pairs is None else carry

    def step(
        self, theta: Array, log_w: Array, carry: Array, rho: Array, eta: Array, alive: Array
    ) -> Move:
        xp, problem = self.problem.xp, self.problem
        r = theta @ self._columns - problem.y
        M, slope = self._moments(xp.exp(log_w), theta, r)
        H = xp.where(alive[:, None, None], M + problem.ridge * self._eye, self._eye)
        v, solved = self._solve(H, theta @ problem.val_hessian - problem.val_target)
        log_w, total = advance_log_weights(xp, log_w, eta * r * (v @ self._columns))
        new_theta = theta - rho * (slope + problem.ridge * theta)
        if self._pairs is not None:
            carry = carry + eta * self._coefficients(theta, v)
        used = xp.zeros(total.shape, dtype=xp.int64, device=theta.device)
        return Move(new_theta, log_w, carry, total, solved, used)

    def _moments(self, w: Array, theta: Array, r: Array) -> tuple[Array, Array]:
        """Return ``E_w[x x^T]`` (T, p, p) and ``E_w[r x]`` (T, p)."""
        xp, X = self.problem.xp, self.problem.X
        if self._products is None:
            M = xp.matmul(self._columns * w[:, None, :], X)
        else:
            M = xp.reshape(w @ self._products, (w.shape[0], X.shape[1], X.shape[1]))
        return M, (w * r) @ X

    def _solve(self, H: Array, b: Array) -> tuple[Array, Array]:
        """Return v and who was solved, in the row space where the ridge is 0."""
        Q = self.problem.row_space
        may_be_singular = self.problem.ridge == 0
        if Q is None:
            return solve_each(H, b, may_be_singular=may_be_singular)
        xp = self.problem.xp
        H, b = xp.matmul(xp.matmul(Q.T, H), Q), b @ Q
        v, solved = solve_each(H, b, may_be_singular=may_be_singular)
        return v @ Q.T, solved

    def _coefficients(self, theta: Array, v: Array) -> Array:
        """Return the coefficients (T, d) of (x.theta)(x.v) - y (x.v) on the features."""
        xp = self.problem.xp
        product = theta[:, :, None] * v[:, None, :]
        both = product + xp.matrix_transpose(product)
        flat = xp.reshape(both, (v.shape[0], v.shape[1] ** 2))
        return xp.concat([self._factor * xp.take(flat, self._pairs, axis=-1), -v], axis=-1)


def _outer_products(problem: LeastSquares) -> Array:
    """Return ``x_a x_b`` of all samples, (n, p^2)."""
    X, (n, p) = problem.X, problem.X.shape
    return problem.xp.reshape(X[:, :, None] * X[:, None, :], (n, p * p))
