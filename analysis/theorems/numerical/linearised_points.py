"""Rest points of the flow of every kind, and their Jacobians by differences, for T7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog

from ....dynamics import LeastSquares
from ....dynamics.status import ConvergenceError
from ....dynamics.types import Array
from ...rest_points.solved import solved_vertex
from ...rest_points.trapped import stationary_point_on_face
from ...stability import joint_jacobian, simplex_tangent
from ..instances import ridge_problem
from .linearised import dense_weights, difference_jacobian, solved_draws

__all__ = [
    "ALPHA", "BETA", "RestPoint", "degenerate_points", "oracle_jacobian", "plain_gaps",
    "rest_points",
]  # fmt: skip

ALPHA, BETA = 1.0, 3.0
"""Speeds at which all spectra are measured."""


@dataclass(frozen=True)
class RestPoint:
    """A rest point of the flow; where theta is frozen, its speed ``alpha`` is zero."""

    kind: str
    problem: LeastSquares
    theta: np.ndarray
    w: np.ndarray
    alpha: float = ALPHA

    def analytic(self) -> np.ndarray:
        """Return the Jacobian of :func:`joint_jacobian`; that of the weights if theta is frozen."""
        J = joint_jacobian(self.problem, self.theta, self.w, self.alpha, BETA)
        return J if self.alpha else J[self.theta.size :, self.theta.size :]

    def measured(self) -> np.ndarray:
        """Return the same Jacobian from differences of the oracles."""
        return oracle_jacobian(self.problem, self.theta, self.w, self.alpha)


def rest_points(count: int) -> list[RestPoint]:
    """Return solved points, dense and sparse, trapped points and rest points at frozen theta."""
    points = []
    for p, n in ((1, 8), (2, 12), (3, 16)):
        for problem, theta, w in solved_draws(100, count, n, p, 5e-2):
            vertex = solved_vertex(problem, theta, np.cos(np.arange(n)))
            points += [
                RestPoint("solved", problem, theta, w),
                RestPoint("vertex", problem, theta, vertex),
            ]
        points += [trapped_point(seed, n, p) for seed in range(count)]
        points += [frozen_point(seed, n, p) for seed in range(count)]
    return points


def trapped_point(seed: int, n: int, p: int) -> RestPoint:
    """Return a rest point on a random face of p samples at which theta is not optimal."""
    rng = np.random.default_rng([seed, n, p])
    problem = ridge_problem(seed, n, p, 5e-2)
    while True:
        face = np.sort(rng.choice(n, p, replace=False))
        point = stationary_point_on_face(problem, face, rng.dirichlet(np.ones(p)))
        if point.converged and not point.solved and point.w[face].min() > 1e-2:
            return RestPoint("trapped", problem, point.theta, point.w)


def frozen_point(seed: int, n: int, p: int) -> RestPoint:
    """Return the attracting rest point at a frozen theta by the linear program of T5b."""
    rng = np.random.default_rng([seed, n, p])
    problem = ridge_problem(seed, n, p, 0.0)
    while True:
        theta = rng.standard_normal(p)
        r = problem.X @ theta - problem.y
        gamma = r[:, None] * problem.X
        slope = problem.X_val.T @ (problem.X_val @ theta - problem.y_val)
        program = linprog(-slope, A_ub=gamma, b_ub=np.ones(n), bounds=(None, None))
        if program.status == 0:
            active = np.asarray(program.slack) < 1e-9
            w = np.where(active, -program.ineqlin.marginals * r**2, 0.0)
            w = w / w.sum()
            if w[w > 0].min() > 1e-2:
                return RestPoint("frozen", problem, theta, w, alpha=0.0)


def oracle_jacobian(problem: LeastSquares, theta: Array, w: Array, alpha: float) -> np.ndarray:
    """Return differences of the field in the tangent space, weights below zero included."""
    p, E = theta.size, simplex_tangent(w.size)

    def field(rows: Array) -> np.ndarray:
        x, u = theta + rows[:, :p], w + rows[:, p:] @ E.T
        psi = problem.hypergradient(x, u)
        du = -BETA * u * (psi - (u * psi).sum(axis=-1, keepdims=True))
        return np.hstack([-alpha * problem.train_grad(x, u), du @ E])

    # H must stay far from singular within a step: a present sample may carry little of it.
    curvature = np.linalg.eigvalsh(problem.hvp(theta, w, np.eye(p)))[0]
    step = min(1e-4, 1e-2 * curvature / (problem.X**2).sum(axis=1).max())
    J = difference_jacobian(field, np.zeros(p + w.size - 1), step=float(step))
    return J if alpha else J[p:, p:]


def plain_gaps(point: RestPoint) -> np.ndarray:
    """Return c - Psi_i by dense algebra on the data alone."""
    q, r = point.problem, point.problem.X @ point.theta - point.problem.y
    H = (q.X.T * point.w) @ q.X + q.ridge * np.eye(point.theta.size)
    slope = q.X_val.T @ (q.X_val @ point.theta - q.y_val) / q.y_val.size
    a = r * (q.X @ np.linalg.solve(H, slope))
    return np.asarray(a - point.w @ a)


def degenerate_points(seed: int) -> list[tuple[LeastSquares, np.ndarray]]:
    """Return problems with dense solved weights, generic and degenerate in four ways."""
    (base, _, _), *_ = solved_draws(1000 * (seed + 1), 1, 12, 2, 5e-2)
    flat = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -0.3]])
    data: dict[str, tuple[Any, ...]] = {
        "generic": (base.X, base.y, base.X_val, base.y_val),
        "repeated": (np.tile(base.X, (2, 1)), np.tile(base.y, 2), base.X_val, base.y_val),
        "intercept": (
            np.column_stack([base.X[:, 0], np.ones(12)]), base.y,
            np.column_stack([base.X_val[:, 0], np.ones(base.num_val)]), 0.1 * base.y_val,
        ),
        "flat": (base.X @ flat, base.y, base.X_val @ flat, base.y_val),
    }  # fmt: skip
    rng = np.random.default_rng(seed)
    found = []
    for name, arrays in data.items():
        for ridge in (5e-2, 0.0) if name == "generic" else (5e-2,):
            X, y, X_val, y_val = arrays
            problem = LeastSquares(X, y, X_val, y_val, ridge=ridge)
            try:
                found.append((problem, dense_weights(problem, rng)))
            except (ValueError, ConvergenceError):  # this variant of the draw has no solved weights
                continue
    return found
