"""Penalty and augmented Lagrangian against dense algebra, their own recursions and each other."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, geometries, methods, run_method

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


def theta_gamma(q: LeastSquares, w: np.ndarray, gamma: float) -> np.ndarray:
    """Solve ``(Hv + gamma H^2) theta = b_v + gamma H b``."""
    H, b = q.hessian(w, w), q.X.T @ (w * q.y)
    return np.linalg.solve(q.val_hessian + gamma * H @ H, q.val_target + gamma * H @ b)


def advance(method, q, state, num_steps: int):
    for _ in range(num_steps):
        state = method.step(q, MIRROR, state)
    return state


@pytest.mark.parametrize("gamma", [0.3, 20.0, 1e4])
def test_direction_is_psi_at_the_penalised_point(gamma: float) -> None:
    q, c = least_squares(), case(least_squares())
    expected = q.hypergradient(theta_gamma(q, c.w, gamma), c.w)
    got = methods.Penalty(gamma=gamma).direction(q, c.theta, c.w)
    assert_allclose(got, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
def test_error_of_the_direction_is_of_order_one_over_gamma(c: Case) -> None:
    exact = c.problem.outer_grad(c.w)
    errors = [
        np.abs(methods.Penalty(gamma=g).direction(c.problem, c.theta, c.w) - exact).max() * g
        for g in (1e3, 1e4)
    ]
    assert errors[0] > 1e-3
    assert_allclose(errors[1], errors[0], rtol=0.06)  # the next order is 10/gamma of the first


def test_direction_is_the_gradient_of_the_penalised_value() -> None:
    """The envelope: differences of min F + gamma/2 |grad G|^2 in w."""
    q, c, gamma = least_squares(), case(least_squares()), 7.0

    def value(w: np.ndarray) -> np.ndarray:
        theta = theta_gamma(q, w, gamma)
        return q.val_loss(theta) + gamma / 2 * (q.train_grad(theta, w) ** 2).sum()

    got = methods.Penalty(gamma=gamma).direction(q, c.theta, c.w)
    assert_allclose(got, central_difference(value, c.w), rtol=1e-6, atol=1e-7)


def test_value_of_the_penalty_rises_to_h() -> None:
    q, c = least_squares(), case(least_squares())
    h, adjoint = q.outer_loss(c.w), q.adjoint(q.theta_star(c.w), c.w)
    values = []
    for gamma in (10.0, 100.0, 1e3):
        theta = theta_gamma(q, c.w, gamma)
        values.append(q.val_loss(theta) + gamma / 2 * (q.train_grad(theta, c.w) ** 2).sum())
    assert (np.diff(values) > 0).all()
    assert_allclose((h - values[-1]) * 2 * 1e3, (adjoint**2).sum(), rtol=0.05)  # O(1/gamma)


def test_one_step_of_the_penalty() -> None:
    q, c = least_squares(), case(least_squares())
    rho, eta, gamma = 1e-3, 0.3, 5.0
    method = methods.Penalty(
        rho=rho, eta=eta, gamma=gamma, num_inner_steps=2, num_warmup=0, order="theta_first"
    )
    run = run_method(q, method, 1, theta0=c.theta, w0=c.w)
    H, b, theta = q.hessian(c.theta, c.w), q.X.T @ (c.w * q.y), c.theta
    for _ in range(2):
        slope = q.val_hessian @ theta - q.val_target + gamma * H @ (H @ theta - b)
        theta = theta - rho * slope
    field = gamma * (q.X @ theta - q.y) * (q.X @ (H @ theta - b))
    w = c.w * np.exp(-eta * field)
    assert_allclose(run.theta[-1], theta, rtol=1e-12)
    assert_allclose(run.w[-1], w / w.sum(), rtol=1e-10)


def test_inner_steps_and_warmup_reach_the_penalised_point() -> None:
    q, c = least_squares(p=2, ridge=1.0), case(least_squares(p=2, ridge=1.0))
    kept = methods.Penalty(gamma=2.0, eta=0.0, num_warmup=0, num_inner_steps=1)
    many = methods.Penalty(gamma=2.0, eta=0.0, num_warmup=0, num_inner_steps=200)
    warm = methods.Penalty(gamma=2.0, eta=0.0, num_warmup=4000, num_inner_steps=1)
    expected = theta_gamma(q, c.w, 2.0)
    starts = [m.init(q, MIRROR, c.theta, np.log(c.w), 0) for m in (kept, many, warm)]
    assert_allclose(starts[0].theta, c.theta)
    assert_allclose(advance(many, q, starts[1], 20).theta, expected, rtol=1e-6)
    assert_allclose(starts[2].theta, expected, rtol=1e-6)


def test_the_penalty_grows_when_theta_has_settled() -> None:
    q = least_squares(ridge=0.5)
    method = methods.Penalty(gamma=1.0, growth=1.5, goal=0.1, num_inner_steps=200, eta=1e-3)
    w = np.full(12, 1 / 12)
    state = method.init(q, MIRROR, q.theta_star(w), np.log(w), 0)
    gammas = [1.0]
    for _ in range(12):
        state = method.step(q, MIRROR, state)
        gammas.append(state.gamma.item())
    growths = round(np.log(gammas[-1]) / np.log(1.5))
    assert set(np.round(np.array(gammas[1:]) / gammas[:-1], 12)) == {1.0, 1.5} or growths == 12
    assert growths >= 3
    assert_allclose(state.goal, 0.1 * 0.9**growths)
    constant = methods.Penalty(gamma=1.0, goal=1e9, num_inner_steps=1)
    state = advance(constant, q, constant.init(q, MIRROR, state.theta, np.log(w), 0), 3)
    assert state.gamma.item() == 1.0


def test_at_frozen_theta_the_weights_of_the_penalty_never_see_F() -> None:
    q, c = least_squares(), case(least_squares())
    other = LeastSquares(q.X, q.y, q.X_val + 1, q.y_val - 2, ridge=q.ridge)
    method = methods.Penalty(rho=0.0, eta=0.01, gamma=5.0, num_warmup=0)
    runs = [run_method(p, method, 400, theta0=c.theta) for p in (q, other)]
    assert_allclose(runs[0].w, runs[1].w, rtol=1e-13)
    size = (q.train_grad(c.theta, runs[0].w) ** 2).sum(axis=-1)
    assert (np.diff(size) <= 1e-12).all()


# ---------------------------------------------------------------------- augmented Lagrangian
@pytest.mark.parametrize("mu", [0.2, 2.0])
def test_the_multiplier_tends_to_the_adjoint_for_any_mu(mu: float) -> None:
    """At rest nu = H^-1 grad F, and the field is grad h: mu does not enter."""
    small = {"n": 8, "ridge": 1.0}
    for q in (least_squares(p=2, **small), softmax(f=2, C=2, **small)):
        w = case(q).w
        method = methods.AugmentedLagrangian(mu=mu, eta=0.0)
        state = advance(method, q, method.init(q, MIRROR, case(q).theta, np.log(w), 0), 600)
        adjoint = q.adjoint(q.theta_star(w), w)
        # what is left after 3000 inner steps is the slowest direction
        assert_allclose(state.multiplier, adjoint, rtol=1e-4, atol=1e-4)
        field = -q.per_sample_jvp(state.theta, state.multiplier - mu * q.train_grad(state.theta, w))
        assert_allclose(field, q.outer_grad(w), atol=1e-4)
        assert_allclose(method.direction(q, case(q).theta, w), q.outer_grad(w), atol=1e-9)


def test_recursion_of_the_multiplier() -> None:
    """With theta solved, e+ = (I + mu H Hv^-1 H)^-1 e."""
    q = least_squares(n=20, p=2, m=30, ridge=1.0)
    w, mu = case(q).w, 0.7
    method = methods.AugmentedLagrangian(mu=mu, eta=0.0, num_inner_steps=500, num_warmup=0)
    state = method.init(q, MIRROR, q.theta_star(w), np.log(w), 0)
    H, exact = q.hessian(w, w), q.adjoint(q.theta_star(w), w)
    matrix = np.linalg.inv(np.eye(2) + mu * H @ np.linalg.inv(q.val_hessian) @ H)
    error = state.multiplier - exact
    for _ in range(4):
        state = method.step(q, MIRROR, state)
        error = matrix @ error
        assert_allclose(state.multiplier - exact, error, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
def test_with_a_frozen_multiplier_it_is_the_penalty_bit_for_bit(order: str) -> None:
    for q in (least_squares(), softmax()):
        knobs = {"eta": 0.02, "num_inner_steps": 3, "num_warmup": 7, "order": order}
        a = run_method(q, methods.AugmentedLagrangian(mu=4.0, kappa=0.0, **knobs), 30)
        b = run_method(q, methods.Penalty(gamma=4.0, **knobs), 30)
        assert (a.theta == b.theta).all()
        assert (a.log_w == b.log_w).all()
        frozen = methods.AugmentedLagrangian(mu=4.0, kappa=0.0)
        c = case(q)
        same = methods.Penalty(gamma=4.0).direction(q, c.theta, c.w)
        assert (frozen.direction(q, c.theta, c.w) == same).all()


def test_knobs_of_the_lagrangian_off_their_defaults() -> None:
    q, c = least_squares(), case(least_squares())
    L = q.constants()[1]
    rho, kappa, mu = 1e-3, 0.2, 0.9
    method = methods.AugmentedLagrangian(rho=rho, kappa=kappa, mu=mu, num_warmup=2, eta=0.0)
    state = method.init(q, MIRROR, c.theta, np.log(c.w), 0)
    theta, nu = c.theta, np.zeros(3)
    for _ in range(2):
        pull = nu - mu * q.train_grad(theta, c.w)
        theta = theta - rho * (q.val_grad(theta) - q.hvp(theta, c.w, pull))
        nu = nu - kappa * q.train_grad(theta, c.w)
    assert_allclose(state.theta, theta, rtol=1e-12)
    assert_allclose(state.multiplier, nu, rtol=1e-12)
    default = run_method(q, methods.AugmentedLagrangian(eta=0.1), 10)
    spelled = methods.AugmentedLagrangian(mu=10 / L, kappa=10 / L, rho=1 / (L + 10 * L), eta=0.1)
    assert_allclose(default.theta, run_method(q, spelled, 10).theta, rtol=1e-12)


@refusals(
    Refusals(
        gamma=(lambda: methods.Penalty(gamma=0.0), ValueError, "`gamma` must be > 0; got 0.0"),
        gammas=(lambda: methods.Penalty(gamma=np.array([1, -1.0])), ValueError, "`gamma` must"),
        growth=(lambda: methods.Penalty(growth=0.9), ValueError, "`growth` must be >= 1; got 0.9"),
        goal=(lambda: methods.Penalty(goal=0), ValueError, "`goal` must be > 0"),
        rho=(lambda: methods.Penalty(rho=-1.0), ValueError, "`rho` must be >= 0"),
        inner=(lambda: methods.Penalty(num_inner_steps=0), ValueError, "`num_inner_steps` must"),
        warmup=(lambda: methods.Penalty(num_warmup=-1), ValueError, "`num_warmup` must be >= 0"),
        mu=(lambda: methods.AugmentedLagrangian(mu=-1.0), ValueError, "`mu` must be >= 0"),
        kappa=(lambda: methods.AugmentedLagrangian(kappa=-1.0), ValueError, "`kappa` must be >="),
    )
)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
