"""The good band of rates: what is observed and predicted, and the science at small size."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from warmflow.analysis.stability import outer_limit
from warmflow.dynamics import integrate_exact, methods, run_method
from warmflow.paper_repro.items import good_band
from warmflow.paper_repro.items._good_band_cases import CASES, timed
from warmflow.paper_repro.items._good_band_edges import edges, held_edges
from warmflow.paper_repro.items._good_band_runs import BandPart, bench
from warmflow.paper_repro.items._good_band_theory import first_time, threshold

SMALL = BandPart(
    seed=0, case="base", n=60, p=2, budgets=(20, 100), decades=(-2.0, 1.0), per_decade=3
)


def run(part: BandPart) -> xr.Dataset:
    return good_band.simulate(part, good_band.data(part))


def test_risks_are_the_worst_of_the_last_tenth_of_the_steps() -> None:
    ds = run(SMALL)
    problem = good_band.data(SMALL).problem(SMALL.ridge)
    rho, cell = 1.0 / problem.constants()[1], 2
    direct = run_method(
        problem, methods.Joint(rho=rho, eta=float(SMALL.rates[cell])), num_steps=100,
        num_saved=101,
    )  # fmt: skip
    for K, window in zip(SMALL.budgets, SMALL.windows, strict=True):
        assert (window[0], window[-1]) == (K - K // 10, K)
        here = ds.sel(K=K).isel(eta=cell)
        worst = problem.test_loss(direct.theta[window]).max()
        np.testing.assert_allclose(here["risk"], worst, rtol=1e-8)
        np.testing.assert_allclose(here["ess"], 1 / np.sum(direct.w[K] ** 2), rtol=1e-8)


def test_runs_that_broke_are_never_good() -> None:
    part = replace(SMALL, inner=40.0, num_inner_steps=3)  # rho far above 2/lambda_max
    ds = run(part)
    broken = ds["status"].values > 1
    assert broken.any()
    assert np.isinf(ds["risk"].sel(K=100).values[broken]).all()


@pytest.mark.parametrize("strength", [0.0, 0.1])
def test_every_case_runs_and_says_what_it_knows(strength: float) -> None:
    known = {"low_flow", "turn", "limit_end", "limit_start", "ratio_one"}
    for method in ("joint", "exact", "soba", "one_step"):
        ds = run(replace(SMALL, method=method, strength=strength, warmup=5))
        missing = {name for name in known if np.isnan(ds[name]).any()}
        assert missing == {
            "joint": set(), "exact": set(), "soba": {"limit_end", "limit_start"}, "one_step": known,
        }[method]  # fmt: skip
        assert bool(np.isfinite(ds["risk"].isel(eta=0)).all())


def test_the_lower_end_is_the_time_of_the_flow_over_K() -> None:
    problem = good_band.data(SMALL).problem(SMALL.ridge)
    flow = integrate_exact(problem, beta=1.0, t_span=(0.0, 20.0), num_saved=20001)
    risk = problem.test_loss(flow.theta)
    arrived = flow.t[np.argmax(risk <= threshold(risk.min()))]
    np.testing.assert_allclose(run(SMALL)["low_flow"] * np.array(SMALL.budgets), arrived, rtol=0.02)


def test_first_time_is_interpolated() -> None:
    bound = threshold(1.0)
    t, risk = np.array([0.0, 1.0, 3.0, 4.0]), np.array([9.0, bound + 1.0, bound - 0.05, 1.0])
    assert first_time(t, risk) == pytest.approx(1.0 + 2.0 / 1.05)
    assert first_time(t[:2], np.array([1.0, 2.0])) == 0.0


def test_an_explicit_penalty_has_a_limit_of_its_own() -> None:
    strong = replace(SMALL, strength=20.0)
    setting = bench(strong, good_band.data(strong).problem(strong.ridge))
    assert float(run(strong)["limit_start"]) == pytest.approx(2.0 / setting.tau)
    implicit = run(replace(strong, implicit=True))
    free = outer_limit(setting.problem, setting.theta0, setting.w0, setting.rho, tol=np.inf)
    assert float(implicit["limit_start"]) == pytest.approx(free)


@pytest.mark.parametrize(("method", "order", "T"), [
    ("joint", "simultaneous", 1), ("joint", "theta_first", 1), ("joint", "simultaneous", 10),
    ("exact", "simultaneous", 1),
])  # fmt: skip
def test_runs_beside_a_solved_point_leave_it_at_the_limit(method: str, order: str, T: int) -> None:
    part = replace(
        SMALL, n=200, p=5, start="end", method=method, order=order, num_inner_steps=T,
        budgets=(10, 30, 100, 300), decades=(-0.3, 0.3), per_decade=20,
    )  # fmt: skip
    found = held_edges({part: run(part)})
    # The first growth of an oscillation blurs the limit, and slow growth takes more steps.
    assert abs(np.log10(found["base"][0])) < 0.1


def test_the_start_decides_the_upper_end_and_a_warm_up_moves_it() -> None:
    grid = {"n": 200, "p": 5, "budgets": (100, 300), "method": "exact", "decades": (-3.0, 1.0)}
    plain = replace(SMALL, **grid, per_decade=5)
    warm = replace(plain, case="warm", warmup=100)
    found = edges({part: run(part) for part in (plain, warm)}).sel(K=300, seed=0)
    base, moved = found.sel(case="base"), found.sel(case="warm")
    assert 0.6 < float(base["high"] / base["turn"]) < 3
    assert float(base["high"]) < 0.4 * float(base["limit_end"])
    assert float(moved["high"]) > 3 * float(base["high"])
    assert float(found["fastest"].max()) <= 1.0


def test_numbers_are_those_of_the_claims_and_figures_are_drawn() -> None:
    parts = [
        replace(part, n=40, decades=(-2.5, 1.0), per_decade=2, budgets=tuple(
            K for K in part.budgets if K >= 100))
        for part in good_band.parts("quick")
        if part.seed < 2
    ]  # fmt: skip
    results = {part: run(part) for part in parts}
    numbers = good_band.numbers(results)
    assert numbers.keys() == {claim.number for claim in good_band.CLAIMS}
    assert all(len(value.values) == 2 for value in numbers.values())
    drawings = good_band.draw(results)
    assert {*drawings} == {"bands", "widths", "edges", "risks"}
    assert set(timed()) < set(CASES)
    assert drawings["bands"].tables["bands"].sizes["case"] == len(CASES)
