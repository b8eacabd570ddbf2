"""Reverse, truncated and forward mode against differences of the unrolled objective."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import geometries, methods, run_method

from ..cases import CASES, Case, case, central_difference, least_squares, softmax, two_clusters
from .orders import both_updates

every = pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())


def unrolled_loss(c: Case, rho: float, num_steps: int, w: np.ndarray) -> np.ndarray:
    """Return F(theta_T) after inner steps from c.theta, written out again."""
    theta = c.theta
    for _ in range(num_steps):
        theta = theta - rho * c.problem.train_grad(theta, w)
    return c.problem.val_loss(theta)


@every
@pytest.mark.parametrize("T", [1, 2, 7, 50])
def test_reverse_mode_is_the_derivative_of_the_unrolled_loss(c: Case, T: int) -> None:
    expected = central_difference(lambda w: unrolled_loss(c, 0.05, T, w), c.w)
    got = methods.ReverseMode(rho=0.05, num_inner_steps=T).direction(c.problem, c.theta, c.w)
    # central differences with step 1e-6: about 1e-10 of F
    assert_allclose(got, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max() + 1e-9)


@every
@pytest.mark.parametrize("T", [1, 3, 20])
def test_forward_mode_equals_reverse_mode(c: Case, T: int) -> None:
    reverse = methods.ReverseMode(rho=0.05, num_inner_steps=T)
    forward = methods.ForwardMode(rho=0.05, num_inner_steps=T)
    expected = reverse.direction(c.problem, c.theta, c.w)
    assert_allclose(forward.direction(c.problem, c.theta, c.w), expected, rtol=1e-11, atol=1e-14)


@every
def test_keeping_all_steps_is_reverse_mode_and_each_step_adds_its_term(c: Case) -> None:
    q, rho, T = c.problem, 0.05, 6
    full = methods.ReverseMode(rho=rho, num_inner_steps=T).direction(q, c.theta, c.w)
    fields = [
        methods.TruncatedReverse(rho=rho, num_inner_steps=T, num_kept=K).direction(q, c.theta, c.w)
        for K in range(1, T + 1)
    ]
    assert_allclose(fields[-1], full, rtol=1e-12, atol=1e-15)
    thetas = [c.theta]
    for _ in range(T):
        thetas.append(thetas[-1] - rho * q.train_grad(thetas[-1], c.w))
    a = q.val_grad(thetas[T])
    for K in range(1, T + 1):
        term = -rho * q.per_sample_jvp(thetas[T - K], a)
        before = fields[K - 2] if K > 1 else 0.0
        assert_allclose(fields[K - 1] - before, term, rtol=1e-9, atol=1e-13)
        a = a - rho * q.hvp(thetas[T - K], c.w, a)


@pytest.mark.parametrize("make", [least_squares, softmax])
@pytest.mark.parametrize("K", [1, 5, 30])
def test_truncated_reverse_from_theta_star_is_the_neumann_series(make, K: int) -> None:
    q = make()
    w = case(q).w
    theta = q.theta_star(w)
    expected = methods.Neumann(rho=0.05, num_terms=K).direction(q, theta, w)
    for T in (K, K + 3):
        method = methods.TruncatedReverse(rho=0.05, num_inner_steps=T, num_kept=K)
        assert_allclose(method.direction(q, theta, w), expected, rtol=1e-9, atol=1e-12)


def test_one_step_is_one_step_of_all_of_them() -> None:
    q, c, rho = softmax(), case(softmax()), 0.07
    expected = rho * methods.OneStep(rho=rho).direction(q, c.theta, c.w)
    for method in (
        methods.ReverseMode(rho=rho, num_inner_steps=1),
        methods.ForwardMode(rho=rho, num_inner_steps=1),
        methods.TruncatedReverse(rho=rho, num_inner_steps=1, num_kept=1),
    ):
        assert_allclose(method.direction(q, c.theta, c.w), expected, rtol=1e-12)


def test_many_steps_give_the_exact_gradient_at_the_predicted_rate() -> None:
    """The error falls like (1 - rho mu)^T, with a factor that grows at most like T."""
    q = least_squares()
    c = case(q)
    mu = np.linalg.eigvalsh(q.hessian(c.theta, c.w)).min()
    exact, rho = q.outer_grad(c.w), 0.05

    def error(T: int) -> float:
        field = methods.ReverseMode(rho=rho, num_inner_steps=T).direction(q, c.theta, c.w)
        return float(np.abs(field - exact).max() / np.abs(exact).max())

    ratio = error(1200) / error(600) / (1 - rho * mu) ** 600
    assert 0.98 < ratio < 2.02
    assert error(1200) < 1e-3


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
def test_two_outer_steps_in_each_order(order: str, cold: bool) -> None:
    q, rho, eta, T = least_squares(), 0.05, 0.7, 3
    c = case(q)
    method = methods.ReverseMode(rho=rho, eta=eta, num_inner_steps=T, order=order, cold_start=cold)
    run = run_method(q, method, 2, theta0=c.theta, w0=c.w, num_saved=3)
    theta, w = c.theta, c.w

    def inner(theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        theta = c.theta if cold else theta
        for _ in range(T):
            theta = theta - rho * q.train_grad(theta, w)
        return theta

    def outer(theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        start = Case(q, c.theta if cold else theta, w)
        new = w * np.exp(-eta * central_difference(lambda u: unrolled_loss(start, rho, T, u), w))
        return new / new.sum()

    for k in range(2):
        theta, w = both_updates(order, inner, outer, theta, w)
        assert_allclose(run.theta[k + 1], theta, rtol=1e-8)
        assert_allclose(run.w[k + 1], w, rtol=1e-8)  # differences of F: about 1e-10


def test_forward_and_reverse_make_the_same_run() -> None:
    q = two_clusters()
    knobs = {"rho": 0.05, "eta": 0.1, "num_inner_steps": 4}
    a = run_method(q, methods.ReverseMode(**knobs), 60)
    b = run_method(q, methods.ForwardMode(**knobs), 60)
    assert_allclose(a.w, b.w, rtol=1e-9)
    assert_allclose(a.theta, b.theta, rtol=1e-9)
    short = methods.TruncatedReverse(num_kept=2, **knobs)
    assert np.abs(run_method(q, short, 60).w[-1] - a.w[-1]).max() > 1e-4


def test_oracle_counts_of_the_unrolled_methods() -> None:
    q, T, N = least_squares(), 6, 5
    run = run_method(q, methods.ReverseMode(num_inner_steps=T), N)
    expected = {"train_grad": T, "hvp": T - 1, "per_sample_jvp": T, "val_grad": 1}
    assert run.oracle_counts == {name: N * count for name, count in expected.items()}
    run = run_method(q, methods.TruncatedReverse(num_inner_steps=T, num_kept=2), N)
    expected = {"train_grad": T, "hvp": 1, "per_sample_jvp": 2, "val_grad": 1}
    assert run.oracle_counts == {name: N * count for name, count in expected.items()}
    run = run_method(q, methods.ForwardMode(num_inner_steps=T), N)
    n, p = q.num_samples, q.num_params  # vectors of a call
    expected = {"train_grad": T, "hvp": T * n, "per_sample_jvp": T * p, "val_grad": 1}
    assert run.oracle_counts == {name: N * count for name, count in expected.items()}


# ---------------------------------------------------------------------- real time
@pytest.mark.parametrize("make", [least_squares, softmax])
def test_tangents_in_real_time_tend_to_the_response_of_theta(make) -> None:
    q = make()
    c, geometry = case(q), geometries.Mirror()
    method = methods.RealTimeForward(rho=0.2, eta=0.0)
    state = method.init(q, geometry, c.theta, np.log(c.w), 0)
    for _ in range(1500):
        state = method.step(q, geometry, state)
    H, J = q.hessian(state.theta, c.w), q.per_sample_grads(state.theta).T
    assert_allclose(state.theta, q.theta_star(c.w), rtol=1e-8, atol=1e-9)
    assert_allclose(state.tangents.T, -np.linalg.solve(H, J), rtol=1e-7, atol=1e-9)
    assert_allclose(
        state.tangents @ q.val_grad(state.theta),
        method.direction(q, state.theta, c.w),
        rtol=1e-7,
        atol=1e-9,
    )


@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
def test_three_steps_in_real_time(order: str) -> None:
    q, rho, eta = least_squares(), 0.05, 0.7
    c = case(q)
    run = run_method(
        q, methods.RealTimeForward(rho=rho, eta=eta, order=order), 3, theta0=c.theta, w0=c.w
    )
    theta, w, Z = c.theta, c.w, np.zeros((3, 12))

    def inner() -> tuple[np.ndarray, np.ndarray]:
        J = (q.X * (q.X @ theta - q.y)[:, None]).T
        H = q.X.T @ (w[:, None] * q.X) + q.ridge * np.eye(3)
        return theta - rho * (J @ w + q.ridge * theta), Z - rho * (H @ Z + J)

    def outer() -> np.ndarray:
        new = w * np.exp(-eta * Z.T @ q.val_grad(theta))
        return new / new.sum()

    for k in range(3):
        if order == "theta_first":
            theta, Z = inner()
            w = outer()
        elif order == "w_first":
            w = outer()
            theta, Z = inner()
        else:
            (theta, Z), w = inner(), outer()
        assert_allclose(run.theta[k + 1], theta, rtol=1e-11)
        assert_allclose(run.w[k + 1], w, rtol=1e-11)


def test_refusals_of_the_unrolled_methods() -> None:
    with pytest.raises(ValueError, match=r"`num_inner_steps` must be >= 1; got 0"):
        methods.ReverseMode(num_inner_steps=0)
    with pytest.raises(ValueError, match=r"`num_kept` must be >= 1; got 0"):
        methods.TruncatedReverse(num_kept=0)
    with pytest.raises(ValueError, match=r"`num_kept` must be at most `num_inner_steps` \(3\)"):
        methods.TruncatedReverse(num_inner_steps=3, num_kept=4)
    with pytest.raises(TypeError, match=r"`cold_start` must be True or False; got 1"):
        methods.ForwardMode(cold_start=1)
    with pytest.raises(ValueError, match=r"`rho` must be >= 0"):
        methods.RealTimeForward(rho=-1.0)
