"""Hyper data-cleaning with networks, at small size."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from warmflow.paper_repro.data import Split, locate
from warmflow.paper_repro.items import nets_cleaning as item
from warmflow.paper_repro.items._nets_cleaning_tables import best
from warmflow.paper_repro.networks.images import Network

pytest.importorskip("torch", reason="torch is not installed")

NETWORK = Network(kind="mlp", width=6)


def small(arm: item.Arm, values: tuple[float, ...] = (), seed: int = 0) -> item.NetPart:
    first = item.parts("quick")[0]
    return replace(
        first, seed=seed, arm=arm, values=values, network=NETWORK, warm_steps=40, num_steps=10,
        split=Split(n=80, m=60, seed=seed), corruption=replace(first.corruption, seed=seed),
    )  # fmt: skip


def run(part: item.NetPart) -> xr.Dataset:
    return item.simulate(part, item.data(part))


@pytest.fixture(scope="module")
def results() -> dict[item.NetPart, xr.Dataset]:
    plan = {"rate": (1e-2, 0.215, item.FAST), "baselines": ()}
    plan |= {arm: values[:1] for arm, values in item.KNOBS.items()}
    parts = [small(arm, values, seed) for arm, values in plan.items() for seed in (0, 1)]
    return {part: run(part) for part in parts}


def test_slow_weights_stay_and_fast_ones_collapse(results: dict) -> None:
    numbers = item.numbers(results)
    assert max(numbers["digits_mlp_ess_fast"].values) < 5
    assert min(numbers["digits_mlp_ess_best"].values) > 20
    assert min(numbers["digits_mlp_clean_mass_best"].values) > 0.55
    assert {name.removeprefix("digits_mlp_") for name in numbers} >= {"gain_l2", "over_uniform"}


def test_every_run_of_a_seed_starts_from_the_same_theta(results: dict) -> None:
    slow = run(small("rate", (1e-9,))).isel(value=0)
    uniform = results[small("baselines")].sel(baseline="uniform")
    part = small("rate")
    problem, theta = item._warm(part, item.data(part), part.ridge)
    w = np.full(80, 1 / 80)
    end = item.descend(problem, theta, w, rho=part.rho, num_steps=part.num_steps)
    whole = item.descend(problem, item.initial(problem), w, rho=part.rho, num_steps=50)
    assert float(slow["ess"]) == pytest.approx(80)
    assert float(slow["val_loss"]) == pytest.approx(float(problem.val_loss(end)), rel=1e-6)
    assert float(uniform["test_accuracy"]) == float(problem.test_accuracy(whole))


@pytest.mark.parametrize(
    ("arm", "none"), [("entropy", 1e-12), ("l2", 1e-12), ("inner", 1), ("ridge", 1e-3)]
)
def test_a_knob_that_does_nothing_is_the_fast_run(arm: item.Arm, none: float) -> None:
    eta = 0.5
    plain = run(small("rate", (eta,)))
    other = run(replace(small(arm, (none,)), eta=eta))
    np.testing.assert_allclose(other["ess"], plain["ess"], rtol=1e-6)
    np.testing.assert_allclose(other["val_loss"], plain["val_loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("arm", "value"), [("entropy", 0.3), ("l2", 0.3), ("inner", 3), ("ridge", 0.1)]
)
def test_each_knob_changes_the_run(arm: item.Arm, value: float) -> None:
    plain = run(small("rate", (0.5,))).isel(value=0)
    other = run(replace(small(arm, (value,)), eta=0.5)).isel(value=0)
    assert abs(float(other["val_loss"]) - float(plain["val_loss"])) > 1e-3
    if arm in ("entropy", "l2"):
        assert float(other["ess"]) > float(plain["ess"])


def test_baselines_know_what_they_should(results: dict) -> None:
    ds = results[small("baselines")]
    share = item.data(small("baselines")).clean.mean()
    mass = dict(zip(ds["baseline"].values, ds["clean_mass"].values, strict=True))
    assert mass["clean only"] == pytest.approx(1)
    assert mass["uniform"] == pytest.approx(share)
    assert share < mass["small loss"] < 1


def test_best_goes_by_the_mean_over_seeds() -> None:
    accuracy = xr.DataArray([[0.9, 0.6], [0.1, 0.5]], {"value": [1.0, 2.0]}, ("seed", "value"))
    assert float(best(accuracy.to_dataset(name="test_accuracy"))["value"]) == 2.0


def test_absent_data_sets_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("WARMFLOW_DATA", str(tmp_path))
    monkeypatch.setattr(locate, "SHARED", tmp_path)
    assert {part.images for part in item.parts("full")} == {"digits"}


def test_figures_hold_every_arm_and_name_the_data(results: dict) -> None:
    drawings = item.draw(results)
    assert {*drawings} == {"rates", "mitigations_digits_mlp"}
    assert "on digits, the data sets found" in drawings["rates"].caption
    table = drawings["mitigations_digits_mlp"].tables["arms"]
    assert table.sizes == {"arm": 2 + 4 + 4, "seed": 2}
    assert np.isfinite(table["test_accuracy"]).all()
