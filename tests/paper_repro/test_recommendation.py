"""The recommendation: scores, choices that do not peek, and the scales of the outer step."""

import numpy as np
import pytest
import xarray as xr

from warmflow.analysis import outer_curvature, rate_ratio
from warmflow.dynamics import methods, run_method
from warmflow.paper_repro.items import _recommendation_choice as choice
from warmflow.paper_repro.items import _recommendation_runs as runs
from warmflow.paper_repro.items.recommendation import ITEM, parts

NAMES = ("toy", "wine", "circuit")


def part(name: str = "toy", entry: str = "joint", **kwargs: object) -> runs.CandidatePart:
    settings = {"seed": 3, "name": name, "entry": entry, "budget": 200} | kwargs
    return runs.CandidatePart(**settings)  # type: ignore[arg-type]


def table(score: list[list[float]], held_back: list[list[float]] | None = None) -> xr.Dataset:
    """Candidates by names, one draw."""
    labels = ["soba|curvature|0.1", "soba|curvature|1", "soba|ratio|1", "soba|default|0.01"]
    dims = ("candidate", "name", "seed")
    losses = score if held_back is None else held_back
    return xr.Dataset(
        {"score": (dims, np.array(score)[..., None]),
         "val_loss": (dims, -np.array(score)[..., None]),
         "held_back": (dims, np.array(losses)[..., None]),
         "validation": (("name", "seed"), np.zeros((3, 1)))},
        {"candidate": labels, "name": list(NAMES), "seed": [0]},
    )  # fmt: skip


FOUND = table([[0.5, 0.5, 0.9], [0.0, 0.8, 0.0], [0.6, 0.4, 0.1], [0.0, 0.0, 0.0]])


def test_the_worst_data_set_decides_and_the_default_step_is_no_candidate() -> None:
    assert choice.choose(FOUND, NAMES[:2]) == "soba|curvature|0.1"
    assert choice.choose(FOUND, NAMES[:2], "ratio") == "soba|ratio|1"
    assert choice.choose(FOUND, NAMES) == "soba|ratio|1"


def test_the_choice_does_not_see_the_held_out_data() -> None:
    tested = choice.outcomes(FOUND)
    assert tested.attrs["chosen"] == "soba|curvature|0.1"
    assert tested["score"].sel(arm="recommended", name="circuit") == 0.9
    assert tested["score"].sel(arm="best in hindsight", name="circuit") == 0.0
    one_out = choice.leave_one_out(FOUND)
    for name in NAMES:
        others = [other for other in NAMES if other != name]
        chosen = choice.choose(FOUND, others)
        assert one_out.sel(name=name) == FOUND["score"].sel(candidate=chosen, name=name)


def test_a_step_is_tuned_by_the_loss_that_is_named() -> None:
    found = table(FOUND["score"].values[..., 0].tolist(), [[2, 1, 2], [1, 2, 1], [0] * 3, [0] * 3])
    np.testing.assert_array_equal(choice.tuned(found, "held_back")[:, 0], [0.0, 0.5, 0.0])
    np.testing.assert_array_equal(choice.tuned(found, "val_loss")[:, 0], [0.5, 0.8, 0.9])


def test_scores_are_shares_of_the_harm() -> None:
    harm = xr.Dataset({"uniform": 5.0, "oracle": 1.0, "validation": 2.0})
    risks = np.array([1.0, 3.0, 5.0, np.nan, 100.0, 0.0, -50.0])
    np.testing.assert_allclose(
        choice._score(risks, harm), [0.0, 0.5, 1.0, choice.WORST, choice.WORST, -0.25, choice.BEST]
    )


def test_outer_steps_are_on_the_two_scales() -> None:
    this = part()
    data = runs.make_data(this)
    ds = runs.run_candidates(this, data)
    problem = data.problem(1e-3)
    uniform = np.full(problem.num_samples, 1 / problem.num_samples)
    kappa = outer_curvature(problem, uniform)
    rho = 1 / problem.constants()[1]
    for scale, unit in (("curvature", kappa), ("ratio", rate_ratio(problem, rho, 1.0))):
        rows = ds["scale"].values == scale
        np.testing.assert_allclose(
            ds["eta"].values[rows] * unit, ds["value"].values[rows], rtol=1e-6
        )
    assert ds["eta"].values[-1] == runs.DEFAULT_ETA
    assert np.isnan(ds["held_back"]).all()


def test_the_samples_that_judge_a_step_do_not_move_the_weights() -> None:
    """Runs aim at every other sample, and are judged on the rest, by a formula of its own."""
    this = part(entry="soba", curvatures=(0.1,), ratios=(1.0,))
    problem = runs.make_data(this).problem(1e-3)
    theta = problem.theta_star(np.full(problem.num_samples, 1 / problem.num_samples))
    etas = np.array([0.1, 0.2])
    found = runs._held_back(this, problem, theta, etas)
    aim = problem.batch(val=np.arange(0, problem.num_val, 2))
    for loss, eta in zip(found, etas, strict=True):
        end = run_method(aim, methods.SOBA(eta=eta), 10**6, max_calls=this.budget).theta[-1]
        residuals = (problem.X_val @ end - problem.y_val)[1::2]
        assert loss == pytest.approx(0.5 * np.mean(residuals**2))


def test_references_of_a_rare_class() -> None:
    this = part(name="digits 4 of 9", entry="none")
    data = runs.make_data(this)
    w = runs._oracle_weights(data)
    assert data.clean is None
    assert w[data.y == 1].sum() == pytest.approx(0.5)
    ds = runs.run_candidates(this, data)
    assert float(ds["oracle"]) < float(ds["uniform"])


def test_held_out_data_are_no_development_data() -> None:
    assert not set(runs.DEVELOPMENT) & set(runs.HELD_OUT)
    for variant in ("quick", "full"):
        labels = [p.label for p in parts(variant)]
        assert len(set(labels)) == len(labels)
    assert {p.name for p in parts("quick")} <= {p.name for p in parts("full")}


def test_the_item_end_to_end_on_two_data_sets() -> None:
    chosen = [
        p for p in parts("quick") if p.name in ("toy", "circuit") and p.seed == 100
        and p.entry in ("none", "soba")
    ]  # fmt: skip
    small = [part(p.name, p.entry, seed=p.seed) for p in chosen]
    results = {p: ITEM.simulate(p, ITEM.data(p)) for p in small}
    numbers = ITEM.numbers(results)
    assert {claim.number for claim in ITEM.claims} == set(numbers)
    best = numbers["held_out_best_in_hindsight"].mean
    for arm in ("recommended", "fixed_R", "fixed_curvature", "default_step", "held_back"):
        assert best <= numbers[f"held_out_{arm}"].mean
    assert set(ITEM.draw(results)) == {"candidates", "recommendation"}
