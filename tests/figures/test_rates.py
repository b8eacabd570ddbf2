"""Observables against a learning rate."""

import numpy as np
import pytest
import xarray as xr

from warmflow.figures import rates_curve

ETA = [1e-3, 1e-2, 1e-1]


def test_the_line_is_the_mean_and_every_seed_is_shown() -> None:
    values = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [8.0, 9.0, 10.0]])
    ds = xr.Dataset({"acc": (("seed", "eta"), values)}, {"seed": [0, 1, 2], "eta": ETA})
    ax = rates_curve(ds, "acc", ylabel="accuracy")
    *seeds, mean = [line.get_ydata() for line in ax.lines]
    np.testing.assert_array_equal(seeds, values)
    np.testing.assert_array_equal(mean, [4.0, 5.0, 6.0])
    np.testing.assert_array_equal(ax.lines[-1].get_xdata(), ETA)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert ax.get_ylabel() == "accuracy"
    assert "eta" in ax.get_xlabel()


def test_without_seeds_and_with_a_logarithmic_axis() -> None:
    ds = xr.Dataset({"ess": ("rho", [1.0, 10.0, 100.0])}, {"rho": ETA})
    ax = rates_curve(ds, "ess", rate="rho", xlabel="inner step", log=True)
    assert len(ax.lines) == 1
    assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "inner step")


def test_a_geometric_mean_over_a_linear_axis() -> None:
    values = np.array([[1.0, 2.0, 4.0], [4.0, 8.0, 1.0]])
    ds = xr.Dataset(
        {"risk": (("seed", "share"), values)}, {"seed": [0, 1], "share": [0.1, 0.5, 0.9]}
    )
    ax = rates_curve(ds, "risk", rate="share", xscale="linear", geometric=True, log=True)
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [2.0, 4.0, 2.0])
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")


def test_other_dimensions_are_refused() -> None:
    ds = xr.Dataset({"acc": (("eta", "k"), np.ones((3, 2)))}, {"eta": ETA})
    with pytest.raises(ValueError, match=r"must be over eta and, if need be, seed; got"):
        rates_curve(ds, "acc")
