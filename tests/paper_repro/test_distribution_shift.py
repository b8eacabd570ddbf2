"""Distribution shift: definitions, and the science at small size."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from warmflow.analysis import rate_ratio
from warmflow.dynamics import methods, run_method
from warmflow.paper_repro.data import Toy
from warmflow.paper_repro.items import distribution_shift
from warmflow.paper_repro.items.distribution_shift import MIDDLE, ShiftPart, break_even, lines

SMALL = ShiftPart(
    seed=0, axis="share", toy=Toy(seed=0, n=60, p=3, m=40, test_size=300), values=(0.25, 0.75),
    ratios=(1.0, 10.0, 1000.0), num_steps=4000,
)  # fmt: skip


def run(part: ShiftPart) -> xr.Dataset:
    return distribution_shift.simulate(part, distribution_shift.data(part))


def test_cells_are_runs_at_the_stated_ratio_on_the_stated_share() -> None:
    toy = replace(SMALL.toy, share=0.75)
    problem = toy.make().problem(SMALL.ridge)
    rho = 0.3 / problem.constants()[1]
    eta = 10.0 / rate_ratio(problem, rho, 1.0)
    direct = run_method(problem, methods.Joint(rho=rho, eta=eta), num_steps=600)
    theta, w = direct.theta[-1], direct.w[-1]
    floor = np.mean((problem.X_test @ toy.target_theta() - problem.y_test) ** 2) / 2
    ds = run(replace(SMALL, num_steps=600)).sel(value=0.75, ratio=10.0)
    np.testing.assert_allclose(ds["ess"], 1 / np.sum(w**2) / 60, rtol=1e-6)
    np.testing.assert_allclose(ds["test"], problem.test_loss(theta) / floor, rtol=1e-6)
    gap = problem.test_loss(theta) - problem.val_loss(theta)
    np.testing.assert_allclose(ds["gap"], gap / floor, rtol=1e-6)


def test_references_are_least_squares_fits() -> None:
    data = replace(SMALL.toy, share=0.25).make()
    assert data.clean is not None
    assert data.test is not None
    ds = run(SMALL).sel(value=0.25)

    def risk(X: np.ndarray, y: np.ndarray, ridge: float) -> float:
        rows = np.vstack([X, np.sqrt(ridge * len(X)) * np.eye(3)])
        theta = np.linalg.lstsq(rows, np.append(y, np.zeros(3)), rcond=None)[0]
        assert data.X_test is not None
        return float(np.mean((data.X_test @ theta - data.y_test) ** 2) / 2)

    target = data.X_test @ np.array(data.facts["theta_target"])
    floor = np.mean((target - data.y_test) ** 2) / 2
    expected = {
        "uniform": risk(data.X, data.y, 1e-3),
        "clean": risk(data.X[data.clean], data.y[data.clean], 1e-3),
        "validation": risk(data.X_val, data.y_val, 0.0),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(ds[name], value / floor, rtol=1e-8)


@pytest.mark.parametrize(("axis", "value"), [("share", 0.3), ("angle", 20.0), ("m", 15)])
def test_an_axis_changes_its_own_setting(axis: distribution_shift.Axis, value: float) -> None:
    part = replace(SMALL, axis=axis, values=(value,))
    (toy,) = part.toys()
    assert toy == replace(SMALL.toy, **{axis: value})
    assert distribution_shift.data(part).fingerprint() == toy.make().fingerprint()


def test_break_even_is_the_last_change_of_sign() -> None:
    x = np.array([0.0, 1.0, 2.0, 4.0])
    assert break_even(x, np.array([3.0, 2.0, 1.0, -1.0])) == pytest.approx(3.0)
    assert break_even(x, np.array([-1.0, 1.0, 1.0, -3.0])) == pytest.approx(2.5)
    assert break_even(x[::-1], np.array([3.0, 2.0, 1.0, -1.0])) == pytest.approx(0.5)
    assert break_even(x, np.ones(4)) == 4.0
    assert break_even(x, -np.ones(4)) == 0.0


def test_solved_runs_have_the_risk_of_the_validation_fit_however_sparse() -> None:
    ds = run(replace(SMALL, ratios=(1.0, 10.0), num_steps=20_000))
    assert bool(ds["solved"].all())
    apart = np.abs(np.log(ds["test"] / ds["validation"]))
    # F within 1 % of its minimum leaves theta off by a tenth of the noise of the fit.
    assert float(apart.max()) < 0.05
    assert bool((ds["ess"].sel(ratio=10.0) < 0.8 * ds["ess"].sel(ratio=1.0)).all())


def test_uniform_weights_win_where_the_laws_agree_and_validation_is_scarce() -> None:
    toy = replace(SMALL.toy, m=8)
    ds = run(replace(SMALL, axis="angle", toy=toy, values=(0.0, 180.0)))
    risk = ds["test"].sel(ratio=MIDDLE)
    assert float(risk.sel(value=0.0)) > 1.1 * float(ds["uniform"].sel(value=0.0))
    assert float(risk.sel(value=180.0)) < 0.5 * float(ds["uniform"].sel(value=180.0))


def test_lines_are_named_by_what_differs() -> None:
    noisy = replace(SMALL, toy=replace(SMALL.toy, noise=1.0))
    along_m = replace(SMALL, axis="m", values=(10.0, 20.0))
    small = run(replace(SMALL, num_steps=5))
    results = {SMALL: small, replace(SMALL, seed=1): small, noisy: small, along_m: small}
    found = lines(results)
    assert {*found} == {"share-m40", "share-m40-noise1", "m"}
    assert found["share-m40"]["seed"].values.tolist() == [0, 1]
