"""Class imbalance with a network, at small size."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from warmflow.paper_repro.data import Imbalance, locate
from warmflow.paper_repro.items import nets_imbalance as item
from warmflow.paper_repro.networks import images, training
from warmflow.paper_repro.networks.images import Network

torch = pytest.importorskip("torch", reason="torch is not installed")

SIZES = Imbalance(num_majority=37, num_minority=3, test_each=30)


def small(arm: str, seed: int = 0) -> item.ImbalancePart:
    return item.ImbalancePart(
        seed=seed, images="digits", network=Network(kind="mlp", width=6), arm=arm,
        values=item.KNOBS.get(arm, ())[1:], sizes=replace(SIZES, seed=seed), num_steps=35,
    )  # fmt: skip


def run(part: item.ImbalancePart) -> xr.Dataset:
    return item.simulate(part, item.data(part))


@pytest.fixture(scope="module")
def results() -> dict[item.ImbalancePart, xr.Dataset]:
    parts = [small(arm, seed) for arm in item.ARMS for seed in (0, 1)]
    return {part: run(part) for part in parts}


def test_uniform_weights_ignore_the_minority_and_balanced_ones_do_not(results: dict) -> None:
    uniform, balanced = results[small("uniform")], results[small("balanced")]
    assert float(uniform["minority_weight"]) == pytest.approx(3 / 40)
    assert float(balanced["minority_weight"]) == pytest.approx(0.5)
    assert float(uniform["ess"]) == pytest.approx(40)
    assert float(balanced["ess"]) == pytest.approx(1 / (0.25 / 3 + 0.25 / 37))
    assert float(balanced["recall"]) > float(uniform["recall"]) + 0.2


def test_methods_move_weight_to_the_minority(results: dict) -> None:
    for arm in ("l2r", *item.MIRROR):
        assert results[small(arm)]["minority_weight"].max() > 0.2


def test_balanced_accuracy_is_the_mean_of_the_recalls() -> None:
    part = small("uniform")
    data = item.data(part)
    problem = images.image_problem(data, part.network, ridge=part.ridge, seed=part.seed)
    theta = training.initial(problem)
    seen = item._observed(problem, theta, np.full((1, 40), 1 / 40))
    out = problem.module_at(theta.numpy())(problem.X_test).argmax(1).numpy()
    recalls = [np.mean(out[data.y_test == label] == label) for label in (0, 1)]
    assert float(seen["recall"]) == recalls[1]
    assert float(seen["balanced_accuracy"]) == pytest.approx(np.mean(recalls))


def test_the_knob_is_chosen_by_the_mean_over_seeds() -> None:
    accuracy = np.array([[0.9, 0.1], [0.1, 0.6], [0.1, 0.5]])
    ds = xr.Dataset({"balanced_accuracy": (("seed", "value"), accuracy)}, {"value": [1.0, 2.0]})
    assert float(item.choose(ds)["value"]) == 2.0
    np.testing.assert_array_equal(item.choose(ds)["balanced_accuracy"], [0.1, 0.6, 0.5])


def test_steps_on_the_validation_loss_are_taken_off_the_budget() -> None:
    for arm, expected in (("mwn", (0, 35)), ("mwnwarm", (30, 5))):
        method, _, steps = item._method(small(arm), 0.01)
        assert (method.num_warmup, steps) == expected


def test_numbers_and_figure_cover_every_arm(results: dict) -> None:
    numbers = item.numbers(results)
    assert {f"digits_accuracy_{arm}" for arm in item.ARMS} <= {*numbers}
    assert all(len(number.values) == 2 for number in numbers.values())
    (drawing,) = item.draw(results).values()
    assert drawing.tables["arms"].sizes == {"arm": len(item.ARMS), "seed": 2}
    assert drawing.tables["knobs"].sizes["arm"] == len(item.KNOBS)


def test_without_mnist_it_is_digits(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("WARMFLOW_DATA", str(tmp_path))
    monkeypatch.setattr(locate, "SHARED", tmp_path)
    parts = item.parts("quick")
    assert {part.images for part in parts} == {"digits"}
    counts = np.bincount(item.data(parts[0]).y)
    assert counts.tolist() == [129, 1]
