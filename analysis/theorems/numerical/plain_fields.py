r"""The weight fields of all methods at held theta on ridge regression, in plain NumPy.

They share no code with the methods: dense algebra, Krylov spaces by QR, the Neumann
polynomial in the eigenbasis of H, and derivatives of unrolled steps by a complex step, in place of
sweeps back or forth.
"""

from __future__ import annotations

import numpy as np

from ....dynamics import LeastSquares
from ....dynamics.types import Array
from .ridge_programs import Instance

__all__ = [
    "conjugate_gradient", "gap", "hessian", "implicit", "neumann", "penalty", "unrolled",
]  # fmt: skip

STEP = 1e-30
"""The complex step: nothing is subtracted, so that no digit is lost."""


def hessian(problem: LeastSquares, w: Array) -> np.ndarray:
    """Return ``H(w)``."""
    return problem.X.T @ (w[:, None] * problem.X) + problem.ridge * np.eye(problem.num_params)


def implicit(at: Instance, w: Array) -> np.ndarray:
    """Return ``-J' H^-1 grad F``."""
    return np.asarray(-at.ascent(w))


def conjugate_gradient(at: Instance, w: Array, count: int) -> np.ndarray:
    """Return ``-J' q`` with q the Galerkin solution in the Krylov space of ``count`` vectors."""
    H, columns = hessian(at.problem, w), [at.grad_val]
    for _ in range(min(count, at.problem.num_params) - 1):
        columns.append(H @ columns[-1])
    basis = np.linalg.qr(np.column_stack([v / np.linalg.norm(v) for v in columns]))[0]
    q = basis @ np.linalg.solve(basis.T @ H @ basis, basis.T @ at.grad_val)
    return np.asarray(-at.gamma @ q)


def neumann(at: Instance, w: Array, count: int, rho: float) -> np.ndarray:
    """Return ``-J' (I - (I - rho H)^K) H^-1 grad F``, in the eigenbasis of H."""
    values, vectors = np.linalg.eigh(hessian(at.problem, w))
    factor = (1.0 - (1.0 - rho * values) ** count) / values
    return np.asarray(-at.gamma @ (vectors @ (factor * (vectors.T @ at.grad_val))))


def unrolled(at: Instance, w: Array, count: int, rho: float, kept: int | None = None) -> np.ndarray:
    """Return the derivative in w of F after ``count`` steps, through the last ``kept`` of them."""
    problem, kept, n = at.problem, count if kept is None else kept, w.size
    X, y = problem.X, problem.y
    theta = at.theta.astype(complex) + np.zeros((n, 1))
    for step in range(count):
        active = w + 1j * STEP * np.eye(n) * (step >= count - kept)
        theta = theta - rho * ((active * (theta @ X.T - y)) @ X + problem.ridge * theta)
    residuals = theta @ problem.X_val.T - problem.y_val
    return np.asarray((0.5 * (residuals * residuals).mean(axis=1)).imag / STEP)


def penalty(at: Instance, w: Array, mu: float, multiplier: Array | float = 0.0) -> np.ndarray:
    """Return ``mu J'(J w + lam theta) - J' nu``."""
    slope = at.gamma.T @ w + at.problem.ridge * at.theta
    return np.asarray(at.gamma @ (mu * slope - multiplier))


def gap(problem: LeastSquares, theta: Array, other: Array, sigma: float) -> np.ndarray:
    """Return ``(l(theta) - l(other)) / sigma``."""
    first, second = (problem.X @ point - problem.y for point in (theta, other))
    return np.asarray(0.5 * (first**2 - second**2) / sigma)
