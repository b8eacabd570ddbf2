"""The map of scattered cells: every cell shown, failures apart, curves in place."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import LogNorm

from warmflow.figures import refined_map, style

from ._results import sweep


def cells() -> xr.Dataset:
    return sweep().stack(cell=["alpha", "beta"]).reset_index("cell").transpose("cell", ...)


def test_every_cell_is_a_dot_and_failures_have_signs_of_their_own() -> None:
    ds = cells()
    ax = refined_map(ds)
    drawn = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert set(drawn) == {"cell", "diverged", "nonfinite"}
    places = np.stack([ds["alpha"], ds["beta"]], axis=1)
    np.testing.assert_allclose(drawn["cell"], places[ds["status"] == 0])
    np.testing.assert_allclose(drawn["diverged"], places[ds["status"] == 3])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(drawn)


def test_axes_are_logarithmic_with_units() -> None:
    ax = refined_map(cells())
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "1/time" in ax.get_xlabel()
    assert any(other.get_ylabel() == "effective sample size" for other in ax.figure.axes)


def test_values_that_failed_are_not_coloured() -> None:
    ds = cells()
    ds["ess"][ds["status"].values > 0] = 1e9
    mesh = next(c for c in refined_map(ds).collections if type(c).__name__ == "QuadMesh")
    assert mesh.get_array().max() < 1e3


def test_curves_are_drawn_where_they_are() -> None:
    curves = np.array([[[0.01, 0.1], [0.02, 0.3]], [[0.02, 0.3], [0.1, 0.4]]])
    ax = refined_map(cells(), curves=curves)
    lines = next(c for c in ax.collections if type(c).__name__ == "LineCollection")
    np.testing.assert_allclose([path.vertices for path in lines.get_paths()], curves)
    assert "boundary" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_limits_are_kept_and_bad_input_is_named() -> None:
    ax = style.new_figure().subplots()
    assert refined_map(cells(), ax, limits=(1.0, 100.0)) is ax
    mesh = next(c for c in ax.collections if type(c).__name__ == "QuadMesh")
    assert isinstance(mesh.norm, LogNorm)
    with pytest.raises(ValueError, match="`quantity` must be a variable of `ds` over cell; got 'm"):
        refined_map(cells(), quantity="mass")
    with pytest.raises(ValueError, match="`ds` must hold a positive beta"):
        refined_map(cells().assign_coords(beta=("cell", np.zeros(20))))
