"""The phase diagram: right cells, right place, failures and band shown."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import LogNorm

from warmflow.figures import phase_diagram, style

from ._results import sweep


def mesh_of(ax):
    return next(c for c in ax.collections if type(c).__name__ == "QuadMesh")


def test_cells_hold_their_values_at_their_place() -> None:
    ds = sweep()
    mesh = mesh_of(phase_diagram(ds))
    values = mesh.get_array().reshape(ds.sizes["beta"], ds.sizes["alpha"])
    expected = ds["ess"].where(ds["status"] == 0).values.T
    np.testing.assert_allclose(np.ma.filled(values, np.nan), expected)
    corners = mesh.get_coordinates()
    for j, beta in enumerate(ds["beta"].values):
        for i, alpha in enumerate(ds["alpha"].values):
            assert corners[j, i, 0] < alpha < corners[j, i + 1, 0]
            assert corners[j, i, 1] < beta < corners[j + 1, i, 1]


def test_the_order_of_dimensions_does_not_matter() -> None:
    ds = sweep()
    one, two = mesh_of(phase_diagram(ds)), mesh_of(phase_diagram(ds.transpose("beta", ...)))
    np.testing.assert_array_equal(one.get_array(), two.get_array())


def test_the_order_of_rates_does_not_matter() -> None:
    ds = sweep()
    one, two = mesh_of(phase_diagram(ds)), mesh_of(phase_diagram(ds.isel(alpha=[2, 0, 3, 1])))
    np.testing.assert_array_equal(one.get_array(), two.get_array())
    np.testing.assert_array_equal(one.get_coordinates(), two.get_coordinates())


def test_axes_are_logarithmic_with_units() -> None:
    ax = phase_diagram(sweep())
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "1/time" in ax.get_xlabel()
    assert "1/time" in ax.get_ylabel()
    assert any(other.get_ylabel() == "effective sample size" for other in ax.figure.axes)


def test_failures_are_named_in_the_legend() -> None:
    legend = phase_diagram(sweep()).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["diverged", "nonfinite"]


@pytest.mark.parametrize(("axis", "column"), [("alpha", 0), ("beta", 1)])
def test_the_boundary_of_the_band_is_drawn(axis: str, column: int) -> None:
    ds = sweep()
    band = (ds[axis] < 0.03).broadcast_like(ds["ess"]).rename("good")
    ax = phase_diagram(ds, band=band)
    assert "good" in [text.get_text() for text in ax.get_legend().get_texts()]
    outline = next(c for c in ax.collections if type(c).__name__ == "LineCollection")
    places = np.concatenate([path.vertices[:, column] for path in outline.get_paths()])
    rates = ds[axis].values
    assert np.all(places > rates[rates < 0.03].max())
    assert np.all(places < rates[rates >= 0.03].min())


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_band_without_boundary_draws_nothing(everywhere: bool) -> None:
    ds = sweep()
    ax = phase_diagram(ds, band=ds["ess"].notnull() & everywhere)
    assert [c for c in ax.collections if type(c).__name__ == "LineCollection"] == []


def test_thresholds_are_chosen() -> None:
    ds = sweep()
    mesh = mesh_of(phase_diagram(ds, quantity="support", threshold=1e-6))
    np.testing.assert_allclose(
        np.nanmax(mesh.get_array()), 2 * float(ds["ess"].where(ds.status == 0).max())
    )
    with pytest.raises(ValueError, match="`threshold` must be given to draw support"):
        phase_diagram(ds, quantity="support")


def test_wide_ranges_are_logarithmic_and_limits_are_kept() -> None:
    ds = sweep()
    assert not isinstance(mesh_of(phase_diagram(ds)).norm, LogNorm)
    wide = mesh_of(phase_diagram(ds, limits=(1.0, 100.0)))
    assert isinstance(wide.norm, LogNorm)
    assert (wide.norm.vmin, wide.norm.vmax) == (1.0, 100.0)


def test_one_cell_and_all_failed_can_be_drawn() -> None:
    phase_diagram(sweep((1, 1)).assign(status=sweep((1, 1))["status"] * 0))
    ds = sweep()
    failed = ds["status"] * 0 + 3
    failed.attrs = ds["status"].attrs
    ax = phase_diagram(ds.assign(status=failed))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["diverged"]


def test_given_axes_are_used_and_bad_input_is_named() -> None:
    ax = style.new_figure().subplots()
    assert phase_diagram(sweep(), ax) is ax
    with pytest.raises(ValueError, match="`quantity` must be a variable of `ds`; got 'mass'"):
        phase_diagram(sweep(), quantity="mass")
    with pytest.raises(ValueError, match="`ds` must be over positive beta"):
        phase_diagram(sweep().assign_coords(beta=[0.0, 1, 2, 3, 4]))
    with pytest.raises(ValueError, match="`ds` must be over positive alpha"):
        phase_diagram(sweep().isel(alpha=0))
    with pytest.raises(ValueError, match="must be over alpha and beta"):
        phase_diagram(sweep().expand_dims(seed=[1, 2]))


def test_of_several_saved_steps_the_last_is_drawn() -> None:
    ds = sweep()
    steps = xr.concat([3 * ds, ds], dim=xr.Variable("step", [1, 2])).assign(status=ds["status"])
    last, alone = mesh_of(phase_diagram(steps)), mesh_of(phase_diagram(ds))
    np.testing.assert_allclose(last.get_array(), alone.get_array())
