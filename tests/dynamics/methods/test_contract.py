"""What holds for every method: problems, geometries, array libraries, leading axes, honest ends."""

import dataclasses

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import Status, geometries, methods, run_method
from warmflow.dynamics.geometries import Geometry

from ..cases import CASES, Case, case, least_squares, two_clusters
from .table import ALL, KINDS, has_knob, name, with_knobs

GEOMETRIES = [
    geometries.Mirror(),
    geometries.SoftmaxLogits(),
    geometries.Sigmoid(),
    geometries.Projection(),
    geometries.ClippedNormalised(),
]
ORDERS = ("simultaneous", "theta_first", "w_first")
each = pytest.mark.parametrize("method", ALL, ids=name)


def valid(method: methods.Method) -> list[Geometry]:
    """Return the geometries that a method says it can be joined with."""
    return [g for g in GEOMETRIES if not method.geometries or isinstance(g, method.geometries)]


def fits(method: methods.Method, c: Case) -> bool:
    return set(method.requires) <= c.problem.capabilities


@each
@pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
def test_every_method_runs_on_every_problem_and_geometry(c: Case, method) -> None:
    if not fits(method, c):
        with pytest.raises(ValueError, match=r"`problem` .* lacks"):
            run_method(c.problem, method, 2)
        return
    assert valid(method)
    for geometry in valid(method):
        run = run_method(c.problem, method, 4, geometry=geometry, num_saved=3, theta0=c.theta)
        assert run.status is Status.ok, (geometry, run.message)
        assert run.theta.shape == (3, c.problem.num_params)
        assert run.w.shape == (3, c.problem.num_samples)
        assert (run.w >= 0).all()
        if name(method) != "MAID":  # it may refuse its first steps
            assert np.abs(run.w[-1] - run.w[0]).max() > 0
        if not isinstance(geometry, geometries.Sigmoid):
            assert_allclose(run.w.sum(axis=-1), 1.0, rtol=1e-10)
    field = method.direction(c.problem, c.theta, c.w)
    assert field.shape == (c.problem.num_samples,)
    assert np.isfinite(field).all()


@each
def test_invalid_geometries_are_refused_with_the_valid_ones(method) -> None:
    for geometry in GEOMETRIES:
        if geometry in valid(method):
            continue
        shown = ", ".join(rf"geometries\.{kind.__name__}" for kind in method.geometries)
        with pytest.raises(ValueError, match=rf"`geometry` must be one of {shown} for methods\."):
            run_method(least_squares(), method, 1, geometry=geometry)


@each
def test_orders_are_three_different_runs(method) -> None:
    """Methods that solve for theta at w have one order only."""
    q, start = two_clusters(), np.array([0.3, -0.2])
    ends = [
        run_method(q, dataclasses.replace(method, order=order), 6, theta0=start).theta[-1]
        for order in ORDERS
    ]
    gaps = [np.abs(ends[i] - ends[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))]
    if name(method) in ("Exact", "MAID"):
        assert max(gaps) == 0.0
    else:
        assert sum(gap > 1e-9 for gap in gaps) >= 2, gaps
    with pytest.raises(ValueError, match=r"`order` must be one of 'simultaneous'"):
        dataclasses.replace(method, order="together")


@each
@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_every_method_equals_numpy_on_other_libraries(method, library: str) -> None:
    xp = array_api_strict if library == "array_api_strict" else pytest.importorskip("torch")
    q = least_squares()
    for part in (method, *batched(method)):
        expected = run_method(q, part, 4, num_saved=3)
        got = run_method(q.to(xp=xp), part, 4, num_saved=3)
        assert isinstance(got.theta, np.ndarray)
        assert_allclose(got.theta, expected.theta, rtol=1e-7, atol=1e-10)
        assert_allclose(got.w, expected.w, rtol=1e-6, atol=1e-10)
        assert got.oracle_counts == expected.oracle_counts


def batched(method: methods.Method) -> list[methods.Method]:
    """Return the method on mini-batches, where it has them."""
    return [with_knobs(method, batch_size=5)] if has_knob(method, "batch_size") else []


