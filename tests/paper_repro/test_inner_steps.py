"""Inner steps at a fixed number of updates: problem, fits, and the science at small size."""

from dataclasses import replace

import numpy as np
import pytest

from warmflow.paper_repro.items import inner_steps
from warmflow.paper_repro.items._growth import fit_growth, valley
from warmflow.paper_repro.items._quadratic import Mixture, Target

TARGETS: tuple[Target, ...] = ("inside", "edge", "outside")
BUDGETS = np.array([30.0, 100.0, 300.0, 1000.0, 3000.0])


def differences(f, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    steps = step * np.eye(x.size)
    return np.array([(f(x + s) - f(x - s)) / (2 * step) for s in steps])


@pytest.mark.parametrize("target", TARGETS)
def test_oracles_of_the_quadratic_are_derivatives(target: Target) -> None:
    problem, _ = Mixture(target=target, n=4, p=6, seed=3).make()
    rng = np.random.default_rng(0)
    theta, v, w = rng.normal(size=6), rng.normal(size=6), 0.3 + rng.random(4)
    np.testing.assert_allclose(
        problem.train_grad(theta, w), differences(lambda t: problem.train_loss(t, w), theta),
        atol=1e-8,
    )  # fmt: skip
    np.testing.assert_allclose(
        problem.val_grad(theta), differences(problem.val_loss, theta), atol=1e-8
    )
    slope = differences(lambda s: problem.train_grad(theta + s[0] * v, w), np.zeros(1))[0]
    np.testing.assert_allclose(problem.hvp(theta, w, v), slope, atol=1e-8)
    slope = differences(lambda s: problem.per_sample_losses(theta + s[0] * v), np.zeros(1))[0]
    np.testing.assert_allclose(problem.per_sample_jvp(theta, v), slope, atol=1e-8)
    adjoint = problem.adjoint(theta, w)
    np.testing.assert_allclose(problem.hvp(theta, w, adjoint), problem.val_grad(theta), atol=1e-12)
    np.testing.assert_allclose(problem.train_grad(problem.theta_star(w), w), 0.0, atol=1e-12)


def test_oracles_broadcast_leading_axes() -> None:
    problem, _ = Mixture(target="edge").make()
    theta, w, v = np.ones((4, 1, 10)), np.full((5, 5), 0.2), np.ones(10)
    assert problem.train_grad(theta, w).shape == (4, 5, 10)
    assert problem.hvp(theta, w, v).shape == (4, 5, 10)
    assert problem.per_sample_jvp(theta, v).shape == (4, 1, 5)
    assert problem.per_sample_losses(theta).shape == (4, 1, 5)
    assert problem.adjoint(theta, w).shape == (4, 5, 10)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_minimum_is_where_it_was_put(target: Target, seed: int) -> None:
    problem, best = Mixture(target=target, kappa=7.0, seed=seed).make()
    others = np.random.default_rng(seed).dirichlet(np.ones(5), size=2000)
    assert problem.outer_loss(others).min() > problem.outer_loss(best)
    slope = problem.outer_grad(best)
    np.testing.assert_allclose(slope, slope.mean(), atol=1e-12)  # no multiplier holds a weight at 0
    np.testing.assert_allclose(
        problem.outer_loss(best), 0.0 if target == "inside" else 0.5, atol=1e-12
    )
    assert (best[-1] == 0.0) == (target == "edge")
    mu, L = problem.constants()
    np.testing.assert_allclose([mu, L], [1 / 7, 1.0])


def test_each_law_of_growth_is_recovered() -> None:
    fit = fit_growth(BUDGETS, 3.0 * (np.log(BUDGETS) - 1.5))
    assert fit.slope == pytest.approx(3.0, rel=1e-3)
    assert fit.shift == pytest.approx(-1.5, rel=1e-3)
    assert fit.residual_log < 1e-4 < fit.residual_power
    np.testing.assert_allclose(fit.logarithmic(BUDGETS), 3.0 * (np.log(BUDGETS) - 1.5), rtol=1e-3)
    fit = fit_growth(BUDGETS, 0.7 * BUDGETS**0.5)
    assert fit.exponent == pytest.approx(0.5)
    assert fit.residual_power < 1e-12 < fit.residual_log
    np.testing.assert_allclose(fit.power(BUDGETS), 0.7 * BUDGETS**0.5)


def test_a_fit_needs_three_points() -> None:
    with pytest.raises(ValueError, match="`N` must have at least 3 entries; got 2"):
        fit_growth(BUDGETS[:2], BUDGETS[:2])


@pytest.mark.parametrize("bottom", [2.7, 6.0, 11.0])
def test_the_valley_of_a_parabola_is_found_between_grid_points(bottom: float) -> None:
    T = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert valley(T, np.exp((np.log(T) - np.log(bottom)) ** 2)) == pytest.approx(bottom)


def test_a_valley_at_an_end_is_that_end() -> None:
    T = np.array([1.0, 2.0, 4.0])
    assert valley(T, np.array([1.0, 2.0, 3.0])) == 1.0
    assert valley(T, np.array([3.0, 2.0, 1.0])) == 4.0


def small(problem: str, method: str, **changes: object) -> inner_steps.BudgetPart:
    part = inner_steps.parts("quick")[0]
    return replace(
        part, problem=problem, method=method, steps=(1, 4, 16, 64), decades=(1.5, 3.0),
        num_budgets=4, **changes,
    )  # fmt: skip


def run(part: inner_steps.BudgetPart):
    return inner_steps.simulate(part, inner_steps.data(part))


def by_hand(part: inner_steps.BudgetPart, T: int, N: int, eta: float) -> float:
    """Gap of the unrolled method by a loop of its own, its field by differences of F(theta_T)."""
    problem, best = inner_steps._mixture(part).make()
    w = np.full(5, 0.2)
    theta = problem.theta_star(w)

    def end(w: np.ndarray, start: np.ndarray) -> np.ndarray:
        for _ in range(T):
            start = start - (w @ (start - problem.centres)) @ problem.curvature
        return start

    for _ in range(N // T):
        slope = differences(lambda u, start=theta: problem.val_loss(end(u, start)), w)
        theta = end(w, theta)
        w = w * np.exp(-eta * slope)
        w /= w.sum()
    return float(problem.outer_loss(w) - problem.outer_loss(best))


@pytest.mark.parametrize("T", [1, 4])
def test_the_gap_is_that_of_a_plain_loop(T: int) -> None:
    part = small("outside", "unrolled", num_rates=3, multipliers=(-2.0, 0.0))
    ds = run(part)
    for k, N in ((0, int(ds["N"][0])), (1, int(ds["N"][1]))):
        direct = by_hand(part, T, N, 0.1 / float(ds["spread"]))
        np.testing.assert_allclose(ds["gap"].sel(T=T).isel(N=k, multiplier=1), direct, rtol=1e-4)


def test_one_step_fails_where_the_target_is_out_of_reach_and_the_adjoint_is_not_exact() -> None:
    ends = {
        (problem, method): run(small(problem, method))["gap"].min("multiplier").isel(N=-1)
        for problem in ("outside", "inside")
        for method in ("unrolled", "exact")
    }
    stuck = ends["outside", "unrolled"]
    assert float(stuck.sel(T=1)) > 10 * float(stuck.min())
    for key in (("outside", "exact"), ("inside", "unrolled"), ("inside", "exact")):
        assert float(ends[key].sel(T=1)) < 1e-8


def test_gaps_are_left_out_where_T_does_not_fit_into_N() -> None:
    part = small("edge", "unrolled", num_rates=3)
    (field,) = inner_steps.gaps({part: run(part)}).values()
    assert np.isnan(field["tuned"].sel(T=64).isel(N=0))
    assert np.isfinite(field["tuned"].sel(T=16)).all()
    assert (field["tuned"] <= field["fixed"]).where(field["tuned"].notnull(), True).all()


def test_numbers_are_those_of_the_claims_and_figures_are_drawn() -> None:
    parts = [
        replace(
            small(problem, method, num_rates=3, multipliers=(-2.0, 0.0)),
            seed=seed,
            decades=(1.5, 2.5),
            num_budgets=6,
        )
        for seed in (0, 1)
        for problem in ("inside", "edge", "outside", "toy")
        for method in ("unrolled", "exact")
    ]
    results = {part: run(part) for part in parts}
    numbers = inner_steps.numbers(results)
    assert {claim.number for claim in inner_steps.CLAIMS} <= numbers.keys()
    assert all(len(value.values) == 2 for value in numbers.values())
    drawings = inner_steps.draw(results)
    assert {*drawings} == {"error_against_T", "error_at_one_rate", "best_T"}
    assert len(drawings["error_against_T"].tables) == 8
