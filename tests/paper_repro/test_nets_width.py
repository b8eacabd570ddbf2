"""The width sweep at small size: counts, exact rest points, definitions of its numbers."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from warmflow.paper_repro.data import Toy
from warmflow.paper_repro.items import nets_width

pytest.importorskip("torch", reason="torch is not installed")

TOY = Toy(n=8, m=10, test_size=5)
Runs = dict[nets_width.WidthPart, xr.Dataset]


@pytest.fixture(scope="module")
def results() -> Runs:
    parts = [
        nets_width.WidthPart(
            seed=1, width=width, ridge=ridge, toy=replace(TOY, seed=1), num_steps=10,
            net_steps=4 if width == 4 and ridge > 1e-2 else 0,
        )
        for width in (1, 4, 8)
        for ridge in (1e-3, 1e-1)
    ]  # fmt: skip
    return {part: nets_width.simulate(part, nets_width.data(part)) for part in parts}


def test_counts_obey_the_theory(results: Runs) -> None:
    for part, ds in results.items():
        assert ds["p"] == 4 * part.width
        assert ds["rank"] <= ds["bound"] == min(4 * part.width, 7)
        assert 1 <= ds["support_0.001"] <= ds["support_1e-06"] <= ds["bound"]
        assert ds["support_1e-06"] == ds["support_exact"]
        assert ds["distance_exact"] < 1e-4
        np.testing.assert_allclose(ds["w"].sum(), 1.0)
        assert ds["ess"] == pytest.approx(1 / float((ds["w"] ** 2).sum()))


def test_degrees_of_freedom_lie_below_the_support(results: Runs) -> None:
    """The sum of the leverages of the samples with weight, each below one."""
    for ds in results.values():
        assert 0 < ds["freedom"] < ds["support_1e-06"] + 1e-6
        assert 0 < ds["freedom_uniform"] < min(int(ds["p"]), 8)


def test_theta_is_a_minimiser_of_the_network(results: Runs) -> None:
    assert all(ds["curvature_uniform"] > 0 for ds in results.values())


def test_the_network_itself_runs_where_asked(results: Runs) -> None:
    for part, ds in results.items():
        assert bool(np.isfinite(ds["ess_net"])) == bool(part.net_steps)
        assert 1 <= ds["ess_tangent"] <= 8


def test_numbers_and_drawing_follow_the_results(results: Runs) -> None:
    numbers = nets_width.numbers(results)
    assert numbers.keys() == {claim.number for claim in nets_width.CLAIMS}
    assert numbers["exact_share"].values == (1.0,)
    assert max(numbers["over_bound"].values) <= 1
    wide = [
        float(ds["support_1e-06"]) for part, ds in results.items()
        if part.width == 8 and part.ridge == 1e-1
    ]  # fmt: skip
    assert numbers["support_strong_ridge"].values == tuple(wide)
    drawing = nets_width.ITEM.draw(results)["support"]
    assert drawing.tables["runs"].sizes == {"seed": 1, "ridge": 2, "width": 3}


def test_slope_of_a_power_law() -> None:
    p = xr.DataArray([4.0, 8.0, 64.0], dims="width")
    count = 3.0 * p**0.5 * xr.DataArray([1.0, 2.0], dims="ridge")
    count = count.where(p > 4)
    slope = nets_width._slope(xr.Dataset({"p": p}), count)
    assert float(slope) == pytest.approx(0.5)
