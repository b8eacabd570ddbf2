"""Axes beside the rates: each combination is the sweep that one would have run alone."""

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr

from warmflow.dynamics import LeastSquares, geometries, methods, run_method, sweep, weights

RATES: dict[str, Any] = {"alpha": [0.02, 0.1], "beta": [0.05, 0.5, 2.0], "num_steps": 15}


def make(seed: int = 0, noise: float = 0.3, n: int = 20, p: int = 2) -> LeastSquares:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((80, p))
    y = X.sum(axis=1) + noise * rng.standard_normal(80)
    return LeastSquares(X[:n], y[:n], X[40:], y[40:], ridge=0.1)


def test_every_combination_is_its_own_sweep() -> None:
    axes = {"seed": range(2), "ridge": [1e-2, 1.0], "noise": np.array([0.1, 0.5])}
    ds = sweep(make, axes=axes, save_steps=5, **RATES)
    assert dict(ds["ess"].sizes) == {
        "alpha": 2, "beta": 3, "seed": 2, "ridge": 2, "noise": 2, "step": 4,
    }  # fmt: skip
    for seed, ridge, noise in itertools.product(*axes.values()):
        problem = make(seed, noise).with_ridge(ridge)
        alone = sweep(problem, save_steps=5, **RATES)
        part = ds.sel(seed=seed, ridge=ridge, noise=noise)
        for name in alone.data_vars:
            np.testing.assert_array_equal(part[name], alone[name], err_msg=str(name))
        cell = {"alpha": 0.1, "beta": 0.5, "step": 10}
        point = {"seed": seed, "ridge": ridge, "noise": noise}
        np.testing.assert_array_equal(
            weights(ds, problem, **cell, **point), weights(alone, problem, **cell)
        )


def test_sizes_may_change_along_an_axis() -> None:
    ds = sweep(make, axes={"n": [20, 30], "p": [1, 3]}, keep_weights=True, **RATES)
    assert (ds.sizes["sample"], ds.sizes["param"]) == (30, 3)
    for n, p in ((20, 1), (30, 3), (20, 3)):
        alone = sweep(make(n=n, p=p), keep_weights=True, **RATES)
        part = ds.sel(n=n, p=p)
        np.testing.assert_array_equal(part["theta"][..., :p], alone["theta"])
        np.testing.assert_array_equal(part["w"][..., :n], alone["w"])
        assert np.isnan(part["theta"][..., p:]).all()
        assert np.isnan(part["w"][..., n:]).all()
        np.testing.assert_array_equal(
            weights(ds, make(n=n, p=p), alpha=0.02, beta=2.0, n=n, p=p), alone["w"][0, 2]
        )


def test_joint_through_run_method_is_the_engine() -> None:
    fast = sweep(make(), save_steps=5, **RATES)
    slow = sweep(make(), save_steps=5, method=methods.Joint(), **RATES)
    for name in ("theta", "ess", "entropy", "val_loss", "outer_loss", "status", "last_step"):
        np.testing.assert_allclose(slow[name], fast[name], rtol=1e-10, err_msg=name)
        assert slow[name].dtype == fast[name].dtype


def test_knobs_of_penalties_and_methods() -> None:
    axes = {"entropy": [0.0, 0.2], "l2": [0.0, 0.2], "order": ["simultaneous", "w_first"]}
    ds = sweep(make(), axes=axes, **RATES)
    assert {"entropy_penalty", "l2_penalty", "order"} <= {*ds.dims}
    for entropy, l2, order in itertools.product(*axes.values()):
        run = run_method(
            make(), methods.Joint(rho=0.1, eta=2.0, order=order), 15,
            geometry=geometries.Penalised(entropy=entropy, l2=l2),
        )  # fmt: skip
        cell = ds.sel(alpha=0.1, beta=2.0, entropy_penalty=entropy, l2_penalty=l2, order=order)
        np.testing.assert_allclose(cell["theta"], run.theta[-1], rtol=1e-11)
        np.testing.assert_allclose(cell["ess"], 1 / np.sum(run.w[-1] ** 2), rtol=1e-10)


def test_knobs_of_another_method() -> None:
    axes = {"num_terms": [1, 4]}
    ds = sweep(make(), method=methods.Neumann(), axes=axes, **RATES)
    for terms in axes["num_terms"]:
        run = run_method(make(), methods.Neumann(rho=0.02, eta=0.5, num_terms=terms), 15)
        cell = ds.sel(alpha=0.02, beta=0.5, num_terms=terms)
        np.testing.assert_allclose(cell["theta"], run.theta[-1], rtol=1e-11)


