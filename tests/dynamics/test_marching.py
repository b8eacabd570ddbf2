"""The loop around the integrators, on vector fields made to fail in each way."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import ConvergenceError, Status
from warmflow.dynamics.flows import Flow, InnerFailure
from warmflow.dynamics.marching import march

OPTIONS = {
    "rtol": 1e-9,
    "atol": 1e-12,
    "t_eval": None,
    "num_saved": 100,
    "max_evaluations": None,
    "rest_tol": None,
}


class Scripted(Flow):
    """dz/dt = field(z), with no weights behind it."""

    def __init__(self, field, z0, jacobian=None) -> None:
        self._field, self._jacobian = field, jacobian
        self.initial = np.asarray(z0, dtype=float)
        self.beta = 1.0
        self.has_jacobian = jacobian is not None

    def field(self, z):
        return np.asarray(self._field(z))

    def jacobian(self, z):
        return np.asarray(self._jacobian(z))

    def theta(self, z):
        return z

    def log_weights(self, z):
        return z

    def log_weight_velocity(self, dz):
        return dz


def oscillator(jacobian: bool) -> Scripted:
    A = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return Scripted(lambda z: A @ z, [1.0, 0.0], (lambda z: A) if jacobian else None)


@pytest.mark.parametrize("jacobian", [True, False])
def test_both_integrators_solve_the_oscillator(jacobian: bool) -> None:
    out = march(oscillator(jacobian), (0.0, 20.0), **OPTIONS)
    assert out.status is Status.ok
    assert_allclose(out.states[:, 0], np.cos(out.t), atol=1e-6)
    dense = march(oscillator(jacobian), (0.0, 20.0), **{**OPTIONS, "t_eval": np.linspace(0, 20, 7)})
    assert_allclose(dense.states[:, 0], np.cos(dense.t), atol=1e-6)


@pytest.mark.parametrize("jacobian", [True, False])
def test_a_field_that_is_never_finite(jacobian: bool) -> None:
    nan = lambda z: np.full(1, np.nan)  # noqa: E731
    flow = Scripted(nan, [1.0], (lambda z: np.eye(1)) if jacobian else None)
    out = march(flow, (0.0, 1.0), **OPTIONS)
    assert out.status in (Status.nonfinite, Status.stiff)
    assert np.isfinite(out.states).all()
    assert len(out.t) == 1


@pytest.mark.parametrize("jacobian", [True, False])
def test_a_solution_that_blows_up_in_finite_time(jacobian: bool) -> None:
    """z' = z^2 from 1 leaves at t = 1."""
    flow = Scripted(lambda z: z**2, [1.0], (lambda z: 2 * np.diag(z)) if jacobian else None)
    out = march(flow, (0.0, 2.0), **OPTIONS)
    assert not out.status.success
    assert_allclose(out.t[-1], 1.0, atol=1e-3)
    assert np.isfinite(out.states).all()
    assert "t = 1" in out.message


@pytest.mark.parametrize(
    "error, status",
    [
        (InnerFailure("H is singular"), Status.underflow),
        (ConvergenceError("no luck"), Status.nonfinite),
    ],
)
def test_failures_of_inner_solves_become_a_status(error: Exception, status: Status) -> None:
    def field(z):
        if z[0] > 2.0:
            raise error
        return np.ones(1)

    out = march(Scripted(field, [0.0]), (0.0, 5.0), **OPTIONS)
    assert out.status is status
    assert str(error) in out.message
    assert 0.0 < out.t[-1] <= 2.0


def test_other_errors_are_not_swallowed() -> None:
    def field(z):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        march(Scripted(field, [0.0]), (0.0, 1.0), **OPTIONS)


def test_the_record_is_thinned_evenly_and_bounded() -> None:
    for capacity in (2, 3, 10, 50):
        out = march(oscillator(False), (0.0, 300.0), **{**OPTIONS, "num_saved": capacity})
        assert len(out.t) <= capacity
        assert out.t[[0, -1]].tolist() == [0.0, 300.0]
        if capacity >= 10:
            assert len(out.t) >= capacity / 2
            gaps = np.diff(out.t)[1:-1]
            assert gaps.max() < 4 * gaps.min()


def test_stiffness_is_told_from_accuracy() -> None:
    """lambda = -1e7 holds an explicit method back long after its solution is smooth."""
    stiff = Scripted(lambda z: -1e7 * (z - 1.0), [1.0 + 1e-3])
    out = march(stiff, (0.0, 1.0), **OPTIONS)
    assert out.status is Status.stiff
    assert out.num_evaluations < 20_000
    capped = march(stiff, (0.0, 1.0), **{**OPTIONS, "max_evaluations": 1000})
    assert capped.status in (Status.stiff, Status.max_evaluations)
