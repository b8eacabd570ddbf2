"""Penalties on the simplex: steps, definitions, and the science at small size."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from warmflow.analysis import rate_ratio
from warmflow.dynamics import methods, run_method
from warmflow.paper_repro.items import simplex_penalties
from warmflow.paper_repro.items._penalties import PenaltyPart, cases, cost, harm, reach, summaries

TOY = PenaltyPart(
    seed=0, problem="toy", penalty="none", num_steps=300, n=60, ridge=1e-3, num_ratios=4,
    decades=(0.0, 3.0),
)  # fmt: skip


def run(part: PenaltyPart) -> xr.Dataset:
    return simplex_penalties.simulate(part, simplex_penalties.data(part))


def test_rates_follow_from_the_ratio_of_speeds() -> None:
    problem = simplex_penalties.data(TOY).problem(TOY.ridge)
    rho = 1 / problem.constants()[1]
    eta = 10.0 / rate_ratio(problem, rho, 1.0)
    direct = run_method(problem, methods.Joint(rho=rho, eta=eta), num_steps=300)
    ds = run(TOY).sel(ratio=10.0)
    np.testing.assert_allclose(ds["ess"], 1 / np.sum(direct.w[-1] ** 2), rtol=1e-8)
    np.testing.assert_allclose(ds["test_loss"], problem.test_loss(direct.theta[-1]), rtol=1e-8)
    solved = problem.test_loss(problem.theta_star(direct.w[-1]))
    np.testing.assert_allclose(ds["test_loss_solved"], solved, rtol=1e-8)
    np.testing.assert_allclose(ds["clean_mass"], direct.w[-1] @ problem.clean, rtol=1e-8)


def test_the_implicit_step_solves_its_own_equation() -> None:
    part = replace(TOY, penalty="implicit", strength=0.5, num_steps=3)
    problem = simplex_penalties.data(part).problem(part.ridge)
    rho, log_w = 1 / problem.constants()[1], np.full(60, -np.log(60.0))
    eta = part.ratios[-1] / rate_ratio(problem, rho, 1.0)
    theta = problem.theta_star(np.exp(log_w))
    psi = problem.hypergradient(theta, np.exp(log_w))
    tau = 0.5 * np.std(psi)
    for _ in range(3):
        w = np.exp(log_w)
        psi = problem.hypergradient(theta, w)
        theta = theta - rho * problem.train_grad(theta, w)
        # log w+ = log w - eta (Psi + tau log w+), up to a constant
        log_w = (log_w - eta * psi) / (1 + eta * tau)
        log_w -= np.log(np.exp(log_w - log_w.max()).sum()) + log_w.max()
    ess = run(part)["ess"].isel(ratio=-1)
    np.testing.assert_allclose(ess, 1 / np.sum(np.exp(2 * log_w)), rtol=1e-6)


def test_plain_weights_collapse_and_an_implicit_penalty_holds_them() -> None:
    fast = run(TOY)["ess"].sel(ratio=1e3)
    held = run(replace(TOY, penalty="implicit", strength=1.0))["ess"].sel(ratio=1e3)
    assert float(fast) < 3
    assert float(held) > 30


@pytest.mark.parametrize(("penalty", "vanish"), [("entropy", False), ("l2", True)])
def test_weights_vanish_under_l2_and_not_under_entropy(penalty: str, vanish: bool) -> None:
    part = replace(
        TOY, penalty=penalty, strength=0.1, decades=(1.0, 1.5), num_ratios=2, num_steps=2000
    )
    ds = run(part)
    assert (ds["status"] <= 1).all()
    assert bool((ds["support"] < 60).all()) is vanish


def test_small_entropy_penalties_tend_to_the_weights_of_largest_entropy() -> None:
    parts = [replace(TOY, penalty="limit", strength=tau, num_steps=16) for tau in (0.1, 0.04, 0.02)]
    results = {part: run(part) for part in parts}
    far, near, nearest = (float(ds["distance"]) for ds in results.values())
    assert max(float(ds["residual"]) for ds in results.values()) < 1e-4
    assert nearest < near < far
    assert near / nearest == pytest.approx(2.0, rel=0.3)  # order tau (theory T12)


def summary(**fields: list[list[float]]) -> xr.Dataset:
    """Two cases with one seed over R = 1, 10, 100, of ten samples."""
    data = {name: (("case", "seed", "ratio"), np.array(rows)[:, None]) for name, rows in
            fields.items()}  # fmt: skip
    coords = {"case": ["none", "l2 0.1"], "seed": [0], "ratio": [1.0, 10.0, 100.0]}
    return xr.Dataset(data, coords, {"num_samples": 10})


def test_reach_is_the_last_rate_before_the_collapse() -> None:
    ds = summary(ess=[[9.0, 0.9, 5.0], [9.0, 9.0, 9.0]])
    assert reach(ds, "none").values == (0.0,)
    assert reach(ds, "l2 0.1").values == (2.0,)
    assert reach(summary(ess=[[0.5] * 3, [9.0] * 3]), "none").values == (-1.0,)


def test_cost_and_harm_compare_with_no_penalty() -> None:
    ds = summary(test_loss=[[2.0, 1.0, 4.0], [3.0, 1.5, 0.1]])
    assert cost(ds, "l2 0.1", 10.0).values == (1.5,)
    assert cost(ds, "l2 0.1", 100.0).values == pytest.approx((0.1,))
    assert harm(ds, "l2").values == pytest.approx((2 / 3,))
    assert harm(summary(test_loss=[[2.0] * 3, [2.01] * 3]), "l2").values == (0.0,)


def test_runs_that_broke_have_an_infinite_risk() -> None:
    part = replace(TOY, penalty="entropy", strength=1.0, decades=(0.0, 5.0), num_ratios=2)
    plain = replace(TOY, decades=(0.0, 5.0), num_ratios=2)
    results = {one: run(one) for one in (plain, part)}
    broken = results[part]["status"].values > 1
    assert list(broken) == [False, True]
    risks = summaries(results)["toy"]["test_loss"].sel(case="entropy 1").values[0]
    np.testing.assert_array_equal(np.isinf(risks), broken)


def test_numbers_are_those_of_the_claims_and_figures_are_drawn() -> None:
    grid = {"decades": (1.0, 3.0), "num_ratios": 3}
    parts = [
        replace(TOY, problem=problem, penalty=kind, strength=strength, seed=seed, num_steps=5,
                ridge=1e-2, m=60, **grid)
        for problem in ("toy", "digits")
        for seed in (0, 1)
        for kind, strength in cases((0.1, 1.0))
    ]  # fmt: skip
    parts += [
        replace(TOY, penalty="limit", strength=tau, num_steps=1, seed=seed)
        for seed in (0, 1)
        for tau in (0.2, 0.1)
    ]
    results = {part: run(part) for part in parts}
    numbers = simplex_penalties.numbers(results)
    assert numbers.keys() == {claim.number for claim in simplex_penalties.CLAIMS}
    assert all(len(value.values) == 2 for value in numbers.values())
    drawings = simplex_penalties.draw(results)
    assert {*drawings} == {"penalties_toy", "penalties_digits", "max_entropy"}
    table = drawings["penalties_toy"].tables["observables"]
    assert table["ess"].sizes == {"case": 7, "seed": 2, "ratio": 3}
