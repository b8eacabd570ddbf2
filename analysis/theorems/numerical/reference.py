r"""The flows of ridge regression once more, in plain NumPy and full coordinates.

Verifications compare the package with these few lines: they share no code with ``dynamics``, use
neither its reductions nor its Jacobians, and are integrated by an explicit method of order 8.

.. math::

    \theta' = -\alpha\,(X^\top \mathrm{diag}(w)\,r + \lambda\theta), \qquad
    (\log w)_i' = \beta\, r_i\, x_i\cdot v + \mathrm{const}, \qquad r = X\theta - y .
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

from ....dynamics import LeastSquares
from ....dynamics.types import Array

__all__ = ["RidgeFlows", "derivative", "log_softmax", "order_of_convergence", "solve"]

Field = Callable[[float, np.ndarray], np.ndarray]


def log_softmax(z: Array) -> np.ndarray:
    """Return log-weights ``(..., n)`` that sum to one, from logits."""
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


class RidgeFlows:
    """Right-hand sides for one problem; states are (theta, log w) or log w, log w unnormalised."""

    def __init__(self, problem: LeastSquares) -> None:
        self.X, self.y, self.ridge = problem.X, problem.y, problem.ridge
        self.X_val, self.y_val = problem.X_val, problem.y_val
        self.p = self.X.shape[1]

    def hessian(self, w: Array) -> np.ndarray:
        """Return H(w)."""
        return self.X.T @ (w[:, None] * self.X) + self.ridge * np.eye(self.p)

    def theta_star(self, w: Array) -> np.ndarray:
        """Return the weighted ridge solution, of minimum norm where H lacks rank."""
        return np.linalg.lstsq(self.hessian(w), self.X.T @ (w * self.y), rcond=1e-12)[0]

    def ascent(self, theta: Array, w: Array) -> np.ndarray:
        """Return ``-Psi = J^T v``."""
        g = self.X_val.T @ (self.X_val @ theta - self.y_val) / len(self.y_val)
        v = np.linalg.lstsq(self.hessian(w), g, rcond=1e-12)[0]
        return (self.X @ theta - self.y) * (self.X @ v)

    def warm_started(self, alpha: float, beta: float) -> Field:
        """Return the field of (theta, log w)."""

        def field(t: float, z: np.ndarray) -> np.ndarray:
            theta, w = z[: self.p], np.exp(log_softmax(z[self.p :]))
            grad = self.X.T @ (w * (self.X @ theta - self.y)) + self.ridge * theta
            a = self.ascent(theta, w)
            return np.concatenate([-alpha * grad, beta * (a - w @ a)])

        return field

    def exact(self, beta: float) -> Field:
        """Return the field of log w along the exact flow."""

        def field(t: float, z: np.ndarray) -> np.ndarray:
            w = np.exp(log_softmax(z))
            a = self.ascent(self.theta_star(w), w)
            return beta * (a - w @ a)

        return field

    def frozen(self, theta: Array, beta: float) -> Field:
        """Return the field of log w at frozen theta."""

        def field(t: float, z: np.ndarray) -> np.ndarray:
            w = np.exp(log_softmax(z))
            a = self.ascent(theta, w)
            return beta * (a - w @ a)

        return field


def solve(field: Field, z0: Array, times: Array, rtol: float = 1e-12) -> np.ndarray:
    """Return states ``(k, N)`` at the times, by DOP853 from ``z0`` at the first of them."""
    times = np.asarray(times, dtype=np.float64)
    result = solve_ivp(
        field, (times[0], times[-1]), z0, method="DOP853", t_eval=times, rtol=rtol, atol=1e-13
    )
    if not result.success:
        raise RuntimeError(f"the reference integration failed: {result.message}")
    return np.asarray(result.y.T)


def derivative(f: Callable[[float], Array], step: float) -> np.ndarray:
    """Return f'(0) by the central difference of order 4."""
    near, far = f(step) - f(-step), f(2 * step) - f(-2 * step)
    return np.asarray((8 * near - far) / (12 * step))


def order_of_convergence(steps: Array, errors: Array) -> float:
    """Return the slope of log(error) against log(step), by least squares."""
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])
