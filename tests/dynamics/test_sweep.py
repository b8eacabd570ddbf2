"""Sweeps against an independent plain loop, cell by cell, and their Dataset."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, Problem, Status, methods, run_method, sweep, weights
from warmflow.dynamics.sweeps import least_squares as engine
from warmflow.dynamics.sweeps import oracles

from .cases import least_squares, softmax, two_clusters
from .plain_loop import STRICT, plain, spread

SHAPES = [
    # n, p, m, ridge, steps: reduced, reduced with a larger p, not reduced, rank at its limit
    (60, 2, 30, 1e-2, 500),
    (120, 6, 60, 1e-2, 300),
    (40, 12, 40, 1e-2, 250),
    (40, 3, 20, 0.0, 400),
]


@pytest.mark.parametrize("n, p, m, ridge, num_steps", SHAPES)
def test_every_cell_equals_the_plain_loop(n, p, m, ridge, num_steps) -> None:
    """To 1e-10 at the end where loops that are as good as the plain one agree; else early on."""
    q = two_clusters(n, p, m, ridge=ridge)
    alpha = np.geomspace(0.02, 4.0, 5) / q.constants()[1]
    beta = np.geomspace(1e-3, 10.0, 6)
    early = min(50, num_steps)
    ds = sweep(
        q,
        alpha=alpha,
        beta=beta,
        num_steps=num_steps,
        save_steps=[early, num_steps],
        keep_weights=True,
    )
    theta0 = q.initial_theta(np.full(n, 1 / n))
    strict, sensitive, dead, ess = 0, 0, 0, {"plain": [], "sweep": []}
    for i, j in np.ndindex(5, 6):
        path = plain(q, alpha[i], beta[j], num_steps, theta0)
        if path is None:
            assert ds.status[i, j] != Status.ok
            dead += 1
            continue
        assert ds.status[i, j] == Status.ok
        ours = np.concatenate([ds.theta[i, j].values, ds.w[i, j].values], axis=-1)
        apart = spread(q, alpha[i], beta[j], num_steps, theta0, path)
        if apart[-1] <= STRICT:
            assert_allclose(ours[-1], path[-1], rtol=0, atol=STRICT)
            strict += 1
        else:
            sensitive += 1
            ess["plain"].append(1 / (path[-1][p:] ** 2).sum())
            ess["sweep"].append(float(ds.ess[i, j, -1]))
        if apart[early - 1] <= STRICT:
            assert_allclose(ours[0], path[early - 1], rtol=0, atol=STRICT)
    assert strict >= 8
    assert dead + sensitive >= 1
    # sensitive cells agree in distribution only: medians within a factor of two
    if sensitive >= 4:
        assert 0.5 < np.median(ess["sweep"]) / np.median(ess["plain"]) < 2.0


@pytest.mark.parametrize("make", [softmax, least_squares])
def test_sweep_equals_run_method(make) -> None:
    """The same algorithm by another driver and through the oracles."""
    q: Problem = make()
    ds = sweep(q, alpha=[0.1, 0.5], beta=[0.2, 2.0], dt=0.5, num_steps=30, keep_weights=True)
    for a, b in np.ndindex(2, 2):
        method = methods.Joint(rho=float(ds.rho[a]), eta=float(ds.eta[b]))
        run = run_method(q, method, 30)
        assert_allclose(ds.theta[a, b], run.theta[-1], rtol=1e-8, atol=1e-10)
        assert_allclose(ds.w[a, b], run.w[-1], rtol=1e-7, atol=1e-11)


def test_the_oracle_engine_equals_the_least_squares_engine(monkeypatch) -> None:
    q = two_clusters()
    rates = {"alpha": [0.1, 0.4], "beta": [0.05, 0.5], "num_steps": 60, "keep_weights": True}
    rates["backend"] = "numpy"
    fast = sweep(q, **rates)
    monkeypatch.setattr("warmflow.dynamics.sweeps.engines.LeastSquaresEngine", oracles.OracleEngine)
    slow = sweep(q, **rates)
    assert "U" in fast
    assert "U" not in slow
    assert_allclose(slow.theta, fast.theta, rtol=1e-8, atol=1e-11)
    assert_allclose(slow.w, fast.w, rtol=1e-8, atol=1e-11)


def test_variables_are_what_they_say() -> None:
    q = two_clusters()
    ds = sweep(q, alpha=[0.1, 0.3], beta=[0.01, 0.1, 1.0], num_steps=40, keep_weights=True)
    w, theta = ds.w.values, ds.theta.values
    assert_allclose(ds.ess, 1 / (w**2).sum(axis=-1))
    terms = w * np.log(np.where(w > 0, w, 1.0))
    assert_allclose(ds.entropy, -terms.sum(axis=-1), atol=1e-12)
    for k, threshold in enumerate(ds.threshold.values):
        kept = (w > threshold * w.max(axis=-1, keepdims=True)).sum(axis=-1)
        assert (ds.support[..., k].values == kept).all()
    assert_allclose(ds.val_loss, q.val_loss(theta))
    assert_allclose(ds.outer_loss, q.outer_loss(w), rtol=1e-9)
    assert_allclose(ds.test_loss, q.test_loss(theta))
    assert_allclose(ds.clean_mass, w[..., :30].sum(axis=-1))
    assert_allclose(ds.rho, ds.alpha)
    assert ds.status.attrs["flag_values"] == list(range(7))
    assert (ds.last_step == 40).all()
    record = json.loads(ds.attrs["provenance"])
    assert len(record["config_hash"]) == 64


def test_weights_are_rebuilt_from_reduced_coordinates() -> None:
    q = two_clusters()
    w0 = np.random.default_rng(0).dirichlet(np.ones(60))
    rates = {"alpha": [0.1, 0.3], "beta": [0.01, 1.0], "num_steps": 80, "w0": w0, "save_steps": 40}
    kept, lean = sweep(q, **rates, keep_weights=True), sweep(q, **rates)
    assert "w" not in lean
    for a, b in np.ndindex(2, 2):
        place = {"alpha": float(lean.alpha[a]), "beta": float(lean.beta[b])}
        assert_allclose(weights(lean, q, **place), kept.w[a, b], rtol=1e-9, atol=1e-14)
        assert_allclose(weights(lean, q, **place, step=40), kept.w[a, b, 1], rtol=1e-9)
        assert_allclose(weights(kept, q, **place, step=80), kept.w[a, b, 2], rtol=0)
    assert_allclose(weights(lean, q, alpha=0.1, beta=0.01, step=0), w0, rtol=1e-12)


def test_saved_steps_by_interval_and_by_list() -> None:
    q = two_clusters()
    every = sweep(q, alpha=0.1, beta=[0.1], num_steps=25, save_steps=10)
    assert every.step.values.tolist() == [0, 10, 20, 25]
    chosen = sweep(q, alpha=0.1, beta=[0.1], num_steps=25, save_steps=[20, 3])
    some = sweep(q, alpha=0.1, beta=[0.1], num_steps=25, save_steps=range(3, 25, 17))
    assert some.identical(chosen.assign_attrs(some.attrs))
    assert chosen.step.values.tolist() == [3, 20]
    assert_allclose(chosen.theta[0, 0, 1], every.theta[0, 0, 2], rtol=0)
    short = sweep(q, alpha=0.1, beta=[0.1], num_steps=20)
    assert "step" not in short.dims
    assert_allclose(short.theta[0, 0], every.theta[0, 0, 2], rtol=0)


def test_a_diverging_cell_harms_no_other() -> None:
    q = two_clusters()
    alone = sweep(q, alpha=[0.1], beta=[0.1], num_steps=200)
    mixed = sweep(q, alpha=[0.1, 30.0], beta=[0.1, 5.0], num_steps=200)
    assert mixed.status.values.tolist() == [[0, 0], [3, 3]]
    assert (mixed.last_step[1] < 200).all()
    assert np.isfinite(mixed.theta).all()
    # the product of the whole tile rounds differently from that of one cell, 1e-16 per step
    assert_allclose(mixed.theta[0, 0], alone.theta[0, 0], rtol=1e-11)


def test_a_singular_cell_is_marked_and_harms_no_other(monkeypatch) -> None:
    """With ridge 0 and all weight on one sample H has rank 1; exactly singular by integer data."""
    X = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    q = LeastSquares(X, [1.0, -1.0, 2.0], np.eye(2), [0.0, 3.0], ridge=0.0)
    ds = sweep(q, alpha=[0.01], beta=[1e-3, 1e5], num_steps=50, theta0=[1.0, -2.0])
    assert ds.status[0, 0] == Status.ok
    assert ds.status[0, 1] != Status.ok
    alone = sweep(q, alpha=[0.01], beta=[1e-3], num_steps=50, theta0=[1.0, -2.0])
    assert_allclose(ds.theta[0, 0], alone.theta[0, 0], rtol=1e-11)


@pytest.mark.parametrize("name", ["least_squares", "softmax"])
def test_tiling_does_not_change_the_numbers(name: str, monkeypatch) -> None:
    q = two_clusters() if name == "least_squares" else softmax()
    rates = {"alpha": np.geomspace(0.05, 0.4, 4), "beta": np.geomspace(0.01, 1, 5), "num_steps": 30}
    whole = sweep(q, **rates)
    monkeypatch.setattr(engine, "TILE_NUMBERS", 1)
    monkeypatch.setattr(engine, "MIN_TILE", 3)
    monkeypatch.setattr(oracles, "TILE_NUMBERS", 3 * 14 * 3)
    tiled = sweep(q, **rates)
    assert_allclose(tiled.theta, whole.theta, rtol=1e-9, atol=1e-12)
    assert_allclose(tiled.ess, whole.ess, rtol=1e-8)


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    rates = np.geomspace(0.01, 0.1, 4)
    sweep(two_clusters(), alpha=rates, beta=rates, num_steps=4, save_steps=2, progress=seen.append)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)


def test_float32_is_close_for_slow_weights() -> None:
    q = two_clusters()
    rates = {"alpha": [0.2], "beta": [0.02], "num_steps": 100}
    single, double = sweep(q, **rates, dtype="float32"), sweep(q, **rates)
    assert single.theta.dtype == np.float32
    # 100 steps of relative error 6e-8, amplified by the condition of the problem (about 10)
    assert_allclose(single.theta, double.theta, rtol=1e-4)
    assert_allclose(single.ess, double.ess, rtol=1e-3)


def test_jumps_of_more_than_a_thousand_logits_do_not_overflow() -> None:
    q = two_clusters()
    ds = sweep(q, alpha=[0.01], beta=[1e4], num_steps=3, theta0=[50.0, -50.0], keep_weights=True)
    assert_allclose(ds.w.sum("sample"), 1.0, rtol=1e-12)
    assert ds.status[0, 0] == Status.ok


def test_too_many_weights_are_refused_with_their_size() -> None:
    with pytest.raises(ValueError, match=r"`keep_weights` would store 1\.92e-06 GB"):
        sweep(
            two_clusters(),
            alpha=[0.1, 0.2],
            beta=[1.0, 2.0],
            num_steps=2,
            keep_weights=True,
            max_bytes=1000,
        )


def test_a_cell_whose_end_state_cannot_be_solved_keeps_the_others() -> None:
    """The kept state of a singular cell has no theta_star: h is NaN there and right elsewhere."""
    q = least_squares(n=30, p=2)
    q = LeastSquares(q.X, q.y, q.X_val, q.y_val, ridge=1e-20)
    ds = sweep(q, alpha=[0.01, 0.1], beta=np.logspace(-2, 3, 12), num_steps=500, keep_weights=True)
    ok = ds.status.values == Status.ok
    assert ok.any()
    assert np.isfinite(ds.outer_loss.values[ok]).all()
    assert_allclose(ds.outer_loss.values[ok][0], q.outer_loss(ds.w.values[ok][0]), rtol=1e-8)


def test_tiles_are_bounded_by_the_hessians_too() -> None:
    plan = lambda k: engine.Plan(  # noqa: E731
        np.ones(9), np.ones(9), 1, (1,), np.zeros(k), np.zeros(10)
    )
    assert engine.LeastSquaresEngine(least_squares(n=10, p=3), plan(3)).tile > 1000
    assert engine.LeastSquaresEngine(least_squares(n=10, p=200), plan(200)).tile == engine.MIN_TILE