@pytest.mark.parametrize("source", [make(), lambda seed: make()], ids=["problem", "callable"])
def test_the_seed_axis_seeds_a_stochastic_method(source: Any) -> None:
    ds = sweep(source, method=methods.SOBA(batch_size=5), axes={"seed": [1, 2]}, **RATES)
    for seed in (1, 2):
        run = run_method(make(), methods.SOBA(rho=0.1, eta=0.5, batch_size=5), 15, seed=seed)
        cell = ds["theta"].sel(alpha=0.1, beta=0.5, seed=seed)
        np.testing.assert_allclose(cell, run.theta[-1], rtol=1e-10)
    assert not np.allclose(ds["theta"].sel(seed=1), ds["theta"].sel(seed=2), rtol=1e-6)


def test_all_cells_broken_by_a_method_keep_their_last_good_state() -> None:
    rates = {"alpha": [1e3, 1e4], "beta": [0.1], "num_steps": 60}
    kept = {"save_steps": [0, 5, 30, 60]}
    slow = sweep(make(), method=methods.Joint(), **rates, **kept)
    assert slow.sizes["step"] == 4
    assert (slow["status"] == 3).all()
    assert (slow["last_step"] < 10).all()
    np.testing.assert_array_equal(slow["theta"].isel(step=2), slow["theta"].isel(step=3))
    # Loose: what grows by factors of 100 a step remembers every rounding.
    np.testing.assert_allclose(slow["theta"], sweep(make(), **rates, **kept)["theta"], rtol=1e-6)


def test_a_ridge_axis_needs_no_callable() -> None:
    ds = sweep(make(), axes={"ridge": [0.1, 1.0]}, **RATES)
    xr.testing.assert_equal(ds["theta"].sel(ridge=0.1, drop=True), sweep(make(), **RATES)["theta"])


WRONG = [
    ({"axes": {"noise": [1]}}, "pass a callable that makes the problem of it"),
    ({"axes": {"status": [1]}}, "must not have the name 'status'"),
    ({"axes": {"alpha": [1]}}, "must not have the name 'alpha'"),
    ({"axes": {"ridge": []}}, r"`axes\['ridge'\]` must hold at least one value"),
    ({"axes": {"ridge": [1, 1.0]}}, r"`axes\['ridge'\]` must hold distinct values"),
    ({"axes": {"ridge": [np.nan]}}, r"`axes\['ridge'\]`"),
    ({"axes": {"ridge": [-1.0]}}, "`ridge` must be >= 0; got -1.0"),
    ({"axes": {"entropy": [-1.0]}}, "`entropy` must be >= 0; got -1.0"),
    ({"axes": {"order": ["never"]}}, "`order` must be"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_axes(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sweep(make(), **RATES | options)


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="`axes` must be a mapping"):
        sweep(make(), axes=[1], **RATES)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`axes\['ridge'\]` must hold numbers or strings"):
        sweep(make(), axes={"ridge": [None]}, **RATES)
    with pytest.raises(TypeError, match="`problem` must return a Problem; got int"):
        sweep(lambda seed: seed, axes={"seed": [1]}, **RATES)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="`problem` must be a Problem, or a callable"):
        sweep(3, **RATES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the callable does not take it"):
        sweep(make, axes={"colour": [1]}, **RATES)
    with pytest.raises(TypeError, match="`method` must be a method"):
        sweep(make(), method="joint", **RATES)  # type: ignore[arg-type]


def test_weights_ask_for_the_whole_point() -> None:
    ds = sweep(make, axes={"seed": [0, 1]}, **RATES)
    with pytest.raises(ValueError, match=r"`point` must name the other axes .*\(seed\); got none"):
        weights(ds, make(), alpha=0.02, beta=0.05)
    with pytest.raises(ValueError, match="`seed` must be one of the 2 values"):
        weights(ds, make(), alpha=0.02, beta=0.05, seed=5)


def test_a_problem_with_another_ridge() -> None:
    problem = make()
    problem.constants()
    other = problem.with_ridge(3.0)
    assert other.constants()[0] == 3.0
    assert problem.ridge == 0.1
    with pytest.raises(ValueError, match="`ridge` must be >= 0; got -1"):
        problem.with_ridge(-1)
