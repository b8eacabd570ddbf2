"""The same oracles and methods on other array libraries, against NumPy."""

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import Problem, geometries, integrate, methods, run_method
from warmflow.dynamics.namespaces import to_numpy

from .cases import CASES, Case, least_squares, softmax
from .devices import FAKE_GPU, LIBRARIES, library

every = pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
on_every_library = pytest.mark.parametrize("name", LIBRARIES)


@on_every_library
@every
def test_oracles_equal_numpy(c: Case, name: str) -> None:
    xp = library(name)
    q, moved = c.problem, c.problem.to(xp=xp)
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(3, 1, q.num_params))
    w = rng.dirichlet(np.ones(q.num_samples), size=2)
    v = rng.normal(size=q.num_params)
    arguments = {"theta": theta, "w": w, "v": v}
    calls = {
        "val_grad": ("theta",),
        "train_grad": ("theta", "w"),
        "hvp": ("theta", "w", "v"),
        "per_sample_jvp": ("theta", "v"),
        "per_sample_losses": ("theta",),
        "val_loss": ("theta",),
        "train_loss": ("theta", "w"),
        "test_loss": ("theta",),
        "hypergradient": ("theta", "w"),
        "theta_star": ("w",),
        "outer_loss": ("w",),
    }
    native = {key: xp.asarray(value) for key, value in arguments.items()}
    for call, needs in calls.items():
        expected = getattr(q, call)(*(arguments[key] for key in needs))
        got = getattr(moved, call)(*(native[key] for key in needs))
        assert type(got) is type(native["w"]), call
        assert got.dtype == native["w"].dtype
        assert_allclose(to_numpy(got), expected, rtol=1e-9, atol=1e-12, err_msg=call)


@on_every_library
def test_least_squares_without_rank_equals_numpy(name: str) -> None:
    q = least_squares(n=4, p=6, ridge=0.0)
    w = np.random.default_rng(0).dirichlet(np.ones(4))
    moved = q.to(xp=library(name))
    got = moved.theta_star(library(name).asarray(w))
    assert_allclose(to_numpy(got), q.theta_star(w), rtol=1e-8)


@on_every_library
@pytest.mark.parametrize(
    "geometry",
    [
        geometries.Mirror(),
        geometries.SoftmaxLogits(),
        geometries.Sigmoid(),
        geometries.Projection(),
        geometries.ClippedNormalised(),
    ],
    ids=lambda g: type(g).__name__,
)
@pytest.mark.parametrize(
    "method",
    [methods.Joint(eta=0.2), methods.Exact(eta=0.2), methods.SOBA(eta=0.2, batch_size=5)],
    ids=lambda m: type(m).__name__,
)
def test_methods_equal_numpy(name: str, geometry, method) -> None:
    for q in (least_squares(), softmax()):
        expected = run_method(q, method, 15, geometry=geometry, num_saved=4)
        got = run_method(q.to(xp=library(name)), method, 15, geometry=geometry, num_saved=4)
        assert isinstance(got.theta, np.ndarray)
        assert_allclose(got.theta, expected.theta, rtol=1e-8, atol=1e-11)
        assert_allclose(got.w, expected.w, rtol=1e-7, atol=1e-11)
        assert got.oracle_counts == expected.oracle_counts
        assert_allclose(got.to_xarray().ess, expected.to_xarray().ess, rtol=1e-7)


@on_every_library
def test_round_trip_changes_nothing(name: str) -> None:
    for q in (least_squares(), softmax()):
        back: Problem = q.to(xp=library(name)).to(xp=np)
        w = np.full(q.num_samples, 1 / q.num_samples)
        assert_allclose(back.theta_star(w), q.theta_star(w), rtol=1e-12)
        assert isinstance(back.X, np.ndarray)


@on_every_library
def test_scipy_integrators_ask_for_numpy(name: str) -> None:
    q = least_squares().to(xp=library(name))
    with pytest.raises(ValueError, match=r"`problem` must hold NumPy arrays for integrate"):
        integrate(q)


@pytest.mark.parametrize("order", ["simultaneous", "w_first"])
@pytest.mark.parametrize("make", [least_squares, softmax])
@pytest.mark.parametrize("kind", [methods.Joint, methods.Exact, methods.SOBA])
def test_methods_stay_on_their_device_with_leading_axes(kind, make, order: str) -> None:
    """Seeds and cells together, on a device that NumPy cannot read."""
    q = make()
    knobs = {"eta": np.array([[0.1, 0.2]]), "order": order}
    options = {"theta0": np.full((3, 1, q.num_params), 0.1), "num_saved": 3}
    expected = run_method(q, kind(**knobs), 6, **options)
    moved = q.to(xp=array_api_strict, device=FAKE_GPU)
    got = run_method(moved, kind(**knobs), 6, **options)
    assert got.w.shape == expected.w.shape == (3, *got.w.shape[1:-1], q.num_samples)
    assert_allclose(got.theta, expected.theta, rtol=1e-8, atol=1e-11)
    assert_allclose(got.w, expected.w, rtol=1e-7, atol=1e-11)
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        np.asarray(moved.X)


@on_every_library
def test_single_precision_stays_single(name: str) -> None:
    for q in (least_squares(), softmax()):
        moved = q.to(xp=library(name), dtype="float32")
        w = moved.xp.full((q.num_samples,), 1 / q.num_samples, dtype=moved.dtype)
        theta = moved.theta_star(w)
        assert theta.dtype == moved.hypergradient(theta, w).dtype == moved.dtype
        run = run_method(moved, methods.SOBA(batch_size=5), 4)
        assert run.w.dtype == run.theta.dtype == np.float32
