"""Methods with and without a mitigation."""

import numpy as np
import pytest
import xarray as xr

from warmflow.figures import beside_plain

DIMS = ("method", "ratio", "seed")
VALUES = np.array([[[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]], [[10.0, 20.0, 90.0], [30.0, 40.0, 50.0]]])
FIELD = xr.DataArray(
    VALUES, {"method": ["joint", "one_step"], "ratio": [1.0, 10.0], "seed": [0, 1, 2]}, DIMS
)


def test_every_seed_and_both_medians() -> None:
    ax = beside_plain(FIELD, 7.0 * FIELD)
    by_label = {str(line.get_label()): np.asarray(line.get_ydata()) for line in ax.lines}
    np.testing.assert_array_equal(by_label["one step"], [20.0, 40.0])
    np.testing.assert_array_equal(by_label["one step, plain"], [140.0, 280.0])
    dots = [line.get_ydata() for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(np.sort(np.concatenate(dots)), np.sort(VALUES.ravel()))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_methods_meet_by_name_whatever_the_order() -> None:
    ax = beside_plain(FIELD.transpose("seed", ...), 7.0 * FIELD.isel(method=[1, 0]))
    by_label = {str(line.get_label()): np.asarray(line.get_ydata()) for line in ax.lines}
    np.testing.assert_array_equal(by_label["joint, plain"], [14.0, 28.0])


def test_refusals() -> None:
    with pytest.raises(ValueError, match="`plain` must be over method, ratio and seed"):
        beside_plain(FIELD, FIELD.isel(seed=0))
