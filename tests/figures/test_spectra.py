"""Sorted spectra."""

import numpy as np
import pytest

from warmflow.figures import weight_spectrum

from ._results import Exportable, run


def test_weights_are_sorted_relative_to_the_largest() -> None:
    line = weight_spectrum([0.1, 0.6, 0.3]).lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(line.get_ydata(), [1, 0.5, 1 / 6])


def test_of_trajectories_the_end_is_drawn() -> None:
    expected = np.sort(run()["w"].values[-1])[::-1]
    for result in (run(), Exportable()):
        line = weight_spectrum(result).lines[0]
        np.testing.assert_allclose(line.get_ydata(), expected / expected[0])


def test_several_spectra_have_a_legend_and_the_exact_one_lies_on_top() -> None:
    ax = weight_spectrum({"slow": run(), "exact": run(), "array": [0.5, 0.5]}, exact="exact")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["slow", "exact", "array"]
    assert ax.lines[1].get_linestyle() == "--"
    assert ax.lines[1].get_zorder() > ax.lines[0].get_zorder()


def test_threshold_is_drawn_where_it_is() -> None:
    ax = weight_spectrum([0.9, 0.1], threshold=1e-3)
    assert ax.lines[-1].get_ydata() == [1e-3, 1e-3]
    assert "threshold 0.001" in [text.get_text() for text in ax.texts]


def test_axis_ends_at_the_floor_or_below_the_smallest() -> None:
    assert weight_spectrum([1.0, 1e-30]).get_ylim()[0] == 1e-12
    assert 1e-3 < weight_spectrum([1.0, 1e-2]).get_ylim()[0] < 1e-2


def test_zero_weights_can_be_drawn() -> None:
    ax = weight_spectrum([1.0, 0.0])
    ax.figure.canvas.draw()
    assert ax.lines[0].get_ydata()[0] == 1.0


def test_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`weights` must have shape \(n,\); got \(2, 2\)"):
        weight_spectrum(np.ones((2, 2)))


@pytest.mark.parametrize("num_samples", [1, 5])
def test_uniform_weights_are_drawn_without_warnings(num_samples: int) -> None:
    ax = weight_spectrum(np.full(num_samples, 1 / num_samples))
    ax.figure.canvas.draw()
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 1.0)
