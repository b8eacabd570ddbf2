"""The proximal value gap: its limits are other methods, and its constrained form solves a ball."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import geometries, methods, run_method

from ..cases import (
    CASES,
    Case,
    Refusals,
    case,
    central_difference,
    least_squares,
    refusals,
    softmax,
)

MIRROR = geometries.Mirror()
every = pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())


def gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


@every
def test_infinite_proximal_parameter_is_f2sa(c: Case) -> None:
    expected = methods.F2SA(sigma=0.05).direction(c.problem, c.theta, c.w)
    errors = [
        gap(methods.LVHBA(sigma=0.05, gamma=g).direction(c.problem, c.theta, c.w), expected) * g
        for g in (1e3, 1e4)
    ]
    assert errors[0] > 1e-3
    assert_allclose(errors[1], errors[0], rtol=0.1)  # first order in 1/gamma


@every
def test_vanishing_proximal_parameter_is_the_penalty(c: Case) -> None:
    expected = methods.Penalty(gamma=20.0).direction(c.problem, c.theta, c.w)
    errors = []
    for g in (1e-2, 1e-3):
        method = methods.LVHBA(sigma=g / 20.0, gamma=g)
        errors.append(gap(method.direction(c.problem, c.theta, c.w), expected) / g)
    assert errors[0] > 1e-3
    assert_allclose(errors[1], errors[0], rtol=0.15)  # first order in gamma


@every
@pytest.mark.parametrize("gamma", [0.3, 30.0])
def test_the_direction_tends_to_the_hypergradient_for_any_gamma(c: Case, gamma: float) -> None:
    exact = c.problem.outer_grad(c.w)
    errors = [
        gap(methods.LVHBA(sigma=s, gamma=gamma).direction(c.problem, c.theta, c.w), exact) / s
        for s in (1e-4, 1e-5)
    ]
    assert errors[0] > 1e-2
    assert_allclose(errors[1], errors[0], rtol=0.1)


def test_identities_at_rest() -> None:
    """H (theta - u) = -sigma grad F and grad G(theta) = (H + 1/gamma)(theta - u)."""
    q, w, sigma, gamma = least_squares(), case(least_squares()).w, 0.05, 0.7
    method = methods.LVHBA(sigma=sigma, gamma=gamma, eta=0.0)
    state = method.init(q, MIRROR, q.theta_star(w), np.log(w), 0)
    for _ in range(3000):
        state = method.step(q, MIRROR, state)
    H, step = q.hessian(w, w), state.theta - state.other
    assert_allclose(H @ step, -sigma * q.val_grad(state.theta), rtol=1e-9)
    assert_allclose(q.train_grad(state.theta, w), H @ step + step / gamma, rtol=1e-9)
    field = (q.per_sample_losses(state.theta) - q.per_sample_losses(state.other)) / sigma
    assert_allclose(field, method.direction(q, state.theta, w), rtol=1e-8)


def test_points_of_a_softmax_run_tend_to_the_solved_ones() -> None:
    q = softmax(ridge=0.5)
    w, method = case(q).w, methods.LVHBA(sigma=0.05, gamma=3.0, eta=0.0)
    run = run_method(q, methods.LVHBA(sigma=0.05, gamma=3.0, eta=0.0, num_warmup=1500), 1, w0=w)
    state = method.init(q, MIRROR, run.theta[0], np.log(w), 0)
    for _ in range(1500):
        state = method.step(q, MIRROR, state)
    assert_allclose(state.theta, run.theta[0], rtol=1e-6)
    field = (q.per_sample_losses(state.theta) - q.per_sample_losses(state.other)) / 0.05
    assert_allclose(field, method.direction(q, case(q).theta, w), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.01, 1.0, 1e3])
def test_the_pair_has_the_double_eigenvalue_of_a_gradient_step(gamma: float) -> None:
    """Equal steps of theta and u: without F, (1 - rho H) twice, for any gamma."""
    q, w, rho = least_squares(p=2), case(least_squares(p=2)).w, 0.05
    method = methods.LVHBA(rho=rho, gamma=gamma, sigma=1e-300, eta=0.0)
    star = q.theta_star(w)

    def advance(pair: np.ndarray) -> np.ndarray:
        state = method.init(q, MIRROR, pair[:2], np.log(w), 0)
        state = type(state)(**{**vars(state), "other": pair[2:]})
        state = method.step(q, MIRROR, state)
        return np.concatenate([state.theta, state.other])

    jacobian = central_difference(advance, np.tile(star, 2), step=1e-3)
    expected = np.repeat(1 - rho * np.linalg.eigvalsh(q.hessian(w, w)), 2)
    coefficients = np.poly(expected)
    # the characteristic polynomial, since double eigenvalues are known to half the digits only
    assert_allclose(np.poly(jacobian), coefficients, rtol=1e-6, atol=1e-8 * (1 + 1 / gamma))


def test_one_step_and_the_schedule() -> None:
    q, c = least_squares(), case(least_squares())
    rho, eta, sigma, gamma = 0.02, 0.3, 0.2, 1.7
    method = methods.LVHBA(rho=rho, eta=eta, sigma=sigma, gamma=gamma, exponent=0.3)
    run = run_method(q, method, 3, theta0=c.theta, w0=c.w, num_saved=4)
    theta, u, w = c.theta, c.theta, c.w
    for k in range(3):
        s = sigma * (k + 1) ** -0.3
        field = (q.per_sample_losses(theta) - q.per_sample_losses(u)) / s
        slope = s * q.val_grad(theta) + q.train_grad(theta, w) - (theta - u) / gamma
        slope_u = q.train_grad(u, w) + (u - theta) / gamma
        theta, u = theta - rho * slope, u - rho * slope_u
        w = w * np.exp(-eta * field)
        w = w / w.sum()
        assert_allclose(run.theta[k + 1], theta, rtol=1e-12)
        assert_allclose(run.w[k + 1], w, rtol=1e-10)


# ---------------------------------------------------------------------- the norm ball
def in_ball(q, w: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """Return the minimiser of G in the ball and its multiplier, by bisection."""
    H, b, low, high = q.hessian(w, w), q.X.T @ (w * q.y), 0.0, 1e4
    if np.linalg.norm(np.linalg.solve(H, b)) <= radius:
        return np.linalg.solve(H, b), 0.0
    for _ in range(100):
        middle = (low + high) / 2
        theta = np.linalg.solve(H + middle * np.eye(b.size), b)
        low, high = (middle, high) if np.linalg.norm(theta) > radius else (low, middle)
    return theta, middle


@pytest.mark.parametrize(
    "knobs", [{}, {"rho_dual": 0.5, "gamma_dual": 20.0}, {"gamma": 5.0}], ids=str
)
@pytest.mark.parametrize("radius", [0.2, 50.0])
def test_the_constrained_points_tend_to_the_solution_in_the_ball(radius: float, knobs) -> None:
    q, c = least_squares(), case(least_squares())
    expected, multiplier = in_ball(q, c.w, radius)
    method = methods.LVHBA(sigma=1e-9, eta=0.0, radius=radius, **knobs)
    state = method.init(q, MIRROR, c.theta, np.log(c.w), 0)
    assert np.linalg.norm(state.theta) <= radius * (1 + 1e-12)
    for _ in range(4000):
        state = method.step(q, MIRROR, state)
    assert_allclose(state.theta, expected, atol=1e-6)
    assert_allclose(state.other, expected, atol=1e-6)
    assert_allclose(state.multiplier, multiplier, atol=1e-5)
    assert_allclose(state.lag, multiplier, atol=1e-5)


def test_the_constrained_direction_tends_to_the_constrained_gradient() -> None:
    q, c, radius = least_squares(), case(least_squares()), 0.2
    gradient = central_difference(lambda w: q.val_loss(in_ball(q, w, radius)[0]), c.w)
    errors = [
        gap(methods.LVHBA(sigma=s, radius=radius).direction(q, c.theta, c.w), gradient)
        for s in (1e-2, 1e-3)
    ]
    assert_allclose(errors[0] / errors[1], 10, rtol=0.2)  # first order in sigma
    wide = methods.LVHBA(sigma=1e-2, radius=1e3).direction(q, c.theta, c.w)
    assert_allclose(wide, methods.LVHBA(sigma=1e-2).direction(q, c.theta, c.w), atol=1e-8)


@refusals(
    Refusals(
        sigma=(lambda: methods.LVHBA(sigma=0.0), ValueError, "`sigma` must be > 0; got 0.0"),
        gamma=(lambda: methods.LVHBA(gamma=-2.0), ValueError, "`gamma` must be >= 0"),
        zero=(lambda: methods.LVHBA(gamma=0.0), ValueError, "`gamma` must be > 0; got 0.0"),
        exponent=(lambda: methods.LVHBA(exponent=0.5), ValueError, r"`exponent` must lie in \[0"),
        radius=(lambda: methods.LVHBA(radius=-1.0), ValueError, "`radius` must be > 0"),
        rho=(lambda: methods.LVHBA(rho_dual=0.0), ValueError, "`rho_dual` must be > 0"),
        dual=(lambda: methods.LVHBA(gamma_dual=0.0), ValueError, "`gamma_dual` must be > 0"),
    )
)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
