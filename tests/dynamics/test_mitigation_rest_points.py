"""Where mixed, floored, averaged and parametric weights rest, and how fast vanished ones return."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, methods, run_method
from warmflow.dynamics.geometries import Averaged, Floored, Geometry, Mirror, Mixed, Parametric

N, P = 40, 3
THETA = np.random.default_rng(5).normal(size=(6, P))
"""Frozen points, each the theta of one cell."""


def problem() -> LeastSquares:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, P)), rng.normal(size=N)
    return LeastSquares(X, y, rng.normal(size=(30, P)), 1 + rng.normal(size=30), ridge=1e-2)


@cache
def end(geometry: Geometry, seed: int = 0) -> np.ndarray:
    """Return the weights after a long time at frozen theta, ``(6, n)``, from a random start."""
    w0 = 0.5 / N + 0.5 * np.random.default_rng(seed).dirichlet(np.ones(N))
    method = methods.Joint(rho=0.0, eta=0.2)
    w: np.ndarray = run_method(
        problem(), method, 3000, geometry=geometry, theta0=THETA, w0=w0, num_saved=2
    ).w[-1]
    return w


@pytest.mark.parametrize("least", [0.2, 0.02])
@pytest.mark.parametrize("kind", [Mixed, Floored])
def test_at_most_p_samples_stay_above_the_floor_and_the_others_have_no_smaller_field(
    kind, least: float
) -> None:
    """Theory T5 and the optimality conditions over the weights that are at least floor/n."""
    w = end(kind(least))
    field = problem().hypergradient(THETA, w)
    free = w > least / N + 1e-6
    assert ((free.sum(axis=-1) >= 1) & (free.sum(axis=-1) <= P)).all()
    assert_allclose(w[~free], least / N, rtol=1e-6)
    for psi, above in zip(field, free, strict=True):
        c = psi[above].mean()
        assert_allclose(psi[above], c, atol=1e-7)
        assert (psi[~above] > c).all()


@pytest.mark.parametrize("least", [0.2, 0.02])
def test_mixed_and_floored_weights_rest_at_the_same_points(least: float) -> None:
    assert_allclose(end(Mixed(least)), end(Floored(least)), atol=1e-7)
    assert np.abs(end(Mixed(least)) - end(Mirror())).max() > 0.1 * least


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_averages_rest_where_the_inner_weights_do(seed: int) -> None:
    w = end(Averaged(0.9), seed)
    assert_allclose(w, end(Mirror(), seed), atol=1e-8)
    field = problem().hypergradient(THETA, w)
    c = np.sum(w * field, axis=-1, keepdims=True)
    assert np.abs(w * (field - c)).max() < 1e-7
    assert (field - c).min() > -1e-7
    assert ((w > 1e-6).sum(axis=-1) <= P).all()


def test_parametric_weights_rest_where_the_field_and_the_features_are_uncorrelated() -> None:
    """Two equations, whatever n: the field is not constant on the support, which is everybody."""
    A = np.random.default_rng(3).normal(size=(N, 2))
    q, geometry = problem(), Parametric(A)
    run = run_method(q, methods.Joint(rho=0.2, eta=0.3), 3000, geometry=geometry, num_saved=2)
    w, theta = run.w[-1], run.theta[-1]
    psi = q.hypergradient(theta, w)
    covariance = (w[:, None] * (A - w @ A)).T @ psi
    start = np.full(N, 1 / N)
    psi_start = q.hypergradient(q.theta_star(start), start)
    covariance_start = (start[:, None] * (A - start @ A)).T @ psi_start
    assert np.abs(covariance).max() < 1e-9
    assert np.abs(covariance_start).max() > 1e-2
    assert np.ptp(psi) > 0.1
    assert w.min() > 1e-6


STILL = methods.Joint(rho=0.0, eta=0.05)
PAIR = LeastSquares([[1.0], [0.5]], [0.0, 1.0], [[1.0]], [3.0], ridge=0.1)
"""At theta = 4 the first of two samples is wanted, at 0.5 the second."""


def delay(geometry: Geometry, num_away: int) -> tuple[float, float]:
    """Return how long the second sample takes to weigh 1/4 again, and log(1/v) before.

    theta is frozen where it is unwanted for ``num_away`` steps, then where it is wanted; v is its
    weight in the inner geometry. The crossing is interpolated.
    """
    start = geometry.start(np.log([0.5, 0.5]))
    state = STILL.init(PAIR, geometry, np.array([4.0]), start, 0)
    for _ in range(num_away):
        state = STILL.step(PAIR, geometry, state)
    state = replace(state, theta=np.array([0.5]))
    depth, logs = -state.outer[1], [geometry.log_weights(state.outer)[1]]
    while logs[-1] < math.log(0.25):
        state = STILL.step(PAIR, geometry, state)
        logs.append(geometry.log_weights(state.outer)[1])
        assert len(logs) < 5000, "the sample never came back"
    part = (math.log(0.25) - logs[-2]) / (logs[-1] - logs[-2])
    return STILL.eta * (len(logs) - 2 + part), float(depth)


def rate(least: float) -> float:
    """Return the speed of log w of the second sample while its weight is ``least``."""
    psi = PAIR.hypergradient(np.array([0.5]), np.array([1 - least, least]))
    return float(psi[0] - psi[1])


@pytest.mark.parametrize(
    "geometry, speed",
    [(Mirror(), rate(0.0)), (Mixed(0.2), 0.8 * rate(0.1))],
    ids=["mirror", "mixed"],
)
def test_a_vanished_weight_comes_back_after_its_logarithm_over_its_rate(geometry, speed) -> None:
    """Theory T11: what is added to the depth is added to the delay, divided by the rate."""
    times, depths = zip(*(delay(geometry, num) for num in (120, 240, 360)), strict=True)
    assert depths[0] > 15
    assert_allclose(np.diff(times), np.diff(depths) / speed, rtol=1e-6)
    # the rest, from the first notice to 1/4, lasts a few units of 1/rate
    assert np.abs(times - np.array(depths) / speed).max() < 3 / speed


def test_a_floored_weight_comes_back_at_once_whatever_its_past() -> None:
    times, depths = zip(*(delay(Floored(0.2), num) for num in (120, 240, 360)), strict=True)
    assert_allclose(depths, math.log(2 / 0.2), rtol=1e-9)
    assert_allclose(times, times[0], rtol=1e-9)
    slowest = min(rate(w) for w in np.linspace(0.1, 0.25, 50))
    assert 0 < times[0] < math.log(2 / 0.2) / slowest
    assert times[0] < 0.1 * delay(Mixed(0.2), 360)[0]
