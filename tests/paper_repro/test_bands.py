"""Bands of rates on a grid: ends, gaps, open ends, intersections."""

import numpy as np
import pytest

from warmflow.paper_repro.items._bands import band, joint_band, width

RATE = np.logspace(-2, 2, 5)


def test_ends_are_where_the_line_in_logarithms_meets_the_threshold() -> None:
    value = 10.0 ** np.array([3.8, 1.8, 0.2, 2.2, 4.2])
    low, high = band(RATE, value, 10.0)
    assert np.log10(low) == pytest.approx(-(1.0 - 0.2) / (1.8 - 0.2))
    assert np.log10(high) == pytest.approx((1.0 - 0.2) / (2.2 - 0.2))
    assert width((low, high)) == pytest.approx(np.log10(high / low))


def test_an_infinite_neighbour_puts_the_end_in_the_middle() -> None:
    value = np.array([np.inf, 1.0, 1.0, np.inf, np.inf])
    assert band(RATE, value, 2.0) == pytest.approx((10**-1.5, 10**0.5))


def test_the_first_interval_counts_and_a_gap_ends_it() -> None:
    value = np.array([9.0, 1.0, 9.0, 1.0, 1.0])
    low, high = band(RATE, value, 3.0)
    assert (low, high) == pytest.approx((10**-1.5, 10**-0.5))


def test_a_band_that_fills_the_grid_ends_with_it() -> None:
    assert band(RATE, np.ones(5), 2.0) == (RATE[0], RATE[-1])


def test_nothing_good_is_an_empty_band_of_width_zero() -> None:
    nothing = band(RATE, np.full(5, np.inf), 2.0)
    assert np.isnan(nothing).all()
    assert width(nothing) == 0.0


def test_intersections() -> None:
    assert joint_band((1.0, 10.0), (2.0, 30.0)) == (2.0, 10.0)
    assert np.isnan(joint_band((1.0, 2.0), (3.0, 4.0))).all()
    assert np.isnan(joint_band((1.0, 2.0), (np.nan, np.nan))).all()
