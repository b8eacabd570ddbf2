"""Support against p, and the facet that grad F hits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.analysis.theorems import Certificate
from warmflow.figures import facet_hit, support_counts


def certificate(data: dict) -> Certificate:
    name = "T5b" if "polytope" in data else "T5"
    return Certificate(name, "", (), 0.0, 0.0, 0.0, True, {"data": data})


def run(p: int, support: int, ridge: float, settled: bool = True) -> dict:
    return {"p": p, "support": support, "ridge": ridge, "settled": settled}


RUNS = [run(1, 1, 0.0), run(2, 2, 0.0), run(2, 2, 0.0), run(3, 2, 1e-3), run(3, 9, 0.0, False)]


def test_areas_tell_how_many_runs_there_are() -> None:
    ax = support_counts(certificate({"runs": RUNS}))
    plain, ridge = ax.collections
    assert_allclose(plain.get_offsets(), [[0.86, 1], [1.86, 2]])
    assert_allclose(ridge.get_offsets(), [[3.14, 2]])
    areas = plain.get_sizes() - 4.0
    assert_allclose(areas[1], 2 * areas[0])


def test_runs_that_did_not_settle_are_left_out() -> None:
    ax = support_counts(certificate({"runs": RUNS}))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["no ridge (3 runs)", "ridge (1 runs)", "bound: p"]
    assert ax.get_ylim()[1] < 5


def test_a_study_without_ridge_can_be_drawn() -> None:
    ax = support_counts(certificate({"runs": RUNS[:2]}))
    ax.figure.canvas.draw()
    assert len(ax.collections) == 1


def square() -> dict:
    gradients = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [0.2, 0.1]])
    return {
        "gradients": gradients,
        "grad_val": np.array([2.0, 1.0]),
        "support": np.array([0, 1]),
        "weights": np.array([0.75, 0.25]),
        "nu": np.array([1.0, 0.0]),
        "hull": np.array([0, 2, 3, 1]),
    }


@pytest.mark.parametrize("as_lists", [False, True])
def test_the_ray_passes_through_the_facet(as_lists: bool) -> None:
    data = square()
    if as_lists:  # as read back from a file
        data = {name: value.tolist() for name, value in data.items()}
    ax = facet_hit(certificate({"polytope": data}))
    arrow = next(text for text in ax.texts if text.get_text() == "")
    assert_allclose(arrow.xy, [1.55, 0.775])
    facet = next(line for line in ax.lines if line.get_label() == "facet hit")
    assert_allclose(facet.get_xydata(), [[1, 1], [1, -1]])
    assert {"w = 0.75", "w = 0.25"} <= {text.get_text() for text in ax.texts}
    ax.figure.canvas.draw()
