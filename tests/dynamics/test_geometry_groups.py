"""The lift of group weights to samples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import geometries, methods, run_method

from .cases import Refusals, central_difference, least_squares, refusals, softmax, two_clusters

LABELS = np.array([2, 0, 0, 1, 2, 2, 2, 1, 0, 2, 1, 2])
SIZES = np.array([3, 3, 6])
UNIFORM = np.log(np.full(12, 1 / 12))
INNER = [
    geometries.Mirror(),
    geometries.SoftmaxLogits(),
    geometries.Sigmoid(),
    geometries.Projection(),
    geometries.ClippedNormalised(),
]
each = pytest.mark.parametrize("inner", INNER, ids=lambda g: type(g).__name__)


@each
def test_a_start_represents_the_given_weights(inner) -> None:
    lift = geometries.Groups(LABELS, inner)
    omega = np.array([0.3, 0.2, 0.5])
    w = (omega / SIZES)[LABELS]
    s = lift.start(np.log(w))
    assert s.shape == (3,)
    assert_allclose(inner.weights(s), omega, rtol=1e-12)
    assert_allclose(lift.weights(s), w, rtol=1e-12)
    assert_allclose(lift.log_weights(s), np.log(w), rtol=1e-12)


@each
def test_a_step_is_that_of_the_inner_geometry_along_the_derivative_in_the_groups(inner) -> None:
    """The field of the groups is the derivative of omega -> F(theta_star(w(omega)))."""
    q = least_squares()
    lift = geometries.Groups(LABELS, inner)
    omega = np.array([0.3, 0.2, 0.5])
    w = (omega / SIZES)[LABELS]

    def h(omega: np.ndarray) -> np.ndarray:
        return q.outer_loss((omega / SIZES)[LABELS])

    expected = inner.step(inner.start(np.log(omega)), central_difference(h, omega), 0.7)
    got = lift.step(lift.start(np.log(w)), q.outer_grad(w), 0.7)
    assert_allclose(got, expected, rtol=1e-7, atol=1e-9)  # differences of h: 1e-9


def test_groups_of_one_sample_change_nothing() -> None:
    q = softmax()
    lift = geometries.Groups(np.arange(14)[::-1])
    a = run_method(q, methods.Joint(eta=0.5), 30)
    b = run_method(q, methods.Joint(eta=0.5), 30, geometry=lift)
    assert_allclose(a.w, b.w, rtol=1e-12)


def test_two_sources_are_told_apart() -> None:
    q = two_clusters()
    lift = geometries.Groups((~q.clean).astype(int), geometries.SoftmaxLogits())
    run = run_method(q, methods.Joint(eta=0.3), 2000, geometry=lift)
    assert run.w[-1][q.clean].sum() > 0.9
    spread = run.w[-1][q.clean]
    assert_allclose(spread, spread[0], rtol=1e-12)
    assert_allclose(run.w.sum(axis=-1), 1.0, rtol=1e-12)


def test_leading_axes_and_batches() -> None:
    q = two_clusters()
    lift = geometries.Groups(np.arange(60) % 3)
    eta = np.array([0.1, 0.5])
    together = run_method(q, methods.SOBA(eta=eta, batch_size=20), 20, geometry=lift)
    for k in range(2):
        single = run_method(q, methods.SOBA(eta=eta[k], batch_size=20), 20, geometry=lift)
        assert_allclose(together.w[:, k], single.w, rtol=1e-9)


def test_the_name_tells_groupings_apart() -> None:
    a, b = geometries.Groups([0, 0, 1]), geometries.Groups([0, 1, 1])
    assert repr(a) == repr(geometries.Groups([0, 0, 1])) != repr(b)
    assert "K=2" in repr(a)
    assert "Mirror()" in repr(a)


def test_weights_of_groups_in_torch_are_those_in_numpy() -> None:
    """And without a warning, which is an error here: torch dislikes read-only labels."""
    torch = pytest.importorskip("torch")
    geometry = geometries.Groups([0, 1, 1, 2, 0])
    log_w0, g = np.full(5, -np.log(5.0)), np.arange(5.0)
    expected = geometry.weights(geometry.step(geometry.start(log_w0), g, 0.3))
    s = geometry.step(geometry.start(torch.asarray(log_w0)), torch.asarray(g), 0.3)
    np.testing.assert_allclose(geometry.weights(s).numpy(), expected, rtol=1e-12)


ENTRIES: Refusals = {
    "negative": (lambda: geometries.Groups([0, -1]), ValueError, r"`groups` must be >= 0; got -1"),
    "floats": (lambda: geometries.Groups([0.5, 1.0]), ValueError, r"`groups` must have an integer"),
    "gap": (lambda: geometries.Groups([0, 2]), ValueError, r"no sample of group 1"),
    "inner": (lambda: geometries.Groups([0, 1], "mirror"), TypeError, r"`inner` must be a geometr"),
    "nested": (
        lambda: geometries.Groups([0, 1], geometries.Groups([0, 1])),
        TypeError,
        r"`inner` must be a geometry",
    ),
    "length": (
        lambda: geometries.Groups([0, 1]).start(UNIFORM),
        ValueError,
        r"`groups` must have one entry for each of the 12 samples; got 2",
    ),
    "inside": (
        lambda: geometries.Groups([0, 0, 1]).start(np.log([0.2, 0.3, 0.5])),
        ValueError,
        r"`w0` must be constant inside each group",
    ),
}


@refusals(ENTRIES)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
