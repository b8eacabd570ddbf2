"""The flow on the triangle of three weights."""

import matplotlib.pyplot as plt
import mpltern  # noqa: F401  (registers the projection)
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from numpy.testing import assert_allclose

from warmflow.analysis.rest_points import Portrait
from warmflow.figures import simplex_portrait


def portrait() -> Portrait:
    weights = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]])
    velocity = np.array([[0.1, -0.1, 0.0], [0.0, 0.0, 0.0]])
    points = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]])
    kinds = ("attracting", "attracting", "repelling", "saddle")
    return Portrait(weights, velocity, [weights, weights[::-1]], points, kinds)


def test_rest_points_are_marked_by_stability() -> None:
    ax = simplex_portrait(portrait())
    drawn = {x.get_label(): x for x in ax.collections if isinstance(x, PathCollection)}
    counts = {name: len(x.get_offsets()) for name, x in drawn.items()}
    assert counts == {"attracting": 2, "saddle": 1, "repelling": 1}
    saddle, ends = drawn["saddle"].get_offsets()[0], drawn["attracting"].get_offsets()
    assert_allclose(saddle, ends.mean(axis=0), atol=1e-12)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["orbits", "attracting", "saddle", "repelling"]
    ax.figure.canvas.draw()


def test_axes_can_be_given_but_must_be_ternary() -> None:
    ax = plt.figure().add_subplot(projection="ternary")
    assert simplex_portrait(portrait(), ax) is ax
    assert len(ax.lines) == 2
    with pytest.raises(ValueError, match='`ax` must have projection="ternary"'):
        simplex_portrait(portrait(), plt.subplots()[1])
