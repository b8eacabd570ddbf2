"""All methods side by side: parts, how they are brought together, and the science at small size."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from warmflow.analysis.comparison import compare, method_names, ratio_of_method, standard_entries
from warmflow.dynamics import methods, run_method
from warmflow.paper_repro.data import Toy
from warmflow.paper_repro.items import all_methods
from warmflow.paper_repro.items._comparison_runs import (
    REFERENCE_ROWS,
    EntryPart,
    gather,
    make_data,
    over_clean,
    run_entry,
)

SMALL = EntryPart(
    seed=0, entry="joint", budget=800, ratios=(0.1, 3.0, 100.0),
    toy=Toy(seed=0, n=40, p=3, m=9, test_size=200),
)  # fmt: skip


def run(entries: tuple[str, ...], seeds: tuple[int, ...] = (0,)) -> dict[EntryPart, xr.Dataset]:
    found = [
        replace(SMALL, seed=seed, entry=entry, toy=replace(SMALL.toy, seed=seed))
        for seed in seeds
        for entry in (REFERENCE_ROWS, *entries)
    ]
    return {part: run_entry(part, make_data(part)) for part in found}


def test_every_method_is_run_at_every_speed() -> None:
    for variant in ("quick", "full"):
        found = all_methods.parts(variant)
        on_toy = {part.entry for part in found if part.toy is not None}
        assert on_toy == {REFERENCE_ROWS, *method_names()}
        assert {part.ratios for part in found} == {(0.1, 3.0, 100.0)}
        assert all(part.toy is None or part.toy.seed == part.seed for part in found)


def test_parts_come_together_as_one_comparison_would() -> None:
    names, seeds = ("joint", "soba", "learning_to_reweight"), (0, 1)
    found = gather(run(names, seeds), "toy-p3")
    expected = compare(
        lambda seed: make_data(replace(SMALL, toy=replace(SMALL.toy, seed=seed))).problem(1e-2),
        standard_entries(names), budget=SMALL.budget, ratios=SMALL.ratios, seeds=seeds,
        num_budgets=1,
    )  # fmt: skip
    for name in ("test_loss", "ess", "cosine_end", "status", "calls", "reference_test_loss"):
        expected_here = expected[name].transpose(*found[name].dims)
        np.testing.assert_array_equal(found[name], expected_here, err_msg=name)
    assert found["is_scaled"].values.tolist() == expected["is_scaled"].values.tolist()


def test_a_cell_is_a_run_at_the_stated_ratio_and_budget() -> None:
    ds = run_entry(SMALL, make_data(SMALL)).sel(ratio=3.0)
    problem = make_data(SMALL).problem(SMALL.ridge)
    joint = methods.Joint(eta=float(ds["eta"]))
    assert ratio_of_method(problem, joint) == pytest.approx(3.0)
    steps = int(ds["steps"])
    direct = run_method(problem, joint, num_steps=steps)
    np.testing.assert_allclose(ds["test_loss"][-1], problem.test_loss(direct.theta[-1]), rtol=1e-6)
    retrained = problem.theta_star(direct.w.mean(0))
    np.testing.assert_allclose(ds["test_loss_averaged"], problem.test_loss(retrained), rtol=1e-6)


def test_risks_are_in_units_of_least_squares_on_the_clean_samples() -> None:
    ds = over_clean(gather(run(("soba",)), "toy-p3"))
    data = make_data(SMALL)
    assert data.clean is not None
    X, y = data.X[data.clean], data.y[data.clean]
    rows = np.vstack([X, np.sqrt(SMALL.ridge * len(X)) * np.eye(3)])
    theta = np.linalg.lstsq(rows, np.append(y, np.zeros(3)), rcond=None)[0]
    assert data.X_test is not None
    floor = np.mean((data.X_test @ theta - data.y_test) ** 2) / 2
    np.testing.assert_allclose(ds["risk"] * floor, ds["test_loss"], rtol=1e-8)
    assert float(ds["reference_risk"].sel(reference="clean_only").squeeze()) == pytest.approx(1.0)


def test_a_run_that_ended_badly_is_infinitely_bad() -> None:
    ds = gather(run(("soba",)), "toy-p3")
    broken = ds.assign(test_loss=ds["test_loss"].where(ds["ratio"] < 50))
    risk = over_clean(broken)["risk"]
    assert bool(np.isposinf(risk.sel(ratio=100.0)).all())
    assert bool(np.isfinite(risk.sel(ratio=3.0)).all())


def test_slow_methods_agree_when_budgets_pay_for_equally_many_steps() -> None:
    steps, names = 4000, ("joint", "soba", "f2sa", "lvhba")
    problem = make_data(SMALL).problem(SMALL.ridge)
    risks = []
    for name, entry in standard_entries(names).items():
        unit = ratio_of_method(problem, replace(entry.method, eta=1.0))
        end = run_method(problem, replace(entry.method, eta=0.1 / unit), num_steps=steps)
        risks.append(float(problem.test_loss(problem.theta_star(end.w[-1]))))
        assert np.isfinite(risks[-1]), name
    # lvhba's field has a bias of order 1/c, and its steps are larger by the ratio of their q.
    assert max(risks) / min(risks) < 1.1
