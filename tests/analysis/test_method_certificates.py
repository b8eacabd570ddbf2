"""M3 to M8: checks hold where the code is right, and turn red where a field or bound is not."""

import numpy as np
import pytest

from warmflow.analysis.theorems.certificate import Check
from warmflow.analysis.theorems.instances import ridge_problem
from warmflow.analysis.theorems.numerical import (
    adapted_theta,
    memoryless,
    mitigated_supports,
    penalised_supports,
    penalty_programs,
    unrolled_supports,
)
from warmflow.analysis.theorems.numerical.fast_weights import fast_limit
from warmflow.analysis.theorems.numerical.method_cases import draws
from warmflow.dynamics import LeastSquares, Problem, methods
from warmflow.dynamics.geometries import Averaged, Floored


def red(checks: list[Check]) -> set[str]:
    """Return the first words of the checks that fail."""
    return {" ".join(check.what.split()[:3]) for check in checks if not check.passed}


def unrolled() -> list[Check]:
    pool = list(draws(2, (1, 2), 12, far=0.7, first=0))
    rows = [unrolled_supports._observe(at, T, T) for at in pool for T in (1, 2, 5)]
    return unrolled_supports._escape_checks(rows, [])


def test_unrolled_supports_need_the_right_hessian(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not red(unrolled()) - {"rest points with"}
    right = LeastSquares.hvp
    monkeypatch.setattr(LeastSquares, "hvp", lambda *a, **k: 0.5 * right(*a, **k))
    assert red(unrolled()) & {"spread of the", "runs that did"}


def programs() -> list[Check]:
    near, far = next(draws(1, (2,), 12, far=0.3, first=41)), next(draws(1, (2,), 12, far=3.0))
    rows = [
        penalty_programs._observe(at, name)
        for at in (near, far)
        for name in ("Penalty", "AugmentedLagrangian")
    ]
    return penalty_programs._checks(rows)


def test_penalty_programs_need_the_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not red(programs()) - {"programs of either"}
    right = LeastSquares.train_grad
    monkeypatch.setattr(
        LeastSquares, "train_grad", lambda self, theta, w: right(self, theta, w) + 0.3
    )
    assert "|M w -" in red(programs())


def test_mirror_steps_select_the_same_weights_up_to_the_stable_size() -> None:
    found = penalty_programs._stepped(next(draws(1, (2,), 12, far=0.3, first=41)))
    assert found is not None
    assert found[0] < 1e-6 < 1e-2 < found[1]


def penalised() -> list[Check]:
    return penalised_supports._quadratic_checks(
        penalised_supports._quadratic(next(draws(1, (2,), 14, first=81)))
    )


def test_l2_penalty_needs_its_own_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not red(penalised())
    right = penalised_supports.Penalised
    monkeypatch.setattr(
        penalised_supports, "Penalised", lambda l2, inner: right(l2=1.1 * l2, inner=inner)
    )
    assert "|w - proj(-Psi/(kappa" in red(penalised())


def looked_ahead() -> list[Check]:
    pool = list(draws(4, (1, 2), 40, far=0.0))
    return memoryless._count_checks(pool, memoryless.look_ahead_counts(pool))


def test_a_look_ahead_of_the_wrong_sign_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not red(looked_ahead())
    right = LeastSquares.per_sample_jvp
    monkeypatch.setattr(LeastSquares, "per_sample_jvp", lambda *a, **k: -right(*a, **k))
    assert "steps of LearningToReweight" in red(looked_ahead())


def test_kept_samples_and_their_complement_take_turns_for_one_parameter() -> None:
    ends = [memoryless._at_the_end(1, p) for p in (1, 2)]
    assert not red(memoryless._end_checks(ends))
    ends[0]["turns"] = 1
    assert red(memoryless._end_checks(ends)) == {"largest plus least"}


def adapted() -> list[Check]:
    rows = [adapted_theta._observe(ridge_problem(seed, 8, 2, 1e-2), 1e6) for seed in (1, 4)]
    return adapted_theta._checks(rows)


def test_a_theta_that_lags_is_not_adapted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not red(adapted())
    rho = 1e-2
    monkeypatch.setattr(methods, "Exact", lambda eta: methods.Joint(rho=rho, eta=10.0))
    assert "largest relative |theta" in red(adapted())


def test_the_flow_of_h_uphill_is_not_the_dichotomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ascent of h ends on other points: the pull of the solved draw is far from zero."""
    right = Problem.outer_grad
    monkeypatch.setattr(Problem, "outer_grad", lambda self, w: -right(self, w))
    assert {"largest |S| -", "ends of the"} & red(adapted())


def test_a_solved_start_is_solved_on_the_scale_that_is_given() -> None:
    w0 = np.full(3, 1.0 / 3.0)
    near = w0 + np.array([1e-3, -1e-3, 0.0])
    assert fast_limit(lambda w: 1e-14 * (w - w0), near, scale=1.0).kind == "solved"


def mitigated(floor: float = 0.3) -> list[Check]:
    at = next(draws(1, (2,), 14, first=120))
    mixed = mitigated_supports._mixed(at)
    floored = mitigated_supports._ended(at, Floored(floor), mixed["w"])
    averaged = mitigated_supports._ended(at, Averaged(0.7), mitigated_supports._plain_limit(at))
    floored["lasting"] = averaged["lasting"] = np.inf
    averaged["distance"] = 0.0  # slow: three steps from its limit are what counts here
    return mitigated_supports._run_checks([mixed], [floored], [averaged])


def test_another_floor_has_other_rest_points() -> None:
    assert not red(mitigated())
    assert "l1 by which" in red(mitigated(floor=0.2))


def test_an_average_of_another_memory_has_the_same_rest_points() -> None:
    at = next(draws(1, (2,), 14, first=121))
    expected = mitigated_supports._plain_limit(at)
    for memory in (0.0, 0.3, 0.95):
        assert mitigated_supports._ended(at, Averaged(memory), expected)["drift"] < 1e-9
    moved = 0.9 * expected + 0.1 / expected.size
    assert mitigated_supports._ended(at, Averaged(0.3), moved)["drift"] > 1e-4
