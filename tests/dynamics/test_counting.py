"""What runs cost, against counts by hand, and budgets that end them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from warmflow.dynamics import Status, Trajectory, methods, run_method
from warmflow.dynamics.counting import cost

from .cases import least_squares, softmax

T, N = 4, 5
HAND = {
    "joint": (methods.Joint(), {"train_grad": 1, "val_grad": 1, "hessian": 3, "per_sample_jvp": 1}),
    "forward": (
        methods.ForwardMode(num_inner_steps=T),
        {"train_grad": T, "hvp": 12 * T, "per_sample_jvp": 3 * T, "val_grad": 1},
    ),
    "real time": (
        methods.RealTimeForward(),
        {"train_grad": 1, "hvp": 12, "per_sample_jvp": 3, "val_grad": 1},
    ),
    "one step": (
        methods.OneStep(order="simultaneous"),
        {"train_grad": 1, "val_grad": 1, "per_sample_jvp": 1},
    ),
    "self-tuning": (
        methods.SelfTuning(num_inner_steps=2, num_perturbations=8),
        {"train_grad": 16, "val_grad": 1},
    ),
}


@pytest.mark.parametrize(("method", "by_hand"), HAND.values(), ids=HAND.keys())
@pytest.mark.parametrize("lead", [(), (3,), (2, 2)])
def test_calls_count_vectors_and_not_cells(method, by_hand: dict, lead: tuple) -> None:
    """n = 12 samples, p = 3 parameters."""
    q = least_squares(n=12, p=3)
    run = run_method(q, method, N, theta0=np.zeros((*lead, 3)))
    found = {name: n for name, n in run.oracle_counts.items() if name != "theta_star"}
    assert found == {name: N * count for name, count in by_hand.items()}


def test_a_solve_costs_what_it_calls() -> None:
    run = run_method(least_squares(p=3), methods.Exact(), N)
    assert run.oracle_counts["theta_star"] == N + 1  # one in `init`
    assert run.oracle_counts["hessian"] == 3 * (2 * N + 1)
    assert cost(run.oracle_counts) == sum(run.oracle_counts.values()) - (N + 1)


class Breaking(methods.Joint):
    """A method whose third step cannot be done where eta is large."""

    def step(self, problem, geometry, state):
        new = super().step(problem, geometry, state)
        if state.step == 2 and np.max(self.eta) > 1:
            raise np.linalg.LinAlgError
        return new


def test_a_cell_that_breaks_costs_the_others_nothing() -> None:
    """To find it the step is repeated cell by cell."""
    q = least_squares()
    alone = run_method(q, methods.Joint(eta=1e-3), 6)
    both = run_method(q, Breaking(eta=np.array([1e-3, 2.0, 1e-3])), 6)
    assert both.last_step.tolist() == [6, 2, 6]
    assert both.oracle_counts == alone.oracle_counts


@pytest.mark.parametrize("problem", [least_squares(), softmax()], ids=["linear", "softmax"])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_a_budget_is_exceeded_by_less_than_a_step(problem, lead: tuple) -> None:
    budget, method = 200, methods.SOBA(eta=np.full(lead, 0.1) if lead else 0.1)
    run = run_method(problem, method, 10_000, max_calls=budget)
    spent, steps = cost(run.oracle_counts), int(run.t[-1])
    before = run_method(problem, method, steps - 1)
    assert cost(before.oracle_counts) < budget <= spent
    assert (np.asarray(run.status) == Status.max_evaluations).all()
    assert "max_calls" in run.message
    whole = run_method(problem, method, steps)
    assert_allclose(run.w[-1], whole.w[-1], rtol=0)
    assert (np.asarray(whole.status) == Status.ok).all()


def test_a_larger_budget_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    q, path, method = least_squares(), tmp_path / "run.npz", methods.Joint(eta=0.1)
    short = run_method(q, method, 500, max_calls=100, checkpoint=path)
    again = run_method(q, method, 500, max_calls=100, checkpoint=path, resume=True)
    assert_array_equal(again.w, short.w)
    assert again.status == short.status == Status.max_evaluations
    longer = run_method(q, method, 500, max_calls=300, checkpoint=path, resume=True)
    once = run_method(q, method, 500, max_calls=300)
    assert_array_equal(longer.w, once.w)
    assert longer.oracle_counts == once.oracle_counts


def test_a_smaller_budget_than_a_checkpoint_has_spent_is_refused(tmp_path: Path) -> None:
    q, path, method = least_squares(), tmp_path / "run.npz", methods.Joint(eta=0.1)
    short = run_method(q, method, 500, max_calls=100, checkpoint=path)
    before = cost(run_method(q, method, int(short.t[-1]) - 1).oracle_counts)

    def resumed(budget: int) -> Trajectory:
        return run_method(q, method, 500, max_calls=budget, checkpoint=path, resume=True)

    assert_array_equal(resumed(before + 1).w, short.w)  # the last step began within this one
    for budget in (before, 10):
        with pytest.raises(ValueError, match=rf"`max_calls` must be above the {before} calls"):
            resumed(budget)


def test_a_budget_that_is_never_reached_changes_nothing() -> None:
    run = run_method(least_squares(), methods.Joint(), 5, max_calls=10**6)
    assert run.status is Status.ok
    assert run.message == "did 5 steps."


def test_refusal() -> None:
    with pytest.raises(ValueError, match="`max_calls` must be"):
        run_method(least_squares(), methods.Joint(), 5, max_calls=0)
