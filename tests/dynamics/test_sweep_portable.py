"""The array-API engine: the numbers of the reference in every library, and no wait for a device."""

import json

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from warmflow.dynamics import LeastSquares, MultiProblem, Status, sweep, weights
from warmflow.dynamics.namespaces import to_numpy
from warmflow.dynamics.sweeps import portable
from warmflow.dynamics.sweeps.cells import Plan
from warmflow.dynamics.sweeps.portable import engine, oracles
from warmflow.dynamics.sweeps.portable import least_squares as kernels

from .cases import least_squares, softmax, two_clusters
from .devices import ALL_LIBRARIES, FAKE_GPU, LIBRARIES, HostWaited, library, no_waiting
from .plain_loop import compare_ends

on_every_library = pytest.mark.parametrize("name", LIBRARIES)


def engine_of(ds) -> str:
    return json.loads(ds.attrs["provenance"])["engine"]


def plan_of(q, rho, eta, num_steps: int, theta0=None) -> Plan:
    log_w0 = np.full(q.num_samples, -np.log(q.num_samples))
    start = np.zeros(q.num_params) if theta0 is None else np.asarray(theta0, dtype=float)
    rho, eta = np.asarray(rho, dtype=float), np.asarray(eta, dtype=float)
    return Plan(rho, eta, num_steps, (num_steps,), start, log_w0)


SHAPES = [(60, 1, 1e-2), (50, 3, 1e-4), (31, 7, 1e-2), (40, 35, 1e-1)]


@on_every_library
@pytest.mark.parametrize("n, p, ridge", SHAPES)
def test_every_cell_equals_the_plain_loop(name: str, n: int, p: int, ridge: float) -> None:
    """Where loops that are as good as the plain one agree to 1e-10."""
    q = two_clusters(n, p, 20, ridge=ridge)
    alpha, beta = np.geomspace(0.02, 3.0, 3) / q.constants()[1], np.geomspace(1e-3, 10.0, 5)
    ds = sweep(q.to(xp=library(name)), alpha=alpha, beta=beta, num_steps=120, keep_weights=True)
    assert compare_ends(ds, q, alpha, beta, 120) >= 5


BIG = softmax(n=40, f=25, C=3, m=30, ridge=1e-2)
PROBLEMS = {
    "least squares": two_clusters(),
    "wide": least_squares(n=5, p=8, ridge=0.3),
    "no ridge": two_clusters(ridge=0.0),
    "no ridge, no rank": least_squares(n=4, p=6, ridge=0.0),
    "p = 300": two_clusters(n=40, p=300, ridge=1.0),
    "softmax": softmax(),
    "softmax by conjugate gradients": BIG,
    "softmax, no ridge": softmax(n=40, ridge=0.0),
    "softmax, no ridge, no rank": softmax(n=9, f=12, C=3, ridge=0.0),
    "softmax, little ridge": softmax(n=40, f=25, C=3, m=30, ridge=1e-7),
    "multi": MultiProblem([least_squares(n=14, p=2, m=6, seed=3), softmax(n=14)]),
}


@pytest.fixture
def iterative(monkeypatch) -> None:
    """Solve systems of more than 60 parameters by conjugate gradients, here and in the problems."""
    monkeypatch.setattr(oracles, "DENSE_LIMIT", 60)
    monkeypatch.setattr("warmflow.dynamics.problems.base.DENSE_LIMIT", 60)


