"""Bars of good rates with predicted ends."""

import numpy as np
import pytest
import xarray as xr

from warmflow.figures import rate_bands

DS = xr.Dataset(
    {
        "low": (("case", "seed"), [[0.01, 0.02], [0.1, np.nan]]),
        "high": (("case", "seed"), [[1.0, 2.0], [np.nan, np.nan]]),
        "guess": (("case", "seed"), [[0.9, 1.9], [30.0, 40.0]]),
    },
    {"case": ["base", "open"], "seed": [0, 1]},
)


def test_every_seed_has_its_bar_and_marks_lie_on_it() -> None:
    ax = rate_bands(DS, marks={"guess": "theory"})
    one, two, endless, arrow, marks = ax.lines
    np.testing.assert_array_equal(one.get_xdata(), [0.01, 1.0])
    np.testing.assert_array_equal(two.get_xdata(), [0.02, 2.0])
    assert endless.get_xdata()[0] == 0.1
    assert arrow.get_marker() == ">"
    assert arrow.get_xdata()[0] == endless.get_xdata()[1] > 40.0
    np.testing.assert_array_equal(marks.get_xdata(), [0.9, 1.9, 30.0, 40.0])
    assert marks.get_ydata()[0] == one.get_ydata()[0] < two.get_ydata()[0] == marks.get_ydata()[1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["base", "open"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["theory"]
    assert ax.get_xscale() == "log"


def test_one_seed_lies_on_the_row() -> None:
    ax = rate_bands(DS.isel(seed=[0]).transpose("seed", "case"))
    assert [line.get_ydata()[0] for line in ax.lines] == [0, 1, 1]
    assert ax.get_legend() is None


def test_more_marks_than_looks_are_refused() -> None:
    with pytest.raises(ValueError, match="`marks` must have at most 4 entries; got 5"):
        rate_bands(DS, marks=dict.fromkeys("abcde", "guess"))
