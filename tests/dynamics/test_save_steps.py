"""The steps that a run keeps, when they are given."""

import numpy as np
import pytest

from warmflow.dynamics import Status, methods, run_method

from .cases import two_clusters

Q = two_clusters()


@pytest.mark.parametrize("steps", [[0], [30], [1, 2, 3, 29], np.array([0, 7]), range(0, 31, 10)])
def test_exactly_the_given_steps_are_kept(steps) -> None:
    every = run_method(Q, methods.SOBA(eta=0.3), 30, num_saved=31)
    some = run_method(Q, methods.SOBA(eta=0.3), 30, save_steps=steps)
    assert some.t.tolist() == list(steps)
    np.testing.assert_array_equal(some.theta, every.theta[list(steps)])
    np.testing.assert_array_equal(some.log_w, every.log_w[list(steps)])
    np.testing.assert_array_equal(some.tail, every.log_w[-4:])
    assert some.num_evaluations == 30


def test_the_end_of_a_broken_run_is_kept_too() -> None:
    method = methods.Joint(rho=50.0, eta=0.1)
    end = run_method(Q, method, 500).num_evaluations
    run = run_method(Q, method, 500, save_steps=[1, 4, 400])
    assert run.status is Status.diverged
    assert run.t.tolist() == [1, 4, end]
    assert run_method(Q, method, 500, save_steps=[1, end]).t.tolist() == [1, end]
    assert run_method(Q, method, 500, save_steps=[1]).t.tolist() == [1, end]


def test_cells_that_break_keep_their_state_at_the_steps_that_are_due() -> None:
    method = methods.Joint(rho=np.array([50.0, 0.1]), eta=0.1)
    run = run_method(Q, method, 60, save_steps=[1, 40, 60])
    assert run.t.tolist() == [1, 40, 60]
    alone = run_method(Q, methods.Joint(rho=50.0, eta=0.1), 60)
    np.testing.assert_allclose(run.theta[1:, 0], alone.theta[[-1, -1]], rtol=1e-9)
    both = run_method(Q, methods.Joint(rho=np.array([50.0, 80.0]), eta=0.1), 60, save_steps=[40])
    assert both.t.tolist() == [both.last_step.max()]


@pytest.mark.parametrize(
    "steps, kind, match",
    [
        ([], ValueError, "`save_steps` must name at least one step; got none"),
        ([3, 3], ValueError, "`save_steps` must increase; got 3 after 3"),
        ([5, 2], ValueError, "`save_steps` must increase; got 2 after 5"),
        ([-1, 2], ValueError, "`save_steps` must be >= 0; got -1"),
        ([2, 31], ValueError, r"`save_steps` must be at most `num_steps` \(30\); got 31"),
        ([2.0], TypeError, "`save_steps` must be an integer; got 2.0"),
        (7, TypeError, "`save_steps` must be a sequence of steps; got 7"),
        ("12", TypeError, "`save_steps` must be a sequence of steps; got '12'"),
    ],
)
def test_wrong_steps_are_refused(steps, kind, match: str) -> None:
    with pytest.raises(kind, match=match):
        run_method(Q, methods.SOBA(), 30, save_steps=steps)
