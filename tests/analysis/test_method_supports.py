"""M1, M2: limits of fast weights by method, and certificates that turn red when code breaks."""

import numpy as np
import pytest

from warmflow.analysis.theorems.numerical import (
    fast_weights,
    method_cases,
    method_supports,
    one_sample,
    penalised_supports,
    penalty_programs,
    plain_fields,
)
from warmflow.analysis.theorems.numerical.fast_weights import fast_limit
from warmflow.analysis.theorems.numerical.method_cases import CASES, draws, uniform
from warmflow.analysis.theorems.numerical.penalised_supports import projected
from warmflow.dynamics import LeastSquares, Problem


def test_a_constant_field_leaves_its_least_entry() -> None:
    g = np.array([0.3, -1.0, 2.0, 0.0])
    limit = fast_limit(lambda w: g + 0.0 * w, np.full(4, 0.25))
    assert limit.kind == "rest"
    assert limit.support.tolist() == [1]
    assert limit.gap == pytest.approx(1.0 / 3.0)


def test_a_quadratic_ends_at_its_projection_onto_the_simplex() -> None:
    target = np.array([0.9, 0.6, -0.4, 0.1, -2.0])
    limit = fast_limit(lambda w: w - target, np.full(5, 0.2))
    assert limit.kind == "rest"
    np.testing.assert_allclose(limit.w, projected(target), atol=1e-12)
    assert limit.support.size == np.count_nonzero(projected(target))


def test_an_interior_zero_of_the_field_is_solved_not_at_rest() -> None:
    target = np.array([0.5, 0.3, 0.2])
    limit = fast_limit(lambda w: w - target, np.full(3, 1.0 / 3.0))
    assert limit.kind == "solved"
    # Integrated, not polished: the field falls by five digits.
    np.testing.assert_allclose(limit.w, target, atol=1e-5)


def test_a_rotating_field_does_not_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rock, paper, scissors from off the centre: closed orbits."""
    monkeypatch.setattr(fast_weights, "HORIZONS", (1e2, 1e3))
    turn = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    limit = fast_limit(lambda w: w @ turn.T, np.array([0.6, 0.3, 0.1]))
    assert limit.kind == "unsettled"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_every_case_keeps_at_most_its_bound_and_agrees_with_plain_algebra(case) -> None:
    row = method_supports.observe(case, next(draws(1, (2,), 8, far=0.5, first=3)))
    assert row["agreement"] < 1e-12
    assert row["kind"] in ("rest", "solved")
    if row["kind"] == "rest":
        assert row["support"] <= row["bound"]
        assert row["spread"] < 1e-8
        assert row["excess"] > 0


def test_unrolled_derivatives_by_complex_step_agree_with_differences() -> None:
    at = next(draws(1, (2,), 6))
    w, step = np.random.default_rng(0).dirichlet(np.ones(6)), 1e-6

    def end(w: np.ndarray) -> float:
        theta, problem = at.theta, at.problem
        for _ in range(3):
            theta = theta - 0.05 * problem.train_grad(theta, w)
        return float(problem.val_loss(theta))

    moves = step * np.eye(6)
    slope = [(end(w + move) - end(w - move)) / (2 * step) for move in moves]
    # Central differences: step^2 and round-off over step.
    np.testing.assert_allclose(plain_fields.unrolled(at, w, 3, 0.05), slope, rtol=1e-6, atol=1e-8)


def test_least_point_is_optimal_and_the_entropic_projection_feasible() -> None:
    rng = np.random.default_rng(1)
    for shift in (0.0, 3.0):
        M = rng.standard_normal((2, 9)) + shift
        w, nearest = penalty_programs.least_point(M)
        assert w.sum() == pytest.approx(1.0)
        assert (nearest @ M).min() >= nearest @ nearest - 1e-12
    M = rng.standard_normal((2, 9))
    w0 = rng.dirichlet(np.ones(9))
    w = penalty_programs.entropic_projection(M, w0)
    np.testing.assert_allclose(M @ w, 0.0, atol=1e-12)
    basis = np.column_stack([M.T, np.ones(9)])
    log_ratio = np.log(w / w0)
    fitted = basis @ np.linalg.lstsq(basis, log_ratio, rcond=None)[0]
    np.testing.assert_allclose(fitted, log_ratio, atol=1e-9)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make the study of M1 small: five methods, two draws."""
    labels = {"Joint", "Penalty", "SOBA, v held", "F2SA, u fast", "ReverseMode, T = 5"}
    chosen = [case for case in CASES if case.label in labels]
    monkeypatch.setattr(method_supports, "CASES", chosen)
    return monkeypatch


def broken_jvp(self, theta, v):
    out = original_jvp(self, theta, v)
    return out * np.where(np.arange(out.shape[-1]) % 2, 1.0, 1.01)


original_jvp = LeastSquares.per_sample_jvp
original_adjoint = Problem.adjoint
MUTANTS = {
    "uneven gradients": (LeastSquares, "per_sample_jvp", broken_jvp),
    "adjoint negated": (Problem, "adjoint", lambda *a, **k: -original_adjoint(*a, **k)),
}


@pytest.mark.parametrize("owner, name, broken", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_wrong_field_turns_the_table_red(small, owner, name, broken) -> None:
    small.setattr(owner, name, broken)
    assert not method_supports.supports(True).passed


def test_a_bound_that_is_too_small_is_refuted(small) -> None:
    small.setitem(method_cases.BOUNDS, "p", lambda p: max(p - 1, 1))
    certificate = method_supports.supports(True)
    assert not certificate.passed
    assert certificate.observed == 1


def test_a_wrong_threshold_is_seen_on_both_sides() -> None:
    row = one_sample._threshold(next(draws(1, (2,), 10, first=21)))
    assert row is not None
    assert (row["below"], row["same"]) == (1, True)
    assert row["above"] > 1


def test_the_projection_has_the_level_of_the_penalty() -> None:
    at = next(draws(1, (2,), 8, first=81))
    for row in penalised_supports._quadratic(at):
        assert row["kind"] == "rest"
        assert row["all"] == row["predicted"]
    assert uniform(at.problem).sum() == pytest.approx(1.0)