@each
def test_single_precision_stays_single(method) -> None:
    q = least_squares().to(dtype="float32")
    run = run_method(q, method, 3)
    assert run.theta.dtype == np.float32
    assert run.w.dtype == np.float32
    assert run_method(q, method, 3, theta0=np.ones((2, 3))).theta.dtype == np.float32


@each
def test_runs_over_leading_axes_are_independent(method) -> None:
    q, rng = two_clusters(), np.random.default_rng(0)
    names = [knob for knob in ("rho", "eta") if has_knob(method, knob)]
    knobs = {key: np.array([[1e-3], [3e-3]]) * (1.0 if key == "rho" else 30.0) for key in names}
    theta0 = 0.3 * rng.normal(size=(3, 2))
    for part in (method, *batched(method)):
        together = run_method(q, with_knobs(part, **knobs), 8, theta0=theta0, seed=1)
        assert together.w.shape == (9, 2, 3, 60)
        for i, j in ((0, 0), (1, 2)):
            single = {key: float(value[i, 0]) for key, value in knobs.items()}
            alone = run_method(q, with_knobs(part, **single), 8, theta0=theta0[j], seed=1)
            assert_allclose(together.theta[:, i, j], alone.theta, rtol=1e-7, atol=1e-10)
            assert_allclose(together.w[:, i, j], alone.w, rtol=1e-6, atol=1e-11)


@each
def test_same_seed_same_numbers(method) -> None:
    q = two_clusters()
    for part in (method, *batched(method)):
        a, b = (run_method(q, part, 6, seed=3) for _ in range(2))
        assert (a.theta == b.theta).all()
        assert (a.w == b.w).all()
    for part in batched(method):
        other = run_method(q, part, 6, seed=4)
        assert np.abs(a.theta - other.theta).max() > 0


@each
def test_a_step_is_pure(method) -> None:
    q = least_squares()
    geometry = valid(method)[0]
    c = case(q)
    w = 0.5 / 12 + 0.5 * c.w
    state = method.init(q, geometry, c.theta, geometry.start(np.log(w)), 0)
    state = method.step(q, geometry, state)
    first, second = (method.step(q, geometry, state) for _ in range(2))
    assert (first.theta == second.theta).all()
    assert (first.outer == second.outer).all()
    assert first.step == state.step + 1 == 2


@each
def test_bad_knobs_give_a_status_and_no_nan(method) -> None:
    q = two_clusters()
    for key, value in (("rho", 1e4), ("eta", 1e12)):
        if not has_knob(method, key):
            continue
        run = run_method(q, with_knobs(method, **{key: value}), 300)
        assert isinstance(run.status, Status)
        assert np.isfinite(run.theta).all()
        assert np.isfinite(run.w).all()
        assert run.status.success or "`" in run.message, run.message


USES_VALUES = ("MAID",)
"""Methods that compare values of F, by definition."""


@each
def test_no_dense_answers_and_no_values_are_asked_for(method) -> None:
    q = least_squares()
    names = ["per_sample_grads", "per_sample_hvp", "train_loss", "test_loss", "outer_loss"]
    names += [] if name(method) in USES_VALUES else ["val_loss"]
    guarded = type("Guarded", (type(q),), dict.fromkeys(names, forbidden))
    watched = object.__new__(guarded)
    watched.__dict__.update(vars(q))
    assert run_method(watched, method, 3).status is Status.ok


def forbidden(*args: object, **kwargs: object) -> None:
    raise AssertionError("a method asked for more than the oracles")


def test_all_methods_of_the_design_are_there() -> None:
    wanted = """Joint Exact SOBA LearningToReweight OneStep MetaWeightNet ConjugateGradient Neumann
    ReverseMode ForwardMode RealTimeForward TruncatedReverse Penalty AugmentedLagrangian MAID BOREP
    ScaleBiO F2SA SelfTuning BSVRB LVHBA"""
    assert set(wanted.split()) <= KINDS.keys()
