"""Networks against their linearisation at small size."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from warmflow.paper_repro.data import Toy
from warmflow.paper_repro.items import nets_linearised

pytest.importorskip("torch", reason="torch is not installed")

TOY = Toy(n=8, m=10, test_size=5, scale=0.7)
Runs = dict[nets_linearised.LinearPart, xr.Dataset]


def part(width: int, ridge: float, *, check: bool = False, seed: int = 0, **changes: float):  # type: ignore[no-untyped-def]
    return nets_linearised.LinearPart(
        seed=seed, check=check, width=width, ridge=ridge, toy=replace(TOY, seed=seed),
        num_steps=8, horizon=0.1, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def results() -> Runs:
    ridges = (nets_linearised.STRONG, nets_linearised.WEAK)
    parts = [part(width, ridge) for width in (16, 1024) for ridge in ridges]
    parts.append(part(2, 0.5, check=True))
    return {one: nets_linearised.simulate(one, nets_linearised.data(one)) for one in parts}


def test_torchs_linearisation_is_least_squares(results: Runs) -> None:
    (gaps,) = (ds["gap"] for one, ds in results.items() if one.check)
    assert list(gaps["run"].values) == ["Joint", "ConjugateGradient", "SOBA", "flow"]
    assert float(gaps.max()) < 1e-9


def test_a_wider_network_is_nearer(results: Runs) -> None:
    numbers = nets_linearised.numbers(results)
    assert numbers.keys() == {claim.number for claim in nets_linearised.CLAIMS}
    assert numbers["power_weights_slow_strong"].mean < -0.5
    assert numbers["power_outputs_slow_strong"].mean < -0.5
    assert numbers["deviation_slow_strong"].mean < 0.05
    slow, fast = (numbers[f"ratio_{pace}_strong"].mean for pace in ("slow", "fast"))
    assert fast / slow == pytest.approx(nets_linearised.FAST / nets_linearised.SLOW)
    drawing = nets_linearised.draw(results)["deviation"]
    assert drawing.tables["deviation"].sizes == {"seed": 1, "ridge": 2, "width": 2, "eta": 2}


def test_curvature_is_left_out_of_large_networks(results: Runs) -> None:
    for one, ds in results.items():
        if not one.check:
            assert np.isfinite(ds["curvature"]).all() == (one.width == 16)


def test_power_of_a_power_law() -> None:
    width = xr.DataArray([16.0, 64.0, 1024.0], dims="width", coords={"width": [16, 64, 1024]})
    deviation = xr.DataArray([0.1, 2.0], dims="seed") * width**-0.75
    np.testing.assert_allclose(nets_linearised._power(deviation), -0.75)