@pytest.mark.parametrize("name", ALL_LIBRARIES)
@pytest.mark.parametrize("q", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_every_variable_equals_the_reference(name: str, q, request) -> None:
    """Slow weights, so that no cell is sensitive; U is not unique without ridge."""
    if q is BIG:
        request.getfixturevalue("iterative")
    rates = {"alpha": [0.02, 0.1], "beta": [0.01, 0.1], "num_steps": 12, "save_steps": [0, 5, 12]}
    rates |= {} if q.ridge > 1e-4 else {"theta0": np.full(q.num_params, 0.1)}
    expected = sweep(q, **rates, keep_weights=True, backend="numpy")
    got = sweep(q.to(xp=library(name)), **rates, keep_weights=True)
    assert set(got) == set(expected)
    assert got.sizes == expected.sizes
    for variable in set(expected) - ({"U"} if q.ridge == 0 else set()):
        # theta_star of softmax regression has a gradient of up to 1e-10
        atol = 1e-9 + 1e-10 / (q.ridge or 1.0) if variable == "outer_loss" else 1e-11
        assert_allclose(got[variable], expected[variable], rtol=1e-8, atol=atol, err_msg=variable)
        assert got[variable].dtype == expected[variable].dtype, variable


@on_every_library
@pytest.mark.parametrize("make", [two_clusters, softmax])
def test_cells_that_fail_are_those_of_the_reference(name: str, make) -> None:
    q = make()
    rates = {"alpha": [0.1, 30.0, 1e200], "beta": [0.1, 1e200], "num_steps": 100}
    rates["keep_weights"] = True
    ours, theirs = sweep(q.to(xp=library(name)), **rates), sweep(q, **rates, backend="numpy")
    assert_array_equal(ours.status, theirs.status)
    assert_array_equal(ours.last_step, theirs.last_step)
    failed = ours.status.values != Status.ok
    assert failed.any()
    assert not failed.all()
    assert_allclose(ours.theta.values[failed], theirs.theta.values[failed], rtol=1e-6)
    assert_allclose(ours.w.values[failed], theirs.w.values[failed], rtol=1e-6, atol=1e-12)


@on_every_library
def test_a_singular_cell_is_marked_and_harms_no_other(name: str) -> None:
    X = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    q = LeastSquares(X, [1.0, -1.0, 2.0], np.eye(2), [0.0, 3.0], ridge=0.0)
    rates = {"alpha": [0.01], "num_steps": 50, "theta0": [1.0, -2.0], "keep_weights": True}
    moved = q.to(xp=library(name))
    both, alone = (sweep(moved, beta=beta, **rates) for beta in ([1e-3, 1e5], [1e-3]))
    theirs = sweep(q, beta=[1e-3, 1e5], **rates, backend="numpy")
    assert_array_equal(both.status, theirs.status)
    assert both.status[0, 1] == Status.underflow
    assert_array_equal(both.last_step, theirs.last_step)
    assert_allclose(both.w[0, 0], alone.w[0, 0], rtol=1e-12)
    assert np.isfinite(both.theta).all()


@on_every_library
def test_a_cell_depends_on_its_neighbours_by_round_off_only(name: str) -> None:
    q = two_clusters().to(xp=library(name))
    crowd = sweep(q, alpha=[0.1, 40.0], beta=[0.05, 1e3], num_steps=80, keep_weights=True)
    alone = sweep(q, alpha=[0.1], beta=[0.05], num_steps=80, keep_weights=True)
    assert (crowd.status.values[1] != Status.ok).any()
    assert_allclose(crowd.w[0, 0], alone.w[0, 0], rtol=1e-11)
    assert_allclose(crowd.theta[0, 0], alone.theta[0, 0], rtol=1e-11)


@on_every_library
def test_results_do_not_depend_on_tiles(name: str, monkeypatch) -> None:
    q = two_clusters().to(xp=library(name))
    rates = {"alpha": [0.1, 0.2], "beta": np.geomspace(1e-3, 0.1, 7), "num_steps": 30}
    whole = sweep(q, **rates)
    monkeypatch.setattr(engine, "_tile", lambda *_: 3)
    shares: list[float] = []
    tiled = sweep(q, **rates, progress=shares.append)
    for variable in whole:
        assert_allclose(tiled[variable], whole[variable], rtol=1e-11, err_msg=variable)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_dtype_and_device_in_are_dtype_and_device_out() -> None:
    for q in (two_clusters(), softmax(), softmax(n=40, f=25, C=3)):
        for dtype in ("float32", "float64"):
            moved = q.to(xp=array_api_strict, device=FAKE_GPU, dtype=dtype)
            stepper = portable.PortableEngine(moved, plan_of(q, [0.1, 0.2], [0.1, 0.1], 3))
            _, end = next(stepper.advance(np.arange(2)))
            for values in (end.theta, end.log_w, *([end.U] if end.U is not None else [])):
                assert values.dtype == getattr(array_api_strict, dtype)
                assert values.device == FAKE_GPU


@on_every_library
def test_float32_is_float32(name: str) -> None:
    q = two_clusters()
    rates = {"alpha": [0.1], "beta": [0.01, 0.1], "num_steps": 50, "keep_weights": True}
    single = sweep(q.to(xp=library(name)), **rates, dtype="float32")
    double = sweep(q, **rates, backend="numpy")
    assert single.w.dtype == single.theta.dtype == np.float32
    assert_allclose(single.w, double.w, rtol=1e-3)
    assert np.abs(single.w - double.w).max() > 1e-12


# ---------------------------------------------------------------- nothing waits for the device
STEPPED = {
    "least squares": two_clusters(),
    "wide": two_clusters(40, 35, ridge=0.1),
    "no ridge": two_clusters(ridge=0.0),
    "no rank": least_squares(n=4, p=6, ridge=0.0),
    "softmax": softmax(),
    "softmax by conjugate gradients": BIG,
}


def march_on_the_fake_device(q, monkeypatch, num_steps: int = 40) -> int:
    """Step cells of which some fail; return how often the host looked at the device."""
    looks = 0

    def counted(a):
        nonlocal looks
        looks += 1
        return to_numpy(a)

    monkeypatch.setattr(engine, "to_numpy", counted)
    moved = q.to(xp=array_api_strict, device=FAKE_GPU)
    _ = moved.row_space if isinstance(q, LeastSquares) else None  # once, before the loop
    plan = plan_of(q, [0.05, 0.1, 1e200, 0.1], [1e-3, 0.3, 0.1, 1e300], num_steps)
    stepper = portable.PortableEngine(moved, plan)
    with no_waiting(), np.errstate(all="ignore"):
        ((_, end),) = stepper.advance(np.arange(4))
    assert end.status[0] == Status.ok
    assert end.status[2] == Status.diverged
    return looks


@pytest.mark.parametrize("q", STEPPED.values(), ids=STEPPED.keys())
def test_the_time_loop_never_waits_for_the_device(q, monkeypatch, request) -> None:
    if q is BIG:
        request.getfixturevalue("iterative")
    looks = march_on_the_fake_device(q, monkeypatch)
    # a look after the steps 1, 3, 7, 15, 31 and 40, repeated ones, status and last step
    assert looks <= 6 + (4 if q is BIG else 0) + 2


LEAKS = {
    "a truth value": lambda xp, a: a if bool(xp.all(a < 9)) else 2.0 * a,
    "a number": lambda xp, a: a * float(xp.max(a)),
    "a count": lambda xp, a: a + int(xp.sum(xp.astype(a > 0, xp.int64))),
    "an index": lambda xp, a: a + [0.0, 0.0][xp.argmin(xp.zeros(1, device=a.device))],
    "NumPy": lambda xp, a: xp.asarray(np.asarray(a), device=a.device),
    "a constant on the CPU": lambda xp, a: a + xp.asarray(1.0),
    "a NumPy constant": lambda xp, a: a + np.ones(1),
    "a loop over cells": lambda xp, a: xp.stack([row for row in a if row[0] < 9]),
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS.keys())
def test_a_planted_leak_is_caught(leak, monkeypatch) -> None:
    original = kernels.LeastSquaresKernel._moments

    def leaking(self, w, theta, r):
        M, slope = original(self, w, theta, r)
        return M, leak(self.problem.xp, slope)

    monkeypatch.setattr(kernels.LeastSquaresKernel, "_moments", leaking)
    with pytest.raises((HostWaited, RuntimeError, ValueError, TypeError)):
        march_on_the_fake_device(two_clusters(), monkeypatch)


# ---------------------------------------------------------------- the budget of iterations
@pytest.mark.usefixtures("iterative")
def test_a_step_whose_budget_was_too_small_is_repeated(monkeypatch) -> None:
    q = BIG
    rates = {"alpha": [0.02, 0.1], "beta": [0.01, 0.1], "num_steps": 20, "keep_weights": True}
    expected = sweep(q, **rates, backend="numpy")
    moved = q.to(xp=array_api_strict)
    budgets: list[int] = []
    original = oracles.cg_within

    def recorded(*args, budget: int, **options):
        budgets.append(budget)
        return original(*args, budget=budget, **options)

    monkeypatch.setattr(oracles, "cg_within", recorded)
    monkeypatch.setattr(oracles, "FIRST_BUDGET", 1)
    got = sweep(moved, **rates)
    assert budgets[:4] == [1, 4, 16, 64]
    assert_allclose(got.w, expected.w, rtol=1e-9, atol=1e-12)
    assert (got.status == Status.ok).all()


@pytest.mark.usefixtures("iterative")
def test_a_system_that_cannot_be_solved_within_the_cap_is_marked(monkeypatch) -> None:
    monkeypatch.setattr(oracles, "CAP", 0.1)
    monkeypatch.setattr(oracles, "FIRST_BUDGET", 2)
    ds = sweep(BIG.to(xp=array_api_strict), alpha=[0.1], beta=[0.1], num_steps=4)
    assert (ds.status == Status.underflow).all()
    assert (ds.last_step == 0).all()


# ---------------------------------------------------------------- sweep and its backends
@pytest.mark.parametrize("backend", [pytest.param("torch", marks=LIBRARIES[1].marks), "numpy"])
def test_sweep_moves_the_problem_to_its_backend(backend: str) -> None:
    q = two_clusters()
    rates = {"alpha": [0.1], "beta": [0.05], "num_steps": 20}
    here = sweep(q, **rates, backend=backend)
    there = sweep(q.to(xp=array_api_strict), **rates, backend=backend)
    assert engine_of(here) == engine_of(there) == f"{backend} on cpu"
    assert_allclose(here.theta, there.theta, rtol=1e-14)
    assert_allclose(weights(here, q, alpha=0.1, beta=0.05), weights(there, q, alpha=0.1, beta=0.05))


def test_auto_leaves_a_problem_where_it_is() -> None:
    q = two_clusters().to(xp=array_api_strict, device=FAKE_GPU)
    ds = sweep(q, alpha=[0.1], beta=[0.05], num_steps=20)
    assert "device1" in engine_of(ds)
    assert json.loads(ds.attrs["provenance"])["config"]["backend"] == "array_api_strict"


def test_a_library_without_double_precision_is_told(monkeypatch) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", False)
    try:
        q = two_clusters().to(xp=jax.numpy, dtype="float32")
        refused = pytest.raises(ValueError, match=r"`dtype` must be one that .* jax_enable_x64")
        with pytest.warns(UserWarning, match="float64"), refused:
            sweep(q, alpha=[0.1], beta=[0.05], num_steps=2)
    finally:
        jax.config.update("jax_enable_x64", True)


def test_a_device_takes_the_whole_grid_and_a_cpu_small_tiles() -> None:
    q = two_clusters(n=1000, p=5)
    plan = plan_of(q, [0.1], [0.1], 1)
    assert portable.PortableEngine(q, plan).tile == 40
    assert portable.PortableEngine(q, plan, free_bytes=80 * 10**9).tile > 100_000
    assert portable.PortableEngine(q, plan, free_bytes=10**5).tile == 1


def test_starts_and_rates_may_live_on_the_device() -> None:
    """``sweep(q, theta0=q.theta_star(w), w0=w)`` with everything on a device."""
    q = two_clusters()
    rng, xp = np.random.default_rng(0), array_api_strict
    w0, theta0, alpha = rng.dirichlet(np.ones(60)), rng.normal(size=2), np.array([0.1, 0.2])
    native = [xp.asarray(a, device=FAKE_GPU) for a in (w0, theta0, alpha)]
    options = {"beta": [0.05], "num_steps": 10, "keep_weights": True}
    there = q.to(xp=xp, device=FAKE_GPU)
    got = sweep(there, w0=native[0], theta0=native[1], alpha=native[2], **options)
    expected = sweep(q, w0=w0, theta0=theta0, alpha=alpha, **options, backend="numpy")
    assert_allclose(got.w, expected.w, rtol=1e-12)


@on_every_library
@pytest.mark.parametrize("p", [3, 4])
def test_collapsed_cells_without_ridge_end_as_those_of_the_reference(name: str, p: int) -> None:
    """Whether a pivot comes out as exactly zero would be luck of rounding."""
    q = two_clusters(30, p, 20, ridge=0.0)
    rates = {"alpha": [0.01, 0.1], "beta": [1.0, 10.0, 100.0], "num_steps": 100}
    theirs = sweep(q, **rates, backend="numpy")
    ours = sweep(q.to(xp=library(name)), **rates)
    assert (theirs.status == Status.underflow).any()
    assert_array_equal(ours.status, theirs.status)
    assert_array_equal(ours.last_step, theirs.last_step)


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_softmax_without_ridge_runs_on_every_backend(backend: str) -> None:
    q = softmax(ridge=0.0)
    ds = sweep(q, alpha=[0.1], beta=[0.1], num_steps=3, theta0=np.zeros(9), backend=backend)
    assert (ds.status == Status.ok).all()


def test_rates_beyond_single_precision_make_no_noise() -> None:
    ds = sweep(two_clusters(), alpha=[1e60], beta=[0.1], num_steps=3, dtype="float32")
    assert (ds.status != Status.ok).all()


def test_a_saved_state_is_described_in_parts(monkeypatch) -> None:
    q = two_clusters()
    rates = {"alpha": [0.1, 0.2], "beta": [0.01, 0.1, 1.0], "num_steps": 10}
    whole = sweep(q, **rates, backend="numpy")
    monkeypatch.setattr("warmflow.dynamics.sweeps.engines.DESCRIBED_NUMBERS", 500)
    parts = sweep(q, **rates, backend="numpy")
    for variable in whole:
        assert_allclose(parts[variable], whole[variable], rtol=1e-12, err_msg=variable)
