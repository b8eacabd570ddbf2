"""Softmax regression at the size of MNIST: the inner solve, the adjoint and sweeps, no Hessian.

Goal: theta_star at n = 2000, 785 features, 10 classes to a gradient norm of 1e-10 in under 60 s.
"""

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import SoftmaxRegression, sweep


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


def test_sweep(benchmark, problem: SoftmaxRegression) -> None:
    """32 cells at once against one after another: by the same engine, and by the plain one.

    Some of the cells stand for all in the two loops: their mean counts 32 times.
    """
    theta0 = problem.initial_theta(np.full(2000, 1 / 2000))
    alpha = np.geomspace(0.1, 1.0, 4) / problem.constants()[1]
    beta = np.geomspace(1e-4, 1e-1, 8)

    def cells(alpha, beta, backend: str = "auto"):
        rates = {"alpha": alpha, "beta": beta, "num_steps": 10, "theta0": theta0}
        return sweep(problem, **rates, backend=backend)

    def loop(columns: range, backend: str) -> float:
        began = time.perf_counter()
        for k in columns:
            cells(alpha[2:3], beta[k : k + 1], backend)
        return (time.perf_counter() - began) * 32 / len(columns)

    together, alone, plain = [], [], []
    for _ in range(2):
        began = time.perf_counter()
        whole = cells(alpha, beta)
        together.append(time.perf_counter() - began)
        alone.append(loop(range(0, 8, 2), "auto"))
        plain.append(loop(range(1, 8, 4), "numpy"))
    assert_allclose(whole.theta[2, 2], cells(alpha[2], beta[2], "numpy").theta[0, 0], atol=1e-10)
    benchmark.extra_info.update(
        loop_over_cells=min(alone) / min(together), loop_over_plain=min(plain) / min(together)
    )
    benchmark.pedantic(cells, (alpha, beta), rounds=1)
    assert min(plain) > 3.0 * min(together)
