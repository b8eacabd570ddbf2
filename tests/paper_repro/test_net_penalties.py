"""Penalties on the weights of a small network."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("torch", reason="torch is not installed")

from warmflow.paper_repro.data import Split, Toy, digits
from warmflow.paper_repro.items import net_penalties
from warmflow.paper_repro.items._penalties import PenaltyPart
from warmflow.paper_repro.networks.small import small_mlp

DATA = digits(Split(n=40, m=30, test_size=50))


def test_the_network_is_that_of_its_docstring() -> None:
    problem = small_mlp(DATA, hidden=3, ridge=1e-2)
    assert problem.num_params == 64 * 3 + 3 + 3 * 10 + 10
    theta = np.random.default_rng(0).normal(size=problem.num_params)
    A, a, B, b = np.split(theta, np.cumsum([192, 3, 30]))
    X = DATA.X[:, :-1]
    logits = np.tanh(X @ A.reshape(3, 64).T + a) @ B.reshape(10, 3).T + b
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(40), DATA.y]
    found = problem.per_sample_losses(problem.xp.asarray(theta)).numpy()
    np.testing.assert_allclose(found, losses, rtol=1e-10)


def test_the_seed_draws_the_first_parameters() -> None:
    problems = [small_mlp(DATA, hidden=3, ridge=1e-2, seed=seed) for seed in (0, 0, 1)]
    one, same, other = (p.initial_theta(p.xp.ones(40)).numpy() for p in problems)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1
    assert np.std(one[:192]) == pytest.approx(1 / 8, rel=0.2)
    np.testing.assert_array_equal(one[192:195], 0.0)


def test_real_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="`data` must have class labels; toy has none"):
        small_mlp(Toy(n=10).make(), hidden=3, ridge=1e-2)


def small(part: PenaltyPart) -> PenaltyPart:
    return replace(part, n=40, m=30, num_steps=3, decades=(0.0, 3.0), num_ratios=2)


@pytest.fixture(scope="module")
def results() -> Iterator[dict[PenaltyPart, xr.Dataset]]:
    parts = [small(part) for part in net_penalties.parts("quick") if part.seed < 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(net_penalties, "WARM_STEPS", 30)
        patch.setattr(net_penalties, "RETRAINING_STEPS", 5)
        yield {part: net_penalties.simulate(part, net_penalties.data(part)) for part in parts}


def test_numbers_are_those_of_the_claims_and_figures_are_drawn(
    results: dict[PenaltyPart, xr.Dataset],
) -> None:
    numbers = net_penalties.numbers(results)
    assert numbers.keys() == {claim.number for claim in net_penalties.CLAIMS}
    assert {*net_penalties.draw(results)} == {"penalties_net"}


def test_fast_weights_collapse_within_a_few_steps(
    results: dict[PenaltyPart, xr.Dataset],
) -> None:
    plain = next(ds for part, ds in results.items() if part.penalty == "none")
    assert float(plain["ess"].sel(ratio=1e3)) < 2
    assert float(plain["ess"].sel(ratio=1.0)) > 25
    assert (plain["status"] <= 1).all()
    assert np.isfinite(plain["test_loss_solved"]).all()
