"""BOREP: it reduces to SOBA, its weights move at unit speed, and F's scale changes nothing."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, Status, geometries, methods, run_method

from ..cases import Refusals, case, least_squares, refusals, softmax, two_clusters

MIRROR = geometries.Mirror()
PLAIN = {"momentum": 0.0, "period": 1, "num_inner_steps": 1, "norm": None, "decay": 0.0}


@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_without_its_features_it_is_soba(order: str, batch_size: int | None) -> None:
    for q in (least_squares(), softmax()):
        knobs = {"eta": 0.2, "rho_adjoint": 0.03, "order": order, "batch_size": batch_size}
        a = run_method(q, methods.BOREP(num_warmup=0, **PLAIN, **knobs), 40, seed=2)
        b = run_method(q, methods.SOBA(**knobs), 40, seed=2)
        assert_allclose(a.theta, b.theta, rtol=1e-12)
        assert_allclose(a.log_w, b.log_w, rtol=1e-12)


@pytest.mark.parametrize("size", [math.inf, 2])
def test_multiplied_by_its_norm_the_step_is_that_of_soba(size: float) -> None:
    """One step with eta |m| instead of eta."""
    q, c = least_squares(), case(least_squares())
    field = q.hypergradient(c.theta, c.w)
    centred = field - c.w @ field
    length = np.abs(centred).max() if size == math.inf else np.linalg.norm(centred)
    knobs = PLAIN | {"norm": size, "num_warmup": 0}
    a = run_method(q, methods.BOREP(eta=0.1 * length, **knobs), 1, theta0=c.theta, w0=c.w)
    b = run_method(q, methods.SOBA(eta=0.1), 1, theta0=c.theta, w0=c.w)
    assert_allclose(a.w[-1], b.w[-1], rtol=1e-11)


def test_the_step_has_unit_speed_and_decays() -> None:
    q = two_clusters()
    method = methods.BOREP(eta=0.2, decay=0.5)
    state = method.init(q, MIRROR, q.theta_star(np.full(60, 1 / 60)), np.full(60, -np.log(60)), 0)
    for k in range(20):
        new, w = method.step(q, MIRROR, state), np.exp(state.outer)
        change = new.outer - state.outer
        ratio = np.exp(change - change[0])  # without the normalisation
        field = -np.log(ratio) - w @ -np.log(ratio)
        assert_allclose(np.abs(field).max(), 0.2 * (k + 1) ** -0.5, rtol=1e-9)
        state = new


def test_scaling_F_changes_nothing() -> None:
    q = two_clusters()
    big = LeastSquares(q.X, q.y, 100 * q.X_val, 100 * q.y_val, ridge=q.ridge)
    runs = [run_method(p, methods.BOREP(), 200) for p in (q, big)]
    assert_allclose(runs[0].theta, runs[1].theta, rtol=1e-8)
    assert_allclose(runs[0].w, runs[1].w, rtol=1e-7)


def test_theta_moves_only_at_every_period() -> None:
    q, c = least_squares(), case(least_squares())
    method = methods.BOREP(rho=0.01, period=3, num_inner_steps=4, num_warmup=2)
    run = run_method(q, method, 7, theta0=c.theta, w0=c.w, num_saved=8)
    moved = np.abs(np.diff(run.theta, axis=0)).max(axis=1) > 0
    assert moved.tolist() == [True, False, False, True, False, False, True]
    theta = c.theta
    for count in (2, 4):
        for _ in range(count):
            theta = theta - 0.01 * q.train_grad(theta, c.w)
        assert_allclose(run.theta[0 if count == 2 else 1], theta, rtol=1e-12)
    assert run.oracle_counts["train_grad"] == 2 + 3 * 4
    assert run.oracle_counts["per_sample_jvp"] == 7 + 1


def test_the_momentum_is_an_average() -> None:
    q, c = least_squares(), case(least_squares())
    method = methods.BOREP(eta=0.0, rho=0.0, rho_adjoint=0.0, momentum=0.8, num_warmup=0)
    state = method.init(q, MIRROR, c.theta, np.log(c.w), 0)
    field = q.hypergradient(c.theta, c.w)
    state = type(state)(**{**vars(state), "momentum": np.zeros(12)})
    for k in range(1, 6):
        state = method.step(q, MIRROR, state)
        assert_allclose(state.momentum, (1 - 0.8**k) * field, rtol=1e-10)


def test_theta_stays_in_the_ball() -> None:
    q = two_clusters()
    run = run_method(q, methods.BOREP(radius=0.3), 400)
    length = np.linalg.norm(run.theta, axis=-1)
    assert length.max() <= 0.3 * (1 + 1e-12)
    assert length[-1] > 0.3 * (1 - 1e-9)


def test_a_zero_momentum_moves_nothing() -> None:
    q = least_squares()
    X_val, theta = q.X_val, np.ones(3)
    solved = LeastSquares(q.X, q.y, np.round(X_val), np.round(X_val) @ theta, ridge=0.1)
    method = methods.BOREP(rho=0.0, num_warmup=0)
    run = run_method(solved, method, 5, theta0=theta)
    assert run.status is Status.ok, run.message
    assert_allclose(run.w, 1 / 12, rtol=1e-13)


def test_sigmoid_weights_are_not_centred() -> None:
    """A constant field moves sigmoid weights; the norm is that of m itself."""
    q, c = least_squares(), case(least_squares())
    w = np.full(12, 1 / 12)
    method = methods.BOREP(eta=0.1, num_warmup=0, momentum=0.0)
    geometry = geometries.Sigmoid()
    state = method.init(q, geometry, c.theta, geometry.start(np.log(w)), 0)
    field = q.hypergradient(c.theta, w)
    unit = field / np.abs(field).max()
    expected = geometry.step(state.outer, unit, 0.1)
    assert_allclose(method.step(q, geometry, state).outer, expected, rtol=1e-10)


def test_direction_is_the_hypergradient() -> None:
    q, c = softmax(), case(softmax())
    got = methods.BOREP().direction(q, c.theta, c.w)
    H = q.hessian(c.theta, c.w)
    expected = -q.per_sample_grads(c.theta) @ np.linalg.solve(H, q.val_grad(c.theta))
    assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@refusals(
    Refusals(
        momentum=(lambda: methods.BOREP(momentum=1.0), ValueError, "`momentum` must be < 1"),
        norm=(lambda: methods.BOREP(norm=1.0), ValueError, "`norm` must be math.inf, 2 or None"),
        decay=(lambda: methods.BOREP(decay=-0.5), ValueError, "`decay` must be >= 0"),
        period=(lambda: methods.BOREP(period=0), ValueError, "`period` must be >= 1"),
        inner=(lambda: methods.BOREP(num_inner_steps=0), ValueError, "`num_inner_steps` must be"),
        radius=(lambda: methods.BOREP(radius=0.0), ValueError, "`radius` must be > 0"),
        batch=(lambda: methods.BOREP(batch_size=0), ValueError, "`batch_size` must be >= 1"),
    )
)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
