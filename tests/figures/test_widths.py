"""Counts coloured by a parameter."""

import numpy as np
import xarray as xr

from warmflow.figures import counts_by


def dataset() -> xr.Dataset:
    p = xr.DataArray([4.0, 8.0, 16.0], dims="width")
    count = xr.DataArray(np.arange(1.0, 13.0).reshape(2, 2, 3), dims=("seed", "ridge", "width"))
    return xr.Dataset({"p": p, "count": count}, {"ridge": [0.1, 1.0], "width": [1, 2, 4]})


def test_every_run_is_a_dot_and_lines_are_geometric_means() -> None:
    ds = dataset()
    ax = counts_by(ds, "p", "count", "ridge", lines="width", label="lam {:g}", colours=["k", "b"])
    dots, lines = ax.lines[::2], ax.lines[1::2]
    for k, (dot, line) in enumerate(zip(dots, lines, strict=True)):
        part = ds["count"].isel(ridge=k)
        assert {*np.ravel(dot.get_ydata())} == {*part.values.ravel()}
        np.testing.assert_allclose(line.get_ydata(), np.sqrt(part.prod("seed")))
        np.testing.assert_allclose(line.get_xdata(), ds["p"])
    assert ax.get_legend_handles_labels()[1] == ["lam 0.1", "lam 1"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [line.get_color() for line in lines] == ["k", "b"]


def test_dots_alone_and_the_identity() -> None:
    ax = counts_by(dataset(), "p", "count", "ridge", identity=True, xlabel="x", ylabel="y")
    assert ax.get_legend_handles_labels()[1] == ["0.1", "1"]
    guide = ax.lines[-1]
    np.testing.assert_array_equal(guide.get_xdata(), guide.get_ydata())
    np.testing.assert_array_equal(guide.get_xdata(), [1.0, 16.0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
