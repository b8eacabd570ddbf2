"""The items: keys, claims and references fit together; the science of each at small size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from warmflow.dynamics import integrate
from warmflow.paper_repro import registry
from warmflow.paper_repro.data import Split, Toy
from warmflow.paper_repro.errors import UserError
from warmflow.paper_repro.item import Item
from warmflow.paper_repro.items import digits_cleaning, phase_diagram, toy

ITEMS = registry.load_items()
each_item = pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)


def test_every_file_is_registered() -> None:
    folder = Path(registry.__file__).parent / "items"
    names = {path.stem for path in folder.glob("[a-z]*.py")}
    assert names == {*registry.NAMES}
    assert {path.stem for path in folder.glob("*.json")} == names


def test_items_come_in_the_order_of_the_report_and_once() -> None:
    chosen = registry.load_items(["digits_cleaning", "toy", "toy"])
    assert [item.name for item in chosen] == ["toy", "digits_cleaning"]
    with pytest.raises(UserError, match="--only nothing: no such item; the items are toy, phase"):
        registry.load_items(["nothing"])


@each_item
@pytest.mark.parametrize("variant", ["quick", "full"])
def test_parts_have_labels_and_keys_of_their_own(item: Item, variant: str) -> None:
    parts = item.parts(variant)
    labels = [part.label for part in parts]
    assert len({*labels}) == len(parts)
    assert all(label.replace("-", "").replace(".", "").isalnum() for label in labels)
    data = item.data(parts[0])
    assert len({item.key(part, data).digest for part in parts}) == len(parts)


@each_item
def test_full_contains_more_than_quick(item: Item) -> None:
    assert len(item.parts("full")) > len(item.parts("quick"))
    assert item.minutes["full"] > item.minutes["quick"]


@each_item
def test_the_seed_of_a_part_reaches_its_data(item: Item) -> None:
    by_seed = {part.seed: part for part in item.parts("quick")}
    prints = {item.data(part).fingerprint() for part in by_seed.values()}
    assert len(prints) == len(by_seed) > 1


@each_item
@pytest.mark.parametrize("variant", ["quick", "full"])
def test_references_name_numbers_of_claims(item: Item, variant: str) -> None:
    references = item.references(variant)
    assert {*references} <= {claim.number for claim in item.claims}
    assert all(reference.tolerance > 0 for reference in references.values())


@each_item
def test_quick_numbers_have_references(item: Item) -> None:
    assert {*item.references("quick")} == {claim.number for claim in item.claims}


@each_item
def test_what_the_paper_says_has_a_place(item: Item) -> None:
    for claim in item.claims:
        assert (claim.says is None) == (claim.where is None)
        assert claim.says is None or np.isfinite(claim.low) or np.isfinite(claim.high)


SMALL_TOY = Toy(n=40, m=30, test_size=50)


def toy_results(horizon: float = 20.0) -> dict[toy.ToyPart, xr.Dataset]:
    ratios = (toy.SLOW, toy.FAST)
    parts = [
        toy.ToyPart(
            seed=seed, flow=flow, ratio=ratio, toy=replace(SMALL_TOY, seed=seed),
            horizon=20 * horizon if flow == "frozen" else horizon,
        )
        for seed in (0, 1)
        for flow, ratio in [("exact", 0.0), ("frozen", 0.0), *(("joint", r) for r in ratios)]
    ]  # fmt: skip
    return {part: toy.simulate(part, toy.data(part)) for part in parts}


def test_toy_finds_what_theory_says() -> None:
    numbers = toy.numbers(toy_results())
    assert max(numbers["support_frozen"].values) <= 2
    assert max(numbers["ess_ratio"].values) < 0.5
    assert max(numbers["distance_slow"].values) < 0.1
    assert numbers.keys() == {claim.number for claim in toy.CLAIMS}


def test_toy_frozen_theta_does_not_move() -> None:
    part = toy.ToyPart(seed=0, flow="frozen", horizon=1.0, toy=SMALL_TOY)
    theta = toy.simulate(part, toy.data(part))["theta"].values
    np.testing.assert_array_equal(theta, np.broadcast_to(theta[0], theta.shape))


@pytest.mark.parametrize(("ratio", "alpha", "beta"), [(0.5, 2.0, 1.0), (4.0, 1.0, 4.0)])
def test_toy_speeds_have_the_stated_ratio(ratio: float, alpha: float, beta: float) -> None:
    part = toy.ToyPart(seed=0, flow="joint", ratio=ratio, horizon=2.0, toy=SMALL_TOY)
    data = toy.data(part)
    direct = integrate(
        data.problem(part.ridge), alpha=alpha, beta=beta, t_span=(0.0, 2.0), t_eval=[0.0, 2.0]
    )
    ends = toy.simulate(part, data).isel(time=-1)
    np.testing.assert_allclose(ends["w"], direct.w[-1], rtol=1e-5)
    np.testing.assert_allclose(ends["theta"], direct.theta[-1], rtol=1e-5)


def grid(shape: tuple[int, int] = (5, 6), seed: int = 0) -> phase_diagram.GridPart:
    return phase_diagram.GridPart(seed=seed, toy=replace(SMALL_TOY, seed=seed), shape=shape)


def test_phase_diagram_numbers_follow_their_definition() -> None:
    part = grid()
    ds = phase_diagram.simulate(part, phase_diagram.data(part))
    numbers = {k: v.values[0] for k, v in phase_diagram.numbers({part: ds}).items()}
    end = ds.sel(step=phase_diagram.BUDGET)
    ok = end["status"].values <= 1
    risk = np.where(ok, end["test_loss"].values, np.inf)
    assert numbers["good_share"] == pytest.approx(np.mean(risk <= 1.05 * risk.min()))
    assert numbers["failed_share"] == pytest.approx(1 - ok.mean())
    assert numbers["ess_slow"] > numbers["ess_fast"]
    assert numbers.keys() == {claim.number for claim in phase_diagram.CLAIMS}


def cleaning(eta: float) -> digits_cleaning.CleaningPart:
    first = digits_cleaning.parts("quick")[0]
    return replace(first, eta=eta, split=Split(n=120, m=60), num_steps=30, warm_steps=30, tol=1e-6)


def test_cleaning_collapses_at_the_fast_rate_only() -> None:
    etas = (1e-3, digits_cleaning.SLOW, digits_cleaning.FAST)
    parts = [cleaning(eta) for eta in etas]
    results = {part: digits_cleaning.simulate(part, digits_cleaning.data(part)) for part in parts}
    numbers = {k: v.values[0] for k, v in digits_cleaning.numbers(results).items()}
    assert numbers["ess_slow"] > 20 * numbers["ess_fast"]
    assert numbers["accuracy_loss"] > 0.05
    assert numbers.keys() == {claim.number for claim in digits_cleaning.CLAIMS}
    starts = [ds["test_accuracy"].values[0] for ds in results.values()]
    assert len({*starts}) == 1
    assert starts[0] > 0.3


def test_cleaning_starts_from_warm_theta_and_uniform_weights() -> None:
    part = cleaning(1e-3)
    data = digits_cleaning.data(part)
    ds = digits_cleaning.simulate(part, data)
    np.testing.assert_allclose(ds["w"].values[0], 1 / 120)
    np.testing.assert_allclose(ds["clean_mass"].values[0], data.clean.mean())
    problem = data.problem(part.ridge)
    theta = np.zeros(problem.num_params)
    for _ in range(part.warm_steps):
        theta = theta - part.warm_rho * problem.train_grad(theta, np.full(120, 1 / 120))
    np.testing.assert_allclose(ds["val_loss"].values[0], problem.val_loss(theta))
