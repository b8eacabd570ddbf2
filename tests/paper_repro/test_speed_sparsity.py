"""Speed against sparsity: definitions, and the science at small size."""

from dataclasses import replace

import numpy as np
import pytest

from warmflow.analysis import rate_ratio
from warmflow.dynamics import LeastSquares, methods, run_method
from warmflow.paper_repro.data import Toy
from warmflow.paper_repro.items import speed_sparsity
from warmflow.paper_repro.items._reaching import first_step, fit_exponent, pareto, settled_step
from warmflow.paper_repro.items.speed_sparsity import SpeedPart

SMALL = SpeedPart(
    seed=0, toy=Toy(seed=0, noise=1.0, n=60, test_size=200), multiples=(0.3, 1.0),
    decades=(-0.5, 3.5), num_ratios=9, num_steps=4000, num_exact=3, exact_steps=200,
)  # fmt: skip
STEPS = np.array([0, 1, 5, 10, 20])


def test_settled_means_to_stay_and_first_to_visit() -> None:
    risk = np.array([
        [5.0, 1.0, 5.0, 1.0, 1.0],
        [5.0, 1.0, 1.0, 1.0, 5.0],
        [1.0, 1.0, 1.0, 1.0, 1.0],
        [5.0, 5.0, 5.0, np.nan, np.nan],
    ])  # fmt: skip
    np.testing.assert_array_equal(settled_step(STEPS, risk, 1.0), [10, np.inf, 0, np.inf])
    np.testing.assert_array_equal(first_step(STEPS, risk, 1.0), [1, 1, 0, np.inf])


def test_the_front_holds_what_no_other_beats() -> None:
    rng = np.random.default_rng(0)
    cost, gain = rng.integers(0, 12, 60).astype(float), rng.integers(0, 12, 60).astype(float)
    cost[:5] = np.inf
    found = pareto(cost, gain)
    assert (np.diff(cost[found]) > 0).all()
    assert (np.diff(gain[found]) > 0).all()
    beats = [
        [(cost[j] <= cost[i] and gain[j] >= gain[i]) and (cost[j], gain[j]) != (cost[i], gain[i])
         for j in range(60)] for i in range(60)
    ]  # fmt: skip
    unbeaten = {
        (c, g)
        for c, g, rivals in zip(cost, gain, beats, strict=True)
        if np.isfinite(c) and not any(rivals)
    }
    assert {*zip(cost[found], gain[found], strict=True)} == unbeaten


def test_exponents_come_from_the_finite_entries() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    assert fit_exponent(x, 3 * x**-1.5) == pytest.approx(-1.5)
    assert fit_exponent(x, np.where(x > 3, np.inf, x**2)) == pytest.approx(2.0)
    assert np.isnan(fit_exponent(x, np.full(4, np.inf)))


def test_cells_are_those_of_the_algorithm_at_the_stated_ratio() -> None:
    part = replace(SMALL, num_steps=1200)
    data = speed_sparsity.data(part)
    problem = data.problem(part.ridge)
    assert isinstance(problem, LeastSquares)
    ds = speed_sparsity.simulate(part, data).sel(multiple=0.3).sel(ratio=1.0, method="nearest")
    rho = 0.3 / problem.constants()[1]
    eta = 1.0 / rate_ratio(problem, rho, 1.0)
    run = run_method(problem, methods.Joint(rho=rho, eta=eta), num_steps=1200, num_saved=1201)
    fit = np.linalg.solve(problem.X_val.T @ problem.X_val, problem.X_val.T @ problem.y_val)
    low = problem.test_loss(run.theta) <= 1.1 * problem.test_loss(fit)
    np.testing.assert_allclose(ds["ess"], 1 / np.sum(run.w[-1] ** 2), rtol=1e-8)
    enters = 1200 - int(np.argmin(low[::-1])) + 1
    kept = np.array(speed_sparsity.kept_steps(1200))
    assert float(ds["settled"]) == kept[kept >= enters][0]
    assert 1 < enters < 600


def test_the_exact_algorithm_is_run_in_units_of_its_field() -> None:
    data = speed_sparsity.data(SMALL)
    problem = data.problem(SMALL.ridge)
    ds = speed_sparsity.simulate(SMALL, data).isel(exact_ratio=0)
    psi = problem.outer_grad(np.full(60, 1 / 60))
    run = run_method(problem, methods.Exact(eta=0.1 / np.std(psi)), num_steps=200)
    np.testing.assert_allclose(ds["exact_ess"], 1 / np.sum(run.w[-1] ** 2), rtol=1e-6)


@pytest.mark.parametrize(("end", "settled"), [(19, np.inf), (20, 10), (21, 10)])
def test_a_run_must_stay_for_half_of_its_steps(end: int, settled: float) -> None:
    risk = np.array([[5.0, 5.0, 5.0, 1.0, 1.0]])
    steps = np.array([0, 1, 5, 10, end])
    ds = speed_sparsity._observed(steps, risk, np.ones((1, 5)), 1.0, "")
    assert ds["settled"].item() == settled
    assert ds["first"].item() == 10


@pytest.mark.parametrize(("method", "name"), [(methods.Joint, "joint"), (methods.Exact, "exact")])
def test_calls_are_what_a_step_asks_for(method: type[methods.Method], name: str) -> None:
    data = replace(SMALL.toy, p=3).make()
    problem = data.problem(SMALL.ridge)
    part = replace(SMALL, num_steps=10, exact_steps=10)
    stated = speed_sparsity.simulate(part, data).attrs[f"{name}_calls"]
    per_step = [run_method(problem, method(), num_steps=steps).oracle_counts for steps in (1, 11)]
    step = {key: (per_step[1][key] - per_step[0][key]) / 10 for key in per_step[0]}
    hessians = step.pop("hessian")
    hessians = hessians / 3 if hessians >= 3 else hessians  # counted as one call or as p vectors
    # theta_star asks for H, counted above, and for one pass X' (w y).
    assert stated == 3 * hessians + sum(step.values())


def test_time_goes_like_one_over_the_ratio_and_fast_weights_collapse() -> None:
    parts = [replace(SMALL, seed=seed, toy=replace(SMALL.toy, seed=seed)) for seed in (0, 1)]
    results = {part: speed_sparsity.simulate(part, speed_sparsity.data(part)) for part in parts}
    (ds,) = speed_sparsity.cases(results).values()
    unit = ds.sel(multiple=1.0)
    slow = unit["settled"].sel(ratio=slice(0.3, 1.1))
    for seed in (0, 1):
        exponent = fit_exponent(slow["ratio"].values, slow.sel(seed=seed).values)
        assert exponent == pytest.approx(-1.0, abs=0.15)  # three points, steps kept to 10 %
    assert float(unit["ess"][:, 0].min()) > 10 * float(unit["ess"][:, -1].max())
