r"""Which samples survive at frozen theta, in plain NumPy: the programs of T5b once more.

Verifications compare the flow of the package and its own path of active sets with these few lines:
a simplex code for the linear program, nonnegative least squares and a bracketed root for the
quadratic one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, linprog, nnls

from ....dynamics import LeastSquares, integrate_frozen
from ....dynamics.types import Array

__all__ = ["Instance", "all_obtuse", "linear_program", "projection", "two_limits"]

SETTLED = 1e-11
"""Duality gap of the weights, relative to the largest entry of Psi at the start, that is rest."""
CAP = 20_000
"""Right-hand sides after which a run counts as not settled."""


@dataclass(frozen=True)
class Instance:
    """A problem with a point theta, and the quantities of T5b in plain NumPy."""

    problem: LeastSquares
    theta: np.ndarray

    @property
    def residuals(self) -> np.ndarray:
        """Return ``r_i``."""
        return self.problem.X @ self.theta - self.problem.y

    @property
    def gamma(self) -> np.ndarray:
        """Return the rows ``grad l_i = r_i x_i``."""
        return self.residuals[:, None] * self.problem.X

    @property
    def grad_val(self) -> np.ndarray:
        """Return ``grad F``."""
        X, y = self.problem.X_val, self.problem.y_val
        return X.T @ (X @ self.theta - y) / len(y)

    def ascent(self, w: Array) -> np.ndarray:
        """Return ``-Psi``."""
        X = self.problem.X
        H = X.T @ (w[:, None] * X) + self.problem.ridge * np.eye(X.shape[1])
        return self.gamma @ np.linalg.solve(H, self.grad_val)

    def limit(self, w0: Array) -> np.ndarray:
        """Return where the flow of the package takes the weights."""
        scale = np.abs(self.ascent(np.full(w0.size, 1.0 / w0.size))).max()
        run = integrate_frozen(
            self.problem, theta=self.theta, w0=w0, t_span=(0.0, 1e12 / scale), rtol=1e-7,
            rest_tol=SETTLED * scale, num_saved=2, max_evaluations=CAP,
        )  # fmt: skip
        return np.asarray(run.w[-1]) if run.status.success else np.full(w0.size, np.nan)

    def program(self) -> np.ndarray | None:
        """Return the weights that the program predicts; None where it is not finite."""
        plain = self.problem.ridge == 0.0
        found = linear_program(self.gamma, self.grad_val) if plain else self._quadratic_program()
        if found is None:
            return None
        w = found * self.residuals**2
        return np.asarray(w / w.sum())

    def _quadratic_program(self) -> np.ndarray:
        """Return multipliers at the root of ``kappa = ridge sum r^2 lambda(kappa)``."""
        gamma, f, r2 = self.gamma, self.grad_val, self.residuals**2

        def excess(kappa: float) -> float:
            return kappa - self.problem.ridge * float(r2 @ projection(gamma, f, kappa))

        top = float((gamma @ f).max())
        return projection(gamma, f, float(brentq(excess, 1e-9 * top, top, xtol=1e-15, rtol=1e-14)))


def linear_program(gamma: Array, f: Array) -> np.ndarray | None:
    """Return the multipliers of ``max <f, nu>``, ``gamma nu <= 1``, by the simplex method."""
    size = np.linalg.norm(f)
    result = linprog(
        np.ones(len(gamma)), A_eq=gamma.T, b_eq=f / size, bounds=(0, None), method="highs-ds"
    )
    if result.status != 0 or result.x is None:
        return None
    return np.asarray(float(size) * result.x)


def projection(gamma: Array, f: Array, kappa: float) -> np.ndarray:
    """Return the multipliers of the projection of f onto ``gamma d <= kappa``.

    A least-distance problem, solved by nonnegative least squares (Lawson and Hanson 1974, ch. 23).
    """
    matrix = np.vstack([-gamma.T, gamma @ f - kappa])
    scale = np.linalg.norm(matrix, axis=0)
    u, _ = nnls(matrix / scale, np.append(np.zeros(gamma.shape[1]), 1.0))
    last = 1.0 - matrix[-1] @ (u / scale)
    return np.asarray(u / scale / last)


def two_limits() -> Instance:
    """Return three samples, with grad F in their cone and ridge 1/2, of which two limits attract.

    Gradients (3, 3), (2, 1), (1/2, -1/2) and grad F = (3, 1) at theta = 0.
    """
    X, residuals = np.array([[1.0, 1.0], [2.0, 1.0], [1.0, -1.0]]), np.array([3.0, 1.0, 0.5])
    problem = LeastSquares(X, -residuals, np.eye(2), [-6.0, -2.0], ridge=0.5)
    return Instance(problem, np.zeros(2))


def all_obtuse() -> Instance:
    """Return two samples whose gradients both point away from grad F, with ridge 1."""
    problem = LeastSquares([[1.0, 0.5], [1.0, -1.0]], [1.0, 2.0], np.eye(2), [-2.0, 0.0], ridge=1.0)
    return Instance(problem, np.zeros(2))
