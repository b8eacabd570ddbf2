"""Distances to a solution, against linear programs, finite differences and known solutions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from warmflow.analysis import (
    clean_mass,
    cosine_to_exact,
    kkt_residual,
    rate_ratio,
    smallest_curvature,
    theta_error,
)
from warmflow.dynamics import LeastSquares, MultiProblem, SoftmaxRegression, integrate_exact


def clusters(seed: int = 0, n: int = 20, p: int = 2, ridge: float = 0.05) -> LeastSquares:
    rng = np.random.default_rng(seed)
    X, X_val = rng.normal(size=(n, p)), rng.normal(size=(15, p))
    sign = np.where(np.arange(n) < n // 2, 1.0, -1.0)
    y = sign * X.sum(axis=1) + 0.2 * rng.normal(size=n)
    y_val = X_val.sum(axis=1) + 0.2 * rng.normal(size=15)
    return LeastSquares(X, y, X_val, y_val, ridge=ridge)


def test_the_gap_is_the_best_linear_gain_over_the_simplex() -> None:
    q = clusters()
    w = np.random.default_rng(1).dirichlet(np.ones(20))
    g = q.outer_grad(w)
    best = linprog(g, A_eq=np.ones((1, 20)), b_eq=[1.0]).fun
    assert_allclose(kkt_residual(q, w), g @ w - best, rtol=1e-9)
    assert kkt_residual(q, w) > 0.01


def test_the_gap_vanishes_at_a_constrained_minimum_only() -> None:
    """One feature, two samples: h is monotone along the segment, so a vertex minimises it."""
    q = LeastSquares([[1.0], [1.0]], [0.0, 1.0], [[1.0]], [5.0], ridge=0.0)
    assert_allclose(kkt_residual(q, [0.0, 1.0]), 0.0, atol=1e-14)
    assert kkt_residual(q, [1.0, 0.0]) > 1.0
    assert kkt_residual(q, [0.5, 0.5]) > 0.1


def test_the_gap_falls_along_the_exact_flow() -> None:
    q = clusters()
    run = integrate_exact(q, t_span=(0, 500), t_eval=[0, 500])
    gaps = kkt_residual(q, run.w)
    assert gaps.shape == (2,)
    assert gaps[1] < 1e-3 * gaps[0]


def test_theta_error_is_the_distance_to_the_weighted_regression() -> None:
    q, rng = clusters(), np.random.default_rng(0)
    w, theta = rng.dirichlet(np.ones(20), size=3), rng.normal(size=(3, 2))
    for k in range(3):
        H = q.X.T @ (w[k][:, None] * q.X) + 0.05 * np.eye(2)
        star = np.linalg.solve(H, q.X.T @ (w[k] * q.y))
        assert_allclose(theta_error(q, theta, w)[k], np.linalg.norm(theta[k] - star), rtol=1e-10)


def test_cosine_tells_descent_from_ascent() -> None:
    """The sign of the cosine is that of -dh/dt along the mirror flow of the given field."""
    q, rng = clusters(), np.random.default_rng(0)
    w = rng.dirichlet(np.ones(20))
    exact = q.outer_grad(w)
    assert_allclose(cosine_to_exact(q, np.zeros(2), w, exact), 1.0, rtol=1e-9)
    assert_allclose(cosine_to_exact(q, np.zeros(2), w, 7.0 - exact), -1.0, rtol=1e-9)
    for _ in range(5):
        field = rng.normal(size=20)
        step = w * np.exp(-1e-6 * field)
        dh = q.outer_loss(step / step.sum()) - q.outer_loss(w)
        assert np.sign(cosine_to_exact(q, np.zeros(2), w, field)) == -np.sign(dh)
    assert np.isnan(cosine_to_exact(q, np.zeros(2), w, np.ones(20)))


def test_clean_mass_is_a_share() -> None:
    clean = np.array([True, False, True])
    assert_allclose(clean_mass([[1.0, 2.0, 1.0], [0.0, 3.0, 0.0]], clean), [0.5, 0.0])


def test_rate_ratio_by_its_definition() -> None:
    q = clusters()
    w = np.full(20, 1 / 20)
    psi = q.outer_grad(w)
    P = np.diag(w) - np.outer(w, w)
    curvature = np.linalg.eigvalsh(q.X.T @ (w[:, None] * q.X) + 0.05 * np.eye(2))[0]
    expected = 3.0 * np.sqrt(psi @ P @ psi) / (0.5 * curvature)
    assert_allclose(rate_ratio(q, alpha=0.5, beta=3.0), expected, rtol=1e-10)
    assert_allclose(rate_ratio(q, alpha=5.0, beta=30.0), expected, rtol=1e-10)
    assert rate_ratio(clusters(n=4, p=6, ridge=0.0), 1.0, 1.0) > 1e10


def test_smallest_curvature_of_softmax_is_the_ridge() -> None:
    rng = np.random.default_rng(0)
    q = SoftmaxRegression(
        rng.normal(size=(9, 3)), np.arange(9) % 3, rng.normal(size=(4, 3)), [0, 1, 2, 0], ridge=0.2
    )
    w, theta = np.full(9, 1 / 9), rng.normal(size=9)
    assert_allclose(np.linalg.eigvalsh(q.hessian(theta, w))[0], smallest_curvature(q, theta, w))


def test_lanczos_agrees_with_the_dense_eigenvalue(monkeypatch) -> None:
    q = clusters(n=60, p=5)
    w, theta = np.full(60, 1 / 60), np.zeros(5)
    dense = smallest_curvature(q, theta, w)
    monkeypatch.setattr("warmflow.analysis.regime.DENSE", 2)
    assert_allclose(smallest_curvature(q, theta, w), dense, rtol=1e-8)


def test_rate_ratio_of_several_problems() -> None:
    """Two copies of one problem: H is block diagonal, Psi the mean of equal fields."""
    q = clusters()
    assert_allclose(rate_ratio(MultiProblem([q, q]), 1.0, 2.0), rate_ratio(q, 1.0, 2.0), rtol=1e-9)
    single = MultiProblem([clusters(p=1)])
    assert rate_ratio(single, 1.0, 1.0) > 0


Q, CLEAN = clusters(), np.ones(20, dtype=bool)
ERRORS = {
    "kkt problem": (
        lambda: kkt_residual(3, np.ones(20)),
        TypeError,
        r"`problem` must be a Problem",
    ),
    "kkt shape": (
        lambda: kkt_residual(Q, np.ones(3)),
        ValueError,
        r"`w` must have shape \(\.\.\., 20\); got \(3,\)",
    ),
    "kkt sign": (lambda: kkt_residual(Q, -np.ones(20)), ValueError, r"`w` must be >= 0; got -1\.0"),
    "kkt sum": (lambda: kkt_residual(Q, np.zeros(20)), ValueError, r"`w` must have a positive sum"),
    "kkt nan": (lambda: kkt_residual(Q, np.full(20, np.nan)), ValueError, r"`w` must be finite"),
    "theta": (
        lambda: theta_error(Q, np.ones(5), np.ones(20)),
        ValueError,
        r"`theta` must have shape \(\.\.\., 2\)",
    ),
    "direction": (
        lambda: cosine_to_exact(Q, np.ones(2), np.ones(20), np.ones(2)),
        ValueError,
        r"`direction` must have shape",
    ),
    "leading": (
        lambda: theta_error(Q, np.ones((3, 2)), np.ones((4, 20))),
        ValueError,
        r"leading axes must broadcast together; got `theta` \(3, 2\), `w` \(4, 20\)",
    ),
    "curvature": (
        lambda: smallest_curvature(Q, np.ones(3), np.ones(20)),
        ValueError,
        r"`theta` must have shape \(2,\)",
    ),
    "clean": (
        lambda: clean_mass(np.ones(3), [1, 0, 1]),
        TypeError,
        r"`clean` must be a boolean mask",
    ),
    "clean length": (
        lambda: clean_mass(np.ones(3), CLEAN),
        ValueError,
        r"`clean` must have shape \(3,\)",
    ),
    "alpha": (
        lambda: rate_ratio(Q, alpha=0.0, beta=1.0),
        ValueError,
        r"`alpha` must be > 0; got 0\.0",
    ),
    "beta": (
        lambda: rate_ratio(Q, alpha=1.0, beta=-1.0),
        ValueError,
        r"`beta` must be >= 0; got -1\.0",
    ),
}


@pytest.mark.parametrize("call, error, match", ERRORS.values(), ids=ERRORS.keys())
def test_bad_input_is_named(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
