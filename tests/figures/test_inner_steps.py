"""Inner steps: errors against T, and the best T against N."""

import numpy as np
import pytest
import xarray as xr

from warmflow.figures import best_steps, error_against_steps

GAPS = xr.DataArray(
    np.array([[[1.0, 2.0], [3.0, np.nan]], [[4.0, 8.0], [12.0, 5.0]]]),
    {"seed": [0, 1], "T": [1, 4], "N": [10, 100]}, ("seed", "T", "N"),
)  # fmt: skip
BEST = xr.DataArray(
    np.array([[2.0, 4.0], [8.0, np.nan]]), {"seed": [0, 1], "N": [10, 100]}, ("seed", "N")
)


def test_lines_are_geometric_means_and_every_seed_is_shown() -> None:
    ax = error_against_steps(GAPS)
    first, second = [line for line in ax.lines if line.get_linestyle() == "-"]
    np.testing.assert_allclose(first.get_ydata(), [2.0, 6.0])
    np.testing.assert_allclose(second.get_ydata(), [4.0, np.nan])
    dots = [line.get_ydata() for line in ax.lines if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(dots[0], [1.0, 3.0])
    assert len(dots) == 4
    assert [line.get_label() for line in (first, second)] == ["10", "100"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_the_best_steps_come_with_their_laws() -> None:
    ax = best_steps(BEST, laws={"power": [1.0, 2.0], "log": [1.0, 3.0]})
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert entries == ["mean", "power", "log"]
    mean = next(line for line in ax.lines if line.get_label() == "mean")
    np.testing.assert_allclose(mean.get_ydata(), [4.0, np.nan])
    assert "T" in ax.get_ylabel()


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="`field` must be over seed, T and N; got"):
        error_against_steps(BEST)
    with pytest.raises(ValueError, match="`best` must be over seed and N; got"):
        best_steps(GAPS)
