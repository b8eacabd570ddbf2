"""T5 at its edges: duplicates, intercept, n <= p, rank, zero residuals, grad F = 0, softmax."""

from __future__ import annotations

import numpy as np

from ....dynamics import LeastSquares, Problem, integrate_frozen
from ....dynamics.types import Array
from ...rest_points import frozen_rest_point
from ..certificate import Check, at_least, at_most, exactly
from ..instances import ridge_problem, softmax_problem

__all__ = ["edge_checks"]


def edge_checks() -> list[Check]:
    """Return the checks of all degenerate cases."""
    return [
        *_duplicates(), *_few_samples(), *_lower_rank(), *_zero_residuals(), *_no_pull(),
        *_smaller_cone(), *_fitted_outside_the_cone(), *_softmax(),
    ]  # fmt: skip


def limit(problem: Problem, theta: Array, w0: Array | None = None) -> np.ndarray:
    """Return the weights at rest; NaN where the flow does not get there."""
    n = problem.num_samples
    scale = float(np.abs(problem.hypergradient(theta, np.full(n, 1.0 / n))).max())
    run = integrate_frozen(
        problem, theta=theta, w0=w0, t_span=(0.0, 1e12 / scale), rtol=1e-7, num_saved=2,
        rest_tol=1e-11 * scale, max_evaluations=20_000,
    )  # fmt: skip
    return np.asarray(run.w[-1]) if run.status.success else np.full(n, np.nan)


def count(w: Array) -> int:
    """Return the number of weights above 1e-6 of the largest."""
    return int((w > 1e-6 * w.max()).sum())


def _at_uniform(problem: LeastSquares) -> np.ndarray:
    """Return the solution for uniform weights, where the gradients surround zero."""
    return np.linalg.lstsq(problem.X, problem.y, rcond=None)[0]


def _duplicates() -> list[Check]:
    """Return that a repeated support sample gives p+1 nonzeros, in a conserved ratio."""
    base = ridge_problem(1, n=20, p=3, ridge=0.0)
    theta = _at_uniform(base)
    alone = limit(base, theta)
    twice = int(np.argmax(alone))
    doubled = base.batch(train=np.append(np.arange(20), twice))
    w0 = np.full(21, 1.0 / 22)
    w0[twice] *= 2.0
    w = limit(doubled, theta, w0)
    near = LeastSquares(
        doubled.X + np.outer(np.arange(21) == 20, [1e-3, 0, 0]), doubled.y, base.X_val, base.y_val,
        ridge=0.0,
    )  # fmt: skip
    return [
        exactly("duplicated support sample, p = 3: nonzeros", count(w), 4,
                "p+1, on p distinct rows"),
        at_most("duplicated sample: |w_i / w_j - 2| from a start of ratio 2",
                abs(w[twice] / w[20] - 2.0), 1e-9, "equal rows of Gamma: the ratio is conserved"),
        exactly("the same with its copy moved by 1e-3: nonzeros", count(limit(near, theta)), 3,
                "distinct rows"),
    ]  # fmt: skip


def _few_samples() -> list[Check]:
    """Return the limits of few samples (1 lies in the range of Gamma), and with an intercept."""
    rng = np.random.default_rng(3)
    X, residuals, multipliers = (
        rng.standard_normal((5, 8)),
        rng.uniform(1, 2, 5),
        rng.uniform(1, 2, 5),
    )
    grad_val = multipliers @ (residuals[:, None] * X)
    problem = LeastSquares(X, -residuals, np.eye(8), -8.0 * grad_val, ridge=0.0)
    w, expected = limit(problem, np.zeros(8)), multipliers * residuals**2
    intercept = ridge_problem(4, n=40, p=3, ridge=0.0)
    shifted = LeastSquares(
        np.column_stack([intercept.X[:, :2], np.ones(40)]), intercept.y,
        np.column_stack([intercept.X_val[:, :2], np.ones(16)]), intercept.y_val, ridge=0.0,
    )  # fmt: skip
    return [
        at_most("n = 5 < p = 8, r = 4: distance of w from lambda_i r_i^2, all five positive",
                np.abs(w - expected / expected.sum()).sum(), 1e-8,
                "|S| <= r fails where 1 is in the range of Gamma: Psi is constant on all samples"),
        exactly("intercept, p = 3: nonzeros", count(limit(shifted, _at_uniform(shifted))), 3, "p"),
    ]  # fmt: skip


def _lower_rank() -> list[Check]:
    rng = np.random.default_rng(5)
    base = ridge_problem(6, n=30, p=2, ridge=0.0)
    basis = rng.standard_normal((2, 4))
    problem = LeastSquares(base.X @ basis, base.y, base.X_val @ basis, base.y_val, ridge=0.0)
    return [
        exactly("features of rank 2 in p = 4, ridge 0: nonzeros",
                count(limit(problem, _at_uniform(problem))), 2, "r = 2 replaces p"),
    ]  # fmt: skip


