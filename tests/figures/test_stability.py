"""Stability: what is drawn is what the certificates hold."""

from typing import Any

import numpy as np
import pytest

from warmflow.analysis.theorems.certificate import Certificate
from warmflow.figures import euler_order, hopf_branches, spectra_plane, stability_regions


def certificate(name: str, data: dict[str, Any]) -> Certificate:
    return Certificate(name, "", (), 0.0, 1.0, 1.0, True, {"data": data})


@pytest.fixture
def spectra() -> Certificate:
    kinds = ("solved", "vertex", "trapped", "frozen")
    points = {
        kind: {"analytic": np.array([-1.0 + k, 2j]), "measured": np.array([-1.0 + k, 2j])}
        for k, kind in enumerate(kinds)
    }
    return certificate("T7", {"points": points})


def regions() -> Certificate:
    x, coarse = np.linspace(0.1, 4.2, 5), np.array([1.0, 3.0])
    row = {
        "radius": np.full((5, 5), 0.9),
        "decays": np.array([[True, False], [True, True]]),
        "limits": np.array([[0.0, 1.0]] * 4 + [[0.0, 0.0]]),
    }
    grid = {"rho_h": x, "eta_kappa": x, "run_rho_h": coarse, "run_eta_kappa": coarse}
    return certificate("T7c", {"regions": {**grid, "simultaneous": row, "theta_first": row}})


def test_every_kind_of_rest_point_is_drawn(spectra: Certificate) -> None:
    ax = spectra_plane(spectra)
    drawn = [np.asarray(part.get_offsets()) for part in ax.collections]
    assert sum(part.shape == (2, 2) for part in drawn) == 8
    np.testing.assert_array_equal(drawn[0], [[-1.0, 0.0], [0.0, 2.0]])
    legend = ax.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 5
    assert "time" in ax.get_xlabel()


@pytest.mark.parametrize("order", ["simultaneous", "theta_first"])
def test_regions_show_limits_and_runs(order: str) -> None:
    ax = stability_regions(regions(), order=order)
    high, low, decays, grows = ax.lines
    assert (decays.get_xdata().size, grows.get_xdata().size) == (3, 1)
    np.testing.assert_array_equal(high.get_ydata(), np.ones(4))
    np.testing.assert_array_equal(low.get_ydata(), np.zeros(4))
    assert (grows.get_xdata()[0], grows.get_ydata()[0]) == (1.0, 3.0)


def test_branches_mark_the_hopf_ratio() -> None:
    mu = np.array([[-1.0, -2.0], [-1.0 + 1j, -1.0 - 1j], [1.0 + 1j, 1.0 - 1j]])
    data = {"branches": {"hopf": 1.5, "ratios": np.array([0.1, 1.0, 10.0]), "spectra": mu}}
    ax = hopf_branches(certificate("T7b", data))
    real, pair = ax.lines[0], ax.lines[1]
    np.testing.assert_array_equal(real.get_ydata(), [-1.0])
    np.testing.assert_allclose(pair.get_ydata(), [-np.sqrt(0.5), np.sqrt(0.5)])
    assert any(np.all(np.asarray(line.get_xdata()) == 1.5) for line in ax.lines)


def test_errors_are_drawn_on_logarithmic_axes() -> None:
    row = {"dt": [1.0, 0.5], "error": [0.2, 0.1], "name": "LeastSquares", "start": "uniform"}
    ax = euler_order(certificate("T2", {"studies": [row, {**row, "start": "random"}, row]}))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.2, 0.1])
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "ridge, uniform $w(0)$", "ridge, random $w(0)$", "slope 1",
    ]  # fmt: skip


def test_the_wrong_certificate_or_order_is_refused(spectra: Certificate) -> None:
    for draw in (hopf_branches, stability_regions, euler_order):
        with pytest.raises(
            ValueError, match=r"`certificate` must be that of T\w+; got|holds no data"
        ):
            draw(spectra)
    with pytest.raises(ValueError, match="`order` must be one of simultaneous, theta_first"):
        stability_regions(regions(), order="both")
