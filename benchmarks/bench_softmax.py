"""Softmax regression at the size of MNIST: the inner solve and the adjoint, without a Hessian.

Goal: theta_star at n = 2000, 785 features, 10 classes to a gradient norm of 1e-10 in under 60 s.
"""

import numpy as np
import pytest

from warmflow.dynamics import SoftmaxRegression


@pytest.fixture(scope="module")
def problem() -> SoftmaxRegression:
    """Ten noisy prototypes as images, half of the training labels redrawn."""
    rng = np.random.default_rng(0)
    prototypes = rng.random((10, 784)) * (rng.random((10, 784)) < 0.2)
    labels = rng.integers(0, 10, 2500)
    pixels = np.clip(prototypes[labels] + 0.3 * rng.random((2500, 784)) - 0.15, 0, 1)
    X = np.column_stack([pixels, np.ones(2500)])
    noisy = np.where(rng.random(2000) < 0.5, rng.integers(0, 10, 2000), labels[:2000])
    return SoftmaxRegression(X[:2000], noisy, X[2000:], labels[2000:], ridge=1e-3)


def test_theta_star(benchmark, problem: SoftmaxRegression) -> None:
    w = np.full(2000, 1 / 2000)
    theta = benchmark.pedantic(problem.theta_star, (w,), rounds=3)
    assert np.linalg.norm(problem.train_grad(theta, w)) <= 1e-10
    assert benchmark.stats.stats.max < 60.0


def test_adjoint(benchmark, problem: SoftmaxRegression) -> None:
    w = np.full(2000, 1 / 2000)
    theta = problem.theta_star(w)
    v = benchmark.pedantic(problem.adjoint, (theta, w), rounds=3)
    residual = problem.hvp(theta, w, v) - problem.val_grad(theta)
    assert np.linalg.norm(residual) < 1e-11 * np.linalg.norm(problem.val_grad(theta))
