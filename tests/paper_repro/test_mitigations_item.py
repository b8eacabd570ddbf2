"""Mitigations side by side: parts, bounds at rest, and the science at small size."""

from dataclasses import replace

import numpy as np
import pytest

from warmflow.analysis.comparison import mitigation_names
from warmflow.dynamics.simplex import ess
from warmflow.paper_repro.data import Toy
from warmflow.paper_repro.items import mitigations
from warmflow.paper_repro.items._comparison_runs import REFERENCE_ROWS, make_data, run_entry
from warmflow.paper_repro.items.mitigations import METHODS, RATIOS, least_size, table


def small(budget: int = 400) -> dict:
    """Run the quick version on a smaller toy; the long runs twice as long as the others."""
    found = {}
    toy = Toy(n=40, p=5, m=15, test_size=200)
    for part in mitigations.parts("quick"):
        if part.seed == 0:
            is_long = part.ratios != RATIOS
            part = replace(part, toy=toy, budget=2 * budget if is_long else budget)
            found[part] = run_entry(part, make_data(part))
    return found


@pytest.fixture(scope="module")
def results() -> dict:
    return small()


def test_every_pair_is_run() -> None:
    found = {part.entry for part in mitigations.parts("quick")}
    kinds = [kind for kind in mitigation_names() if kind != "none"]
    pairs = {f"{method}+{kind}" for method in METHODS for kind in kinds}
    assert found == {REFERENCE_ROWS, *METHODS, *pairs}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_the_least_size_is_that_of_a_vertex_mixed_with_uniform_weights(share: float) -> None:
    n = 7
    w = np.full(n, share / n)
    w[0] += 1.0 - share
    assert least_size(share, n) == pytest.approx(float(ess(w)))
    others = np.random.default_rng(0).dirichlet(np.full(n, 0.2), 200)
    assert (ess((1 - share) * others + share / n) >= least_size(share, n) - 1e-12).all()


def test_numbers_are_those_of_the_claims_and_bounds_hold(results: dict) -> None:
    found = mitigations.numbers(results)
    assert {*found} == {claim.number for claim in mitigations.ITEM.claims}
    for kind in ("mixed", "floored"):
        assert min(found[f"bound_{kind}"].values) >= 1.0 - 1e-9


def test_gains_compare_a_pair_with_its_own_method(results: dict) -> None:
    by_entry = {part.entry: ds for part, ds in results.items() if part.ratios == RATIOS}
    gains = [
        np.log10(
            float(by_entry[f"{m}+entropy"]["ess"].sel(ratio=100.0).squeeze())
            / float(by_entry[m]["ess"].sel(ratio=100.0).squeeze())
        )
        for m in METHODS
    ]
    assert mitigations.numbers(results)["ess_entropy"].mean == pytest.approx(np.mean(gains))


def test_risks_of_broken_runs_are_cut(results: dict) -> None:
    part, ds = next((p, d) for p, d in results.items() if p.entry == "soba+l2")
    broken = {**results, part: ds.assign(test_loss=ds["test_loss"] * np.nan)}
    risk = table(broken, "toy")["risk"].sel({"method": "soba", "mitigation": "l2"})
    assert (risk == mitigations.WORST).all()


@pytest.mark.parametrize("method", ["joint", "soba"])
def test_a_penalty_keeps_the_size_that_fast_weights_lose(method: str) -> None:
    first = mitigations.parts("quick")[0]
    toy = Toy(n=60, p=5, m=15, test_size=50)
    sizes = {}
    for kind in ("", "+l2", "+mixed"):
        part = replace(first, entry=method + kind, toy=toy, ratios=(10.0,), budget=3000)
        sizes[kind] = run_entry(part, make_data(part))["ess"].item()
    assert sizes["+l2"] > 2.0 * sizes[""]
    assert sizes["+l2"] > 2.0 * sizes["+mixed"]
