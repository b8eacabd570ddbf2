"""Sweeps of least squares with many parameters: conjugate gradients against the plain loop."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_info, threadpool_limits

from warmflow.dynamics import LeastSquares, Status, sweep, weights
from warmflow.dynamics.sweeps import adjoints, workers
from warmflow.dynamics.sweeps import iterative as engine
from warmflow.dynamics.sweeps.blocks import RowBlocks
from warmflow.dynamics.sweeps.extrapolation import History

from .cases import softmax, two_clusters
from .plain_loop import STRICT, plain, spread


def engine_of(ds) -> str:
    return json.loads(ds.attrs["provenance"])["config"]["backend"]


@pytest.mark.parametrize(
    "n, p, ridge, num_steps",
    [(110, 50, 1e-2, 200), (40, 60, 1e-2, 150), (700, 49, 1e-6, 120)],
)
def test_every_insensitive_cell_equals_the_plain_loop(n, p, ridge, num_steps) -> None:
    """On grids whose cells stay broad, collapse to one sample, or diverge."""
    q = two_clusters(n, p, 60, ridge=ridge)
    alpha = np.geomspace(0.1, 4.0, 3) / q.constants()[1]
    beta = np.geomspace(1e-4, 10.0, 5)
    ds = sweep(q, alpha=alpha, beta=beta, num_steps=num_steps, keep_weights=True)
    assert engine_of(ds) == "iterative"
    theta0, strict = q.initial_theta(np.full(n, 1 / n)), 0
    for i, j in np.ndindex(3, 5):
        path = plain(q, alpha[i], beta[j], num_steps, theta0)
        if path is None or spread(q, alpha[i], beta[j], num_steps, theta0, path)[-1] > STRICT:
            continue
        assert ds.status[i, j] == Status.ok
        ours = np.concatenate([ds.theta[i, j], ds.w[i, j]])
        assert_allclose(ours, path[-1], rtol=0, atol=STRICT)
        strict += 1
    assert strict >= 3


def test_statuses_and_variables_are_those_of_the_reference() -> None:
    q = two_clusters(1500, 50, 60)
    rates = {"alpha": [0.01, 5.0], "beta": [1e-3, 1e-2], "num_steps": 40, "save_steps": 20}
    fast, slow = sweep(q, **rates), sweep(q, **rates, backend="numpy")
    assert set(fast) == set(slow)
    assert (fast.status == slow.status).all()
    assert (fast.status[1] == Status.diverged).all()
    assert (fast.last_step == slow.last_step).all()
    for name in ("theta", "U", "ess", "entropy", "outer_loss"):
        assert_allclose(fast[name][0], slow[name][0], rtol=1e-9, atol=1e-12)
    w = weights(fast, q, alpha=0.01, beta=1e-2, step=40)
    assert_allclose(1 / (w**2).sum(), fast.ess[0, 1, -1], rtol=1e-8)


def test_a_cell_does_not_depend_on_its_neighbours(monkeypatch) -> None:
    q = two_clusters(120, 50, 60)
    beta = np.geomspace(1e-4, 4e-3, 9)
    whole = sweep(q, alpha=[0.01, 0.02], beta=beta, num_steps=60)
    monkeypatch.setattr(engine, "TILE_NUMBERS", 1)
    monkeypatch.setattr(engine, "MAX_CHUNK", 3)
    cut = sweep(q, alpha=[0.01, 0.02], beta=beta, num_steps=60)
    alone = sweep(q, alpha=[0.02], beta=beta[4:5], num_steps=60)
    assert_allclose(cut.theta, whole.theta, rtol=0, atol=1e-11)
    assert_allclose(alone.theta[0, 0], whole.theta[1, 4], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name, value", [("CREDIT", -1), ("CREDIT", 10**9), ("CAP", 0)])
def test_no_choice_of_the_preconditioner_changes_the_result(monkeypatch, name, value) -> None:
    """Always new, never renewed, always the direct solver."""
    q = two_clusters(130, 52, 60)
    rates = {"alpha": [0.01, 0.03], "beta": [1e-3, 4e-3], "num_steps": 50}
    usual = sweep(q, **rates)
    monkeypatch.setattr(adjoints, name, value)
    assert_allclose(sweep(q, **rates).theta, usual.theta, rtol=0, atol=1e-11)


@pytest.mark.parametrize("scales", [(1e20, 1.0, 1.0), (1.0, 1e-46, 1.0), (1.0, 1.0, 1e36)])
def test_units_beyond_single_precision(scales) -> None:
    """The preconditioners are kept in single precision, which ends at 1e38."""
    x, y, val = scales
    q = two_clusters(120, 50, 60)
    scaled = LeastSquares(x * q.X, y * q.y, x * q.X_val, val * y * q.y_val, ridge=q.ridge * x * x)
    rates = {"alpha": np.array([0.01]) / x**2, "beta": np.array([2e-3]) / (y * y * val)}
    fast = sweep(scaled, **rates, num_steps=30)
    slow = sweep(scaled, **rates, num_steps=30, backend="numpy")
    assert engine_of(fast) == "iterative"
    assert slow.ess[0, 0] < 110.0
    assert_allclose(fast.ess, slow.ess, rtol=1e-9)


@pytest.mark.parametrize("make", ["least squares", "softmax"])
def test_an_error_in_progress_stops_the_threads(make: str) -> None:
    q = two_clusters(120, 50, 60) if make == "least squares" else softmax(n=30)

    def refuse(share: float) -> None:
        assert 0.0 <= share < 0.5
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        sweep(q, alpha=[1e-3], beta=[1e-4], num_steps=10**6, progress=refuse)


def test_concurrent_sweeps_give_the_blas_back() -> None:
    """The first to come limits it, the last to go lifts the limit, in whatever order they go."""

    def threads() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        first, second = workers._calm_blas(2), workers._calm_blas(2)
        first.__enter__()
        second.__enter__()
        assert threads() == {1}
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == {2}


def test_adjoints_are_extrapolated_by_the_best_order() -> None:
    """Polynomials of degree k - 1 are continued exactly; noise is not amplified."""
    t = np.arange(12.0)
    noise = np.random.default_rng(0).normal(size=12)
    paths = np.stack([np.ones(12), 2 - t, t**2 - 3 * t, t**4, noise], axis=1)[:, :, None]
    history = History(np.zeros((5, 1)), max_order=6)
    for v in paths[:-1]:
        history.add(v)
    guess = history.guess()
    assert_allclose(guess[:4], paths[-1, :4], rtol=1e-9)
    assert np.abs(guess[4]) < 60 * np.abs(noise).max()
    history.keep(np.array([True, False, True, False, False]))
    assert_allclose(history.guess(), paths[-1, [0, 2]], rtol=1e-9)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_do_not_change_the_numbers(monkeypatch, threads: str) -> None:
    q = two_clusters(130, 52, 60)
    rates = {"alpha": [0.01], "beta": np.geomspace(1e-4, 1e-2, 8), "num_steps": 20}
    usual = sweep(q, **rates, backend="numpy")
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    assert_allclose(sweep(q, **rates).theta, usual.theta, rtol=0, atol=1e-11)


def test_what_the_engine_does_not_suit_runs_in_numpy() -> None:
    q = two_clusters(90, 49, 60)
    flat = LeastSquares(q.X, q.y, q.X_val, q.y_val, ridge=0.0)
    once = {"alpha": [0.01], "beta": [0.01], "num_steps": 2}
    assert engine_of(sweep(q, **once)) == "iterative"
    assert engine_of(sweep(q, **once, backend="numpy")) == "numpy"
    assert engine_of(sweep(q, **once, dtype="float32")) == "numpy"
    assert engine_of(sweep(flat, **once)) == "numpy"
    assert engine_of(sweep(two_clusters(60, 48, 40), **once)) == "compiled"


@pytest.mark.parametrize("n, p, width", [(7, 3, 2), (500, 100, 32), (5, 600, 32)])
def test_products_in_blocks(n: int, p: int, width: int) -> None:
    rng = np.random.default_rng(0)
    X, v, w = rng.normal(size=(n, p)), rng.normal(size=(3, p)), rng.random((3, n))
    rows = RowBlocks(X, width)
    assert_allclose(rows.join(rows.forward(v)), v @ X.T, rtol=1e-12, atol=1e-12)
    assert_allclose(rows.backward(rows.cut(w)), w @ X, rtol=1e-12, atol=1e-12)
    assert_allclose(rows.join(rows.cut(w)), w)
    assert_allclose(rows.gram(rows.cut(w)[:, 0]), (X.T * w[0]) @ X, rtol=1e-12, atol=1e-11)
