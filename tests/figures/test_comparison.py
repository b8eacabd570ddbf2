"""Arms beside each other."""

import numpy as np
import pytest
import xarray as xr

from warmflow.figures import seed_dots

VALUES = np.array([[1.0, 10.0, np.nan], [3.0, 30.0, np.nan]])
DS = xr.Dataset({"acc": (("seed", "arm"), VALUES)}, {"seed": [0, 1], "arm": ["a", "b", "none"]})


def test_every_seed_and_the_mean_are_drawn_and_nan_is_left_out() -> None:
    ax = seed_dots(DS, "acc", xlabel="accuracy", colours={"b": "red"}, log=True)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "none"]
    a, mean_a, b, mean_b, nothing = ax.lines
    np.testing.assert_array_equal(a.get_xdata(), [1, 3])
    np.testing.assert_array_equal(b.get_xdata(), [10, 30])
    assert (mean_a.get_xdata()[0], mean_b.get_xdata()[0]) == (2, 20)
    assert [line.get_ydata()[0] for line in (a, b)] == [0, 1]
    assert b.get_color() == "red" != a.get_color()
    assert len(nothing.get_xdata()) == 0
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "accuracy")
    low, high = ax.get_ylim()
    assert low > high


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be over seed and arm; got \('arm',\)"):
        seed_dots(DS.isel(seed=0), "acc")
