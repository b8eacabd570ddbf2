"""The principle: marker area is weight."""

import numpy as np
import pytest

from warmflow.figures import principle, style, weighted_samples

from ._results import run

X = np.random.default_rng(1).normal(size=(6, 3))
CLEAN = np.array([True, True, True, False, False, False])


def test_area_is_proportional_to_weight() -> None:
    w = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    _, clean, other = weighted_samples(X, w, CLEAN).collections
    areas = np.concatenate([clean.get_sizes(), other.get_sizes()])
    np.testing.assert_allclose(areas / areas[0], w / w[0])
    np.testing.assert_allclose(clean.get_offsets(), X[CLEAN, :2])


def test_areas_compare_between_panels() -> None:
    axes = principle(X, CLEAN, {"a": np.full(6, 1 / 6), "b": run()})
    sizes = [ax.collections[1].get_sizes() for ax in axes]
    assert sizes[1].max() / sizes[0].max() == pytest.approx(6 * float(run()["w"][-1].max()))
    assert [ax.get_title() for ax in axes] == ["a", "b"]


def test_legend_explains_colours_and_areas() -> None:
    axes = principle(X, CLEAN, {"a": np.full(6, 1 / 6)})
    legend = axes[0].figure.legends[0]
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["target cluster", "other cluster", "w = 1/n", "w = 0.02", "w = 0.2"]
    areas = [handle.get_markersize() ** 2 for handle in legend.legend_handles[2:]]
    drawn = axes[0].collections[1].get_sizes()[0]
    assert areas[0] == pytest.approx(drawn)
    assert areas[2] / areas[1] == pytest.approx(10.0)


def test_given_axes_are_used() -> None:
    axes = style.new_figure().subplots(1, 2)
    assert list(principle(X, CLEAN, {"a": run(), "b": run()}, axes)) == list(axes)
    with pytest.raises(ValueError, match="`axes` must hold 1 axes; got 2"):
        principle(X, CLEAN, {"a": run()}, axes)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`X` must have shape \(n, p\) with p at least 2"):
        weighted_samples(X[:, :1], np.full(6, 1 / 6), CLEAN)
    with pytest.raises(ValueError, match=r"must have shape \(6,\); got \(5,\), \(6,\)"):
        weighted_samples(X, np.full(5, 0.2), CLEAN)
