"""Runs in the plane of a cost and a gain."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import LogNorm

from warmflow.figures import tradeoff


def dataset() -> xr.Dataset:
    calls = [[10.0, 100.0, np.inf], [20.0, 300.0, 4000.0]]
    ess = [[0.1, 0.2, 0.3], [0.15, 0.25, 0.35]]
    dims = ("seed", "ratio")
    return xr.Dataset({"calls": (dims, calls), "ess": (dims, ess)}, {"ratio": [100.0, 10.0, 1.0]})


def test_every_run_that_got_there_is_a_dot_of_the_colour_of_its_ratio() -> None:
    ax = tradeoff(dataset(), "calls", "ess", "ratio", ylabel="size")
    dots = ax.collections[0]
    np.testing.assert_allclose(
        dots.get_offsets(), [[10, 0.1], [100, 0.2], [20, 0.15], [300, 0.25], [4000, 0.35]]
    )
    np.testing.assert_array_equal(dots.get_array(), [100, 10, 100, 10, 1])
    assert isinstance(dots.norm, LogNorm)
    assert (dots.norm.vmin, dots.norm.vmax) == (1.0, 100.0)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("calls", "size")


def test_fronts_are_level_until_the_next_run() -> None:
    ds = dataset()
    front = ds.isel(seed=0, ratio=[0, 1])
    ax = tradeoff(ds, "calls", "ess", "ratio", fronts=[front], limits=(0.1, 1e4))
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), [10.0, 100.0])
    np.testing.assert_array_equal(line.get_ydata(), [0.1, 0.2])
    assert line.get_drawstyle() == "steps-post"
    assert ax.collections[0].norm.vmax == 1e4


def test_colours_need_their_dimension() -> None:
    with pytest.raises(ValueError, match=r"`ds` must be over rate; got \('seed', 'ratio'\)"):
        tradeoff(dataset(), "calls", "ess", "rate")
