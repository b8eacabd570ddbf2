"""Sweeps of softmax regression against a plain loop with dense Hessians."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import SoftmaxRegression, Status, sweep
from warmflow.dynamics.sweeps import softmax as engine
from warmflow.dynamics.sweeps.conjugate import correct

from .cases import softmax

STRICT = 1e-10


def plain(q: SoftmaxRegression, rho: float, eta: float, num_steps: int, theta: np.ndarray):
    """One cell, gradients and Hessian written out sample by sample."""
    n, C = q.num_samples, q.num_classes
    log_w, hot = np.full(n, -np.log(n)), np.eye(C)

    def probabilities(X, theta):
        z = np.exp(X @ theta.reshape(-1, C) - (X @ theta.reshape(-1, C)).max(1, keepdims=True))
        return z / z.sum(1, keepdims=True)

    for _ in range(num_steps):
        w, pi = np.exp(log_w), probabilities(q.X, theta)
        S = np.einsum("ic,cd->icd", pi, hot) - np.einsum("ic,id->icd", pi, pi)
        H = np.einsum("i,ia,ib,icd->acbd", w, q.X, q.X, S).reshape(theta.size, -1)
        error = probabilities(q.X_val, theta) - hot[q.labels_val]
        g = (q.X_val.T @ error).ravel() / q.num_val
        v = np.linalg.solve(H + q.ridge * np.eye(theta.size), g)
        error = pi - hot[q.labels]
        theta = theta - rho * ((q.X.T @ (w[:, None] * error)).ravel() + q.ridge * theta)
        log_w = log_w + eta * (error * (q.X @ v.reshape(-1, C))).sum(1)
        log_w = log_w - log_w.max()
        log_w = log_w - np.log(np.exp(log_w).sum())
    return np.concatenate([theta, np.exp(log_w)])


@pytest.mark.parametrize("n, f, C, ridge", [(40, 4, 3, 0.1), (30, 6, 2, 1e-3)])
def test_every_insensitive_cell_equals_the_plain_loop(n, f, C, ridge) -> None:
    q = softmax(n=n, f=f, C=C, m=20, ridge=ridge)
    alpha, beta = [0.05, 0.5], [1e-3, 0.1, 10.0]
    ds = sweep(q, alpha=alpha, beta=beta, num_steps=150, keep_weights=True)
    assert json.loads(ds.attrs["provenance"])["config"]["backend"] == "iterative"
    theta0, strict = q.initial_theta(np.full(n, 1 / n)), 0
    for i, j in np.ndindex(2, 3):
        path = plain(q, alpha[i], beta[j], 150, theta0)
        other = plain(q, alpha[i], beta[j], 150, theta0 * (1 + 1e-13))
        if np.abs(path - other).max() > STRICT:
            continue
        assert_allclose(np.concatenate([ds.theta[i, j], ds.w[i, j]]), path, rtol=0, atol=STRICT)
        strict += 1
    assert strict >= 3


def test_statuses_and_variables_are_those_of_the_oracles() -> None:
    q = softmax(n=30)
    rates = {"alpha": [0.1, 1e14], "beta": [0.1, 1.0], "num_steps": 30, "save_steps": 10}
    fast, slow = sweep(q, **rates), sweep(q, **rates, backend="numpy")
    assert set(fast) == set(slow)
    assert (fast.status == slow.status).all()
    assert (fast.status[1] == Status.diverged).all()
    assert (fast.last_step == slow.last_step).all()
    for name in ("theta", "ess", "val_loss", "outer_loss", "test_accuracy"):
        assert_allclose(fast[name][0], slow[name][0], rtol=1e-8, atol=1e-10)


def test_chunks_do_not_change_the_numbers(monkeypatch) -> None:
    q = softmax(n=30)
    rates = {"alpha": [0.1, 0.3], "beta": np.geomspace(0.01, 1.0, 5), "num_steps": 40}
    whole = sweep(q, **rates)
    monkeypatch.setattr(engine, "CHUNK_NUMBERS", 1)
    monkeypatch.setattr(engine, "TILE_NUMBERS", 1)
    monkeypatch.setattr(engine, "MAX_RANK", 1)
    assert_allclose(sweep(q, **rates).theta, whole.theta, rtol=0, atol=1e-11)


def test_a_failing_preconditioner_is_replaced(monkeypatch) -> None:
    q = softmax(n=30)
    rates = {"alpha": [0.1], "beta": [0.1], "num_steps": 10}
    usual = sweep(q, **rates)
    monkeypatch.setattr(engine, "CAP", 0)
    assert_allclose(sweep(q, **rates).theta, usual.theta, rtol=0, atol=1e-11)


def test_losses_of_many_cells_are_those_of_each() -> None:
    """More cells than share an iterative solve, in another order than that of their groups."""
    q = softmax(n=30)
    rates = {"alpha": [0.05, 0.1, 0.3], "beta": np.geomspace(0.01, 5.0, 5), "num_steps": 30}
    ds = sweep(q, **rates, keep_weights=True)
    for i, j in np.ndindex(3, 5):
        assert_allclose(ds.outer_loss[i, j], q.outer_loss(ds.w[i, j].values), rtol=1e-8)


def test_a_cell_that_overflows_harms_no_other() -> None:
    q = softmax(n=30)
    theta0 = q.initial_theta(np.full(30, 1 / 30))
    rates = {"beta": [0.1], "num_steps": 8, "theta0": 1e3 * theta0}
    alone = sweep(q, alpha=[0.1], **rates)
    beside = sweep(q, alpha=[0.1, 1e308], **rates)
    assert beside.status[1, 0] != Status.ok
    assert_allclose(beside.theta[0], alone.theta[0], rtol=1e-9)
    big = SoftmaxRegression(1e40 * q.X, q.labels, q.X_val, q.labels_val, ridge=q.ridge)
    ds = sweep(big, alpha=[0.1], beta=[0.1], num_steps=3, theta0=np.full(theta0.size, 1e300))
    assert ds.status[0, 0] != Status.ok


def test_correct_solves_each_cell_and_counts_its_iterations() -> None:
    """The identity takes one iteration, k distinct eigenvalues take k, a negative form fails."""
    spectra = np.array([np.ones(6), [1, 1, 2, 2, 5, 5], np.arange(1.0, 7), -np.ones(6)])
    b = np.random.default_rng(0).normal(size=(4, 6))
    sign = np.array([1.0, 1.0, 1.0, -1.0])[:, None]
    found = correct(
        lambda cells: lambda d: spectra[cells] * d,
        lambda cells: lambda r: sign[cells] * r,
        b,
        np.zeros(4),
        tol=1e-12,
        cap=20,
    )
    assert found.converged.tolist() == [True, True, True, False]
    assert found.iterations[:3].tolist() == [1, 3, 6]
    assert_allclose(found.x[:3], b[:3] / spectra[:3], rtol=1e-10)
