"""Runs over leading axes: each cell ends for itself, and none disturbs another."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import (
    ConvergenceError,
    Status,
    Trajectory,
    geometries,
    methods,
    run_method,
)
from warmflow.dynamics.methods import Method, State

from .cases import least_squares, two_clusters

RHO = np.array([[0.1], [50.0], [0.2]])
ETA = np.array([0.1, 0.3])


def alone(run: Trajectory, cell: tuple[int, ...], single: Trajectory) -> None:
    """Check that a cell of a run is the single run."""
    end = single.t[-1]
    assert run.last_step[cell] == end
    assert run.status[cell] == single.status
    rows = [k for k, t in enumerate(run.t) if t in single.t]
    same = [k for k, t in enumerate(single.t) if t in run.t]
    assert_allclose(run.w[(rows, *cell)], single.w[same], rtol=1e-8, atol=1e-13)
    assert_allclose(run.theta[(rows, *cell)], single.theta[same], rtol=1e-8, atol=1e-12)
    for k in np.flatnonzero(run.t >= end):  # afterwards it keeps its last good state
        assert_allclose(run.theta[(k, *cell)], single.theta[-1], rtol=1e-8)


def test_a_cell_that_diverges_keeps_its_last_good_state_and_the_others_go_on() -> None:
    q = two_clusters()
    run = run_method(q, methods.Joint(rho=RHO, eta=ETA), 60)
    assert run.theta.shape == (61, 3, 2, 2)
    assert run.status.dtype == np.int8
    assert run.status.tolist() == [[0, 0], [3, 3], [0, 0]]
    assert np.isfinite(run.theta).all()
    for i in range(3):
        for j in range(2):
            single = run_method(q, methods.Joint(rho=RHO[i, 0], eta=ETA[j]), 60)
            alone(run, (i, j), single)
    assert "2 of 6 cells ended early; the worst, cell (1, 0): diverged at step" in run.message
    assert "`rho`" in run.message


def test_when_all_cells_end_the_run_ends() -> None:
    q = two_clusters()
    run = run_method(q, methods.Joint(rho=np.array([50.0, 80.0]), eta=0.1), 500)
    assert (run.status == Status.diverged).all()
    assert run.t[-1] == run.last_step.max() < 20
    assert run.num_evaluations == run.t[-1]
    assert len(run.tail) == 4


def test_single_runs_have_a_plain_status() -> None:
    run = run_method(two_clusters(), methods.Joint(), 5)
    assert run.status is Status.ok
    assert run.last_step is None
    assert run.message == "did 5 steps."
    assert run_method(two_clusters(), methods.Joint(eta=ETA), 5).message == "did 5 steps."


def test_the_dataset_has_a_status_for_each_cell() -> None:
    ds = run_method(two_clusters(), methods.Joint(rho=RHO, eta=ETA), 60, num_saved=5).to_xarray()
    assert ds.status.dims == ds.last_step.dims == ("cell_0", "cell_1")
    assert ds.status.dtype == np.int8
    assert ds.last_step.values[0].tolist() == [60, 60]
    assert "status" in run_method(two_clusters(), methods.Joint(), 5).to_xarray()


@dataclass(frozen=True, kw_only=True)
class Raising(methods.Joint):
    """Joint with a fault that can be planted in single cells."""

    at: Any = 0
    marks: Any = ()
    fault: type[Exception] = np.linalg.LinAlgError
    shared: ClassVar[tuple[str, ...]] = ("marks",)

    def step(self, problem, geometry, state):
        if np.any((np.asarray(self.at) > 0) & (np.asarray(self.at) == state.step + 1)):
            raise self.fault("planted")
        return super().step(problem, geometry, state)


@pytest.mark.parametrize(
    ("fault", "status"),
    [(np.linalg.LinAlgError, Status.underflow), (ConvergenceError, Status.nonfinite)],
)
def test_a_step_that_raises_ends_only_the_culprits(fault: type[Exception], status: Status) -> None:
    q = two_clusters()
    eta, at = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 7, 0, 11])
    method = Raising(rho=0.1, eta=eta, at=at, marks=(1, 2, 3), fault=fault)
    run = run_method(q, method, 30)
    assert run.status.tolist() == [0, status, 0, status]
    assert run.last_step.tolist() == [30, 6, 30, 10]
    for k in range(4):
        single = run_method(q, Raising(rho=0.1, eta=eta[k], at=at[k], fault=fault), 30)
        alone(run, (k,), single)
    assert "cell (1): " in run.message


@dataclass(frozen=True, kw_only=True)
class LateStart(methods.Joint):
    """Joint that cannot start where eta is above 0.25."""

    def init(self, problem, geometry, theta, outer, seed):
        if np.any(np.asarray(self.eta) > 0.25):
            raise ConvergenceError("no start")
        return super().init(problem, geometry, theta, outer, seed)


def test_a_cell_that_cannot_start_ends_at_step_zero() -> None:
    q = two_clusters()
    run = run_method(q, LateStart(rho=0.1, eta=np.array([0.1, 0.3, 0.2])), 20)
    assert run.status.tolist() == [0, Status.nonfinite, 0]
    assert run.last_step.tolist() == [20, 0, 20]
    assert_allclose(run.w[:, 1], 1 / 60, rtol=1e-12)
    alone(run, (2,), run_method(q, methods.Joint(rho=0.1, eta=0.2), 20))
    nothing = run_method(q, LateStart(rho=0.1, eta=np.array([0.3])), 20)
    assert nothing.t.tolist() == [0]
    single = run_method(q, LateStart(rho=0.1, eta=0.3), 20)
    assert single.status is Status.nonfinite
    assert single.message == "nonfinite at step 0: no start"
    assert single.t.tolist() == [0]


def test_a_warm_up_that_is_not_finite_ends_at_the_given_state() -> None:
    q, rho = two_clusters(), np.array([0.1, 1e9])
    run = run_method(q, methods.MetaWeightNet(rho=rho, num_warmup=60), 10, theta0=np.ones(2))
    assert run.status[0] == Status.ok
    assert run.status[1] in (Status.nonfinite, Status.diverged)
    assert_allclose(run.theta[:, 1], 1.0)
    single = run_method(q, methods.MetaWeightNet(rho=1e9, num_warmup=60), 10, theta0=np.ones(2))
    assert single.status == run.status[1]
    assert_allclose(single.theta, 1.0)


@dataclass(frozen=True, kw_only=True)
class NestedState(State):
    parts: Any


@dataclass(frozen=True, kw_only=True)
class Nested(Method):
    """A method whose state holds arrays of many shapes; it stops being finite where asked."""

    breaks: Any = 0.0

    def init(self, problem, geometry, theta, outer, seed):
        parts = {
            "matrix": theta[..., :, None] * np.exp(outer)[..., None, :],
            "pair": (theta, 3, [outer]),
        }
        return NestedState(theta=theta, outer=outer, step=0, seed=seed, parts=parts)

    def step(self, problem, geometry, state):
        parts = state.parts
        assert parts["matrix"].shape == (*state.theta.shape, problem.num_samples)
        assert_allclose(parts["pair"][0], parts["matrix"].sum(axis=-1), rtol=1e-10)
        late = np.asarray(self.breaks)[..., None] == state.step
        theta = np.where(late, np.nan, state.theta)
        return NestedState(
            theta=theta, outer=state.outer, step=state.step + 1, seed=state.seed, parts=parts
        )

    def direction(self, problem, theta, w):
        return 0.0 * w


def test_whatever_a_state_holds_is_cut_to_the_cells_that_live() -> None:
    q, rng = least_squares(), np.random.default_rng(0)
    theta0 = rng.normal(size=(2, 3, 3))
    breaks = np.array([[9.0, 2.0, 9.0], [4.0, 9.0, 2.0]])
    run = run_method(q, Nested(breaks=breaks), 6, theta0=theta0)
    assert run.status.tolist() == [[0, 4, 0], [4, 0, 4]]
    assert run.last_step.tolist() == [[6, 2, 6], [4, 6, 2]]
    assert_allclose(run.theta, np.broadcast_to(theta0, run.theta.shape))


def test_leading_axes_of_theta_weights_and_knobs_broadcast() -> None:
    q, rng = two_clusters(), np.random.default_rng(0)
    theta0, w0 = rng.normal(size=(4, 1, 2)), rng.dirichlet(np.full(60, 5.0), size=3)
    eta = np.array([[0.1], [0.2], [0.3], [0.4]])
    method = methods.SOBA(rho=0.1, eta=eta, batch_size=16)
    run = run_method(q, method, 20, theta0=theta0, w0=w0, seed=5)
    assert run.w.shape == (21, 4, 3, 60)
    for i, j in ((0, 0), (3, 2), (2, 1)):
        method = methods.SOBA(rho=0.1, eta=eta[i, 0], batch_size=16)
        single = run_method(q, method, 20, theta0=theta0[i, 0], w0=w0[j], seed=5)
        alone(run, (i, j), single)


def test_geometries_of_methods_are_checked_and_the_first_is_the_default() -> None:
    q = two_clusters()
    run = run_method(q, methods.LearningToReweight(), 3)
    assert run.settings["geometry"] == "ClippedNormalised()"
    assert run_method(q, methods.Joint(), 3).settings["geometry"] == "Mirror()"
    for wrong in (geometries.Mirror(), geometries.Groups(np.arange(60) % 2)):
        with pytest.raises(ValueError, match=r"`geometry` must be one of geometries\.Clipped"):
            run_method(q, methods.LearningToReweight(), 3, geometry=wrong)
