"""Vector fields and Jacobians, one choice of coordinates against another."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics.features import (
    TiltedSample,
    field_coefficients,
    num_features,
    quadratic_features,
    split_moments,
)
from warmflow.dynamics.flows import (
    Flow,
    FrozenReduced,
    FullExact,
    FullFrozen,
    FullJoint,
    ReducedExact,
    ReducedJoint,
)
from warmflow.dynamics.simplex import apply_metric

from .cases import central_difference, least_squares, softmax

ALPHA, BETA = 1.3, 2.1


def flows(seed: int = 0) -> dict[str, Flow]:
    rng = np.random.default_rng(seed)
    q, s, deficient = least_squares(), softmax(), least_squares(n=4, p=6, ridge=0.0)
    theta, theta_s = rng.normal(size=q.num_params), rng.normal(size=s.num_params)
    log_w, log_w_s = (np.log(rng.dirichlet(np.ones(k.num_samples))) for k in (q, s))
    log_w_d, theta_d = np.log(rng.dirichlet(np.ones(4))), rng.normal(size=6)
    return {
        "reduced joint": ReducedJoint(q, ALPHA, BETA, theta, log_w),
        "reduced joint, rank deficient": ReducedJoint(deficient, ALPHA, BETA, theta_d, log_w_d),
        "reduced exact": ReducedExact(q, BETA, log_w),
        "full joint": FullJoint(q, ALPHA, BETA, theta, log_w),
        "full exact": FullExact(q, BETA, log_w),
        "full frozen": FullFrozen(q, theta, BETA, log_w),
        "frozen": FrozenReduced(q, theta, BETA, log_w),
        "full frozen softmax": FullFrozen(s, theta_s, BETA, log_w_s),
        "frozen softmax": FrozenReduced(s, theta_s, BETA, log_w_s),
    }


@pytest.mark.parametrize("name", flows().keys())
def test_jacobians_against_central_differences(name: str) -> None:
    flow = flows()[name]
    assert flow.has_jacobian
    z = flow.initial + 0.1 * np.random.default_rng(1).normal(size=flow.initial.size)
    numeric = central_difference(flow.field, z)
    # Round-off of the differences: 1e-10 times the size of the field, up to 1e3 here.
    assert_allclose(flow.jacobian(z), numeric, rtol=1e-6, atol=1e-8 * np.abs(numeric).max())


def test_reduced_and_full_fields_move_the_same_weights() -> None:
    """d(log w)/dt agrees up to its normalisation, and theta' exactly, at a common state."""
    named, rng = flows(), np.random.default_rng(3)
    reduced, full = named["reduced joint"], named["full joint"]
    z = reduced.initial + 0.2 * rng.normal(size=reduced.initial.size)
    state = np.concatenate([reduced.theta(z), reduced.log_weights(z)])
    dz, dstate = reduced.field(z), full.field(state)
    assert_allclose(reduced.theta(dz), full.theta(dstate), rtol=1e-11)
    w = np.exp(reduced.log_weights(z))
    by_features = apply_metric(w, reduced.log_weight_velocity(dz))
    assert_allclose(by_features, w * full.log_weight_velocity(dstate), rtol=1e-9, atol=1e-12)


def test_the_full_field_is_the_definition() -> None:
    """theta' = -alpha grad G and w' = -beta P(w) Psi, with dense algebra."""
    flow = flows()["full joint"]
    q, z = flow.problem, flow.initial
    theta, w = flow.theta(z), np.exp(flow.log_weights(z))
    r = q.X @ theta - q.y
    H = q.X.T @ np.diag(w) @ q.X + q.ridge * np.eye(3)
    gradient = q.X_val.T @ (q.X_val @ theta - q.y_val) / q.num_val
    psi = -(q.X * r[:, None]) @ np.linalg.solve(H, gradient)
    P = np.diag(w) - np.outer(w, w)
    dz = flow.field(z)
    assert_allclose(dz[:3], -ALPHA * (q.X.T @ (w * r) + q.ridge * theta), rtol=1e-12)
    assert_allclose(w * dz[3:], -BETA * P @ psi, rtol=1e-10, atol=1e-14)


