"""Labels at the ends of curves: apart, in order, as near as can be."""

import itertools

import numpy as np
import pytest
from matplotlib.text import Text
from scipy.optimize import minimize

from warmflow.figures import style
from warmflow.figures.end_labels import label_ends, spread


def test_positions_that_are_apart_stay() -> None:
    np.testing.assert_array_equal(spread([0.9, 0.1, 0.5], 0.2), [0.9, 0.1, 0.5])
    assert spread([], 0.1).size == 0


@pytest.mark.parametrize("seed", range(4))
def test_spread_is_the_nearest_point_that_is_allowed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted, gap = rng.random(6) ** 2, 0.12
    found = spread(wanted, gap)
    order = np.argsort(wanted)
    assert np.diff(found[order]).min() >= gap - 1e-12
    assert 0 <= found.min() <= found.max() <= 1 + 1e-12
    rules = [
        {"type": "ineq", "fun": lambda x, i=i, j=j: x[j] - x[i] - gap}
        for i, j in itertools.pairwise(order)
    ]
    best = minimize(
        lambda x: ((x - wanted) ** 2).sum(), np.linspace(0, 1, 6)[np.argsort(order)],
        constraints=rules, bounds=[(0, 1)] * 6, method="SLSQP", tol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(((found - wanted) ** 2).sum(), best.fun, atol=1e-6)  # SLSQP's own


def test_too_many_share_the_height() -> None:
    np.testing.assert_allclose(spread(np.full(5, 0.5), 0.9), np.linspace(0, 1, 5))


def test_labels_do_not_overlap_on_the_page() -> None:
    figure = style.new_figure((4.0, 3.0))
    ax = figure.subplots()
    ax.set(xlim=(0, 1), ylim=(1e-3, 1), yscale="log")
    ends = {f"curve {k}": (1.0, 0.01 * (1 + 1e-3 * k), "black") for k in range(12)}
    label_ends(ax, ends)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in ax.texts]
    # Text's own: that of an annotation counts its arrow.
    assert [text.get_text() for text in ax.texts] == list(ends)
    for one, two in itertools.combinations(boxes, 2):
        assert not one.overlaps(two)
    right = ax.get_window_extent().x1
    assert all(right < box.x0 < box.x1 <= figure.bbox.x1 for box in boxes)
