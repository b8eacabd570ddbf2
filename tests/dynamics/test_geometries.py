"""Geometries: invariants of a step, and the flow that each states."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import geometries
from warmflow.dynamics.geometries import Geometry

LOG_W = np.log(np.random.default_rng(0).dirichlet(np.full(6, 4.0)))
G = np.random.default_rng(1).normal(size=6)
W = np.exp(LOG_W)
P = np.diag(W) - np.outer(W, W)

FLOWS = {
    "mirror": (geometries.Mirror(), -P @ G),
    "softmax logits": (geometries.SoftmaxLogits(), -P @ P @ G),
    "sigmoid": (geometries.Sigmoid(cap=0.7), -((W * (1 - W / 0.7)) ** 2) * G),
    "projection": (geometries.Projection(), -(G - G.mean())),
    "penalised": (
        geometries.Penalised(entropy=0.3, l2=0.2),
        -P @ (G + 0.3 * LOG_W + 0.2 * 6 * W),
    ),
    "penalised, implicit": (
        geometries.Penalised(entropy=0.3, l2=0.2, implicit=True),
        -P @ (G + 0.3 * LOG_W + 0.2 * 6 * W),
    ),
    "penalised logits": (
        geometries.Penalised(l2=0.2, inner=geometries.SoftmaxLogits()),
        -P @ P @ (G + 0.2 * 6 * W),
    ),
    "clipped": (geometries.ClippedNormalised(), -(G - W * G.sum())),
}

every = pytest.mark.parametrize("geometry, flow", FLOWS.values(), ids=FLOWS.keys())


@every
def test_start_represents_the_given_weights(geometry: Geometry, flow: np.ndarray) -> None:
    s = geometry.start(LOG_W)
    assert_allclose(geometry.weights(s), W, rtol=1e-12)
    assert_allclose(geometry.log_weights(s), LOG_W, rtol=1e-12)


@every
def test_a_small_step_follows_the_stated_flow(geometry: Geometry, flow: np.ndarray) -> None:
    """(w(eta) - w(0))/eta tends to the flow at first order in eta."""
    errors = []
    for eta in (1e-3, 1e-4):
        w = geometry.weights(geometry.step(geometry.start(LOG_W), G, eta))
        errors.append(np.abs((w - W) / eta - flow).max())
    assert errors[1] < 2e-3
    assert errors[1] < 0.15 * errors[0] or errors[0] < 1e-11


@every
def test_steps_keep_the_simplex_at_any_size(geometry: Geometry, flow: np.ndarray) -> None:
    for eta in (0.1, 10.0, 1e4):
        s = geometry.start(np.stack([LOG_W, LOG_W[::-1]]))
        for _ in range(5):
            s = geometry.step(s, G, eta)
        w = geometry.weights(s)
        assert w.shape == (2, 6)
        assert (w >= 0).all()
        if isinstance(geometry, geometries.Sigmoid):
            assert (w <= 0.7 + 1e-15).all()
        else:
            assert_allclose(w.sum(axis=-1), 1.0, rtol=1e-12)
        with np.errstate(divide="ignore"):
            assert_allclose(np.exp(geometry.log_weights(s)), w, atol=1e-15)


def test_a_constant_field_moves_no_weight_on_the_simplex() -> None:
    constant = np.full(6, 3.0)
    for geometry in (geometries.Mirror(), geometries.SoftmaxLogits(), geometries.Projection()):
        w = geometry.weights(geometry.step(geometry.start(LOG_W), constant, 0.5))
        assert_allclose(w, W, rtol=1e-12)


def test_mirror_weights_return_after_any_underflow() -> None:
    mirror, s = geometries.Mirror(), np.log(np.full(2, 0.5))
    s = mirror.step(s, np.array([0.0, 1.0]), 5000.0)
    assert np.exp(s[1]) == 0.0
    s = mirror.step(s, np.array([1.0, 0.0]), 5000.0)
    assert_allclose(np.exp(s), 0.5)


def test_projection_reaches_exact_zeros_and_leaves_them() -> None:
    projection = geometries.Projection()
    w = projection.step(np.full(3, 1 / 3), np.array([9.0, 0.0, 0.0]), 1.0)
    assert_allclose(w, [0.0, 0.5, 0.5])
    assert projection.log_weights(w)[0] == -np.inf
    assert projection.step(w, np.array([-9.0, 0.0, 0.0]), 1.0)[0] == 1.0


def test_clipping_everything_gives_uniform_weights() -> None:
    clipped = geometries.ClippedNormalised()
    assert_allclose(clipped.step(W, np.ones(6), 10.0), 1 / 6)


def test_sigmoid_starts_at_its_middle_for_uniform_weights() -> None:
    sigmoid = geometries.Sigmoid()
    assert_allclose(sigmoid.start(np.log(np.full(8, 1 / 8))), 0.0, atol=1e-12)
    with pytest.raises(ValueError, match="`w0` must be below the `cap`"):
        sigmoid.start(np.log(np.array([0.9, 0.05, 0.05])))
    with pytest.raises(ValueError, match=r"`cap` must be > 0; got -1\.0"):
        geometries.Sigmoid(cap=-1.0)


def test_sigmoid_log_weights_do_not_overflow() -> None:
    log_w = geometries.Sigmoid(cap=1.0).log_weights(np.array([-800.0, 0.0, 800.0]))
    assert_allclose(log_w, [-800.0, -np.log(2), 0.0], atol=1e-15)


def test_an_implicit_step_solves_its_proximal_problem_at_any_size() -> None:
    """The gradient of the proximal objective is constant on the simplex at its solution."""
    geometry = geometries.Penalised(entropy=0.3, implicit=True)
    for eta in (0.1, 10.0, 1e6):
        end = geometry.step(LOG_W, G, eta)
        gradient = G + 0.3 * end + (end - LOG_W) / eta
        assert_allclose(gradient, gradient[0], rtol=1e-9)
        assert_allclose(np.exp(end).sum(), 1.0, rtol=1e-12)
    assert_allclose(end, np.log(np.exp(-G / 0.3) / np.exp(-G / 0.3).sum()), atol=1e-4)


def test_penalties_refuse_what_they_cannot_pull() -> None:
    with pytest.raises(ValueError, match=r"`inner` must keep the sum of the weights; got Sigmoid"):
        geometries.Penalised(l2=1.0, inner=geometries.Sigmoid())
    with pytest.raises(ValueError, match=r"`entropy` must be 0 with Projection"):
        geometries.Penalised(entropy=1.0, inner=geometries.Projection())
    with pytest.raises(ValueError, match=r"`implicit` needs Mirror\(\) as `inner`"):
        geometries.Penalised(entropy=1.0, inner=geometries.SoftmaxLogits(), implicit=True)
    with pytest.raises(ValueError, match=r"`entropy` must be >= 0; got -1"):
        geometries.Penalised(entropy=-1.0)
    with pytest.raises(TypeError, match=r"`inner` must be a geometry"):
        geometries.Penalised(inner=3)