def test_the_frozen_flow_climbs_the_validation_gradient() -> None:
    """T4: d<grad F, u>/dt = beta grad F' H^{-1} grad F > 0, at any weights."""
    flow = flows()["frozen softmax"]
    q, rng = flow.problem, np.random.default_rng(0)
    theta = flow.theta(flow.initial)
    for _ in range(5):
        z = rng.normal(size=flow.initial.size)
        w = np.exp(flow.log_weights(z))
        g = q.val_grad(theta)
        rate = BETA * g @ np.linalg.solve(q.hessian(theta, w), g)
        assert_allclose(g @ flow.field(z), rate, rtol=1e-9)
        assert rate > 0


def test_rest_residual_is_zero_at_a_solved_point_and_sees_invaders() -> None:
    """At grad F = 0 with theta = theta_star everything rests; off it the duality gap shows."""
    q = least_squares(n=12, p=2)
    w = np.random.default_rng(0).dirichlet(np.ones(12))
    star = q.theta_star(w)
    solved = type(q)(q.X, q.y, np.eye(2), star, ridge=q.ridge)
    flow = FullJoint(solved, 1.0, 1.0, star, np.log(w))
    assert flow.rest_residual(flow.initial, flow.field(flow.initial)) < 1e-13
    other = FullJoint(q, 1.0, 1.0, star, np.log(w))
    psi = q.hypergradient(star, w)
    assert_allclose(
        other.rest_residual(other.initial, other.field(other.initial)),
        w @ psi - psi.min(),
        rtol=1e-9,
    )


def test_features_reproduce_field_and_moments() -> None:
    q, rng = least_squares(), np.random.default_rng(0)
    theta, v, w = rng.normal(size=3), rng.normal(size=3), rng.dirichlet(np.ones(12))
    phi = quadratic_features(q.X, q.y)
    assert phi.shape == (12, num_features(3))
    assert_allclose(phi @ field_coefficients(theta, v), q.per_sample_jvp(theta, v), rtol=1e-11)
    M, b = split_moments(w @ phi, 3)
    assert_allclose(M, q.X.T @ (w[:, None] * q.X), rtol=1e-12)
    assert_allclose(b, q.X.T @ (w * q.y), rtol=1e-12)
    stacked = field_coefficients(np.stack([theta, v])[:, None], v)
    assert stacked.shape == (2, 1, 9)
    assert_allclose(stacked[0, 0], field_coefficients(theta, v))


def test_covariance_is_the_derivative_of_the_tilted_moments() -> None:
    q, rng = least_squares(), np.random.default_rng(0)
    law = TiltedSample(quadratic_features(q.X, q.y), np.log(rng.dirichlet(np.ones(12))))
    U = 0.1 * rng.normal(size=9)
    mean, cov = law.moments_and_covariance(U)
    assert_allclose(mean, law.moments(U), rtol=1e-13)
    assert_allclose(mean, np.exp(law.log_weights(U)) @ law.features, rtol=1e-12)
    assert_allclose(cov, central_difference(law.moments, U), rtol=1e-6, atol=1e-8)


def test_tolerances_are_in_units_of_log_weights() -> None:
    """Features a million times larger get coordinates with a million times tighter tolerance."""
    q = least_squares()
    big = type(q)(1e3 * q.X, 1e3 * q.y, q.X_val, q.y_val)
    log_w = np.log(np.full(12, 1 / 12))
    ratio = ReducedExact(q, 1.0, log_w).tolerances(1.0) / ReducedExact(big, 1.0, log_w).tolerances(
        1.0
    )
    assert_allclose(ratio, 1e6, rtol=1e-9)