def _zero_residuals() -> list[Check]:
    """Exactly fitted samples have gradient zero: constraint 0 <= 1 is never tight."""
    base = ridge_problem(7, n=30, p=3, ridge=0.0)
    theta = _at_uniform(base)
    y = base.y.copy()
    y[:6] = base.X[:6] @ theta
    problem = LeastSquares(base.X, y, base.X_val, base.y_val, ridge=0.0)
    w = limit(problem, theta)
    return [
        exactly("six of 30 samples fitted exactly, p = 3: nonzeros", count(w), 3, "p"),
        at_most("largest weight of a fitted sample", w[:6].max(), 1e-9, "its rate is -s"),
    ]  # fmt: skip


def _no_pull() -> list[Check]:
    base = ridge_problem(8, n=10, p=3, ridge=0.0)
    target = np.array([1.0, -2.0, 0.5])
    problem = LeastSquares(base.X, base.y, base.X_val, base.X_val @ target, ridge=0.0)
    run = integrate_frozen(problem, theta=target, t_span=(0.0, 1e3))
    return [
        at_most("grad F = 0: change of log w over 1e3 units of time",
                np.abs(run.log_w[-1] - run.log_w[0]).max(), 1e-9, "v = 0: every w is at rest"),
    ]  # fmt: skip


def _smaller_cone() -> list[Check]:
    """Return how grad F along one vertex ends: fewer than p nonzeros at ridge 0."""
    X = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, -1.0], [-1.0, 0.0]])
    problem = LeastSquares(X, -np.ones(4), np.eye(2), [-2.0, 0.0], ridge=0.0)
    w = limit(problem, np.zeros(2))
    return [
        exactly("ridge 0, p = 2, grad F parallel to one gradient: nonzeros", count(w), 1,
                "|S| = p needs grad F inside the cone of a facet"),
    ]  # fmt: skip


def _fitted_outside_the_cone() -> list[Check]:
    """Return where fitted samples that span hold the weights, though grad F is in no cone."""
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
    problem = LeastSquares(X, [0.0, 0.0, 1.0], np.eye(2), [-2.0, -4.0], ridge=0.0)
    w0 = np.array([0.2, 0.3, 0.5])
    w = limit(problem, np.zeros(2), w0)
    rate = X[2] @ np.linalg.solve((X.T * w) @ X, [-1.0, -2.0])
    tool = frozen_rest_point(problem, np.zeros(2))
    return [
        at_most("fitted samples 1 and 2, grad F = -grad l_3: distance of w from (2/5, 3/5, 0)",
                np.abs(w - [0.4, 0.6, 0.0]).sum(), 1e-9,
                "equal (zero) gradients keep the ratio of the start; outside the cone, at rest"),
        at_most("growth rate of sample 3 there, by dense algebra",
                rate, -9.0, "-1/a - 4/(1-a) <= -9 for every share a"),
        exactly("`frozen_rest_point` names the fitted samples", int(tool.status == "fitted"), 1,
                "neither a vertex nor a loss of rank"),
    ]  # fmt: skip


def _softmax() -> list[Check]:
    """Return the counts for softmax regression, whose gradients span d(C-1) of dC dimensions."""
    supports, gaps = [], []
    for seed in range(3):
        problem = softmax_problem(seed, n=40, d=2, classes=3, ridge=0.05)
        theta = 0.3 * np.random.default_rng(seed).standard_normal(6)
        w = limit(problem, theta)
        supports.append(count(w))
        gaps.append(_softmax_gap(problem.X, problem.labels, theta, w, problem))
    return [
        at_most("softmax, d = 2, C = 3: largest |S|", max(supports), 4,
                "r <= d(C-1) = 4, not dC = 6"),
        at_least("softmax: smallest |S|", min(supports), 1, "the flow settled"),
        at_most("softmax: relative duality gap at the ends, by dense algebra", max(gaps), 1e-8,
                "rest at 1e-11"),
    ]  # fmt: skip


def _softmax_gap(X: Array, labels: Array, theta: Array, w: Array, problem: Problem) -> float:
    """Return the relative duality gap of the weights in plain NumPy."""

    def probabilities(features: np.ndarray) -> np.ndarray:
        z = np.exp(features @ theta.reshape(2, 3))
        return np.asarray(z / z.sum(axis=1, keepdims=True))

    def gradients(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        error = probabilities(features) - np.eye(3)[classes]
        return np.einsum("if,ic->ifc", features, error).reshape(len(features), 6)

    H = problem.ridge * np.eye(6)
    for weight, x, pi in zip(w, X, probabilities(X), strict=True):
        H += weight * np.kron(np.outer(x, x), np.diag(pi) - np.outer(pi, pi))
    f = gradients(problem.X_val, problem.labels_val).mean(axis=0)  # type: ignore[attr-defined]
    a = gradients(X, labels) @ np.linalg.solve(H, f)
    return float((a.max() - w @ a) / np.abs(a).max())
