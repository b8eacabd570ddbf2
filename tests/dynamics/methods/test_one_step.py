"""Methods that look one step ahead: OneStep and LearningToReweight."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, Status, geometries, methods, run_method

from ..cases import CASES, Case, case, central_difference, least_squares, softmax, two_clusters
from .orders import both_updates

every = pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
ORDERS = pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])


def look_ahead(c: Case, rho: float, w: np.ndarray) -> np.ndarray:
    """Return F after one inner step from c.theta."""
    return c.problem.val_loss(c.theta - rho * c.problem.train_grad(c.theta, w))


@every
def test_rho_times_the_field_is_the_derivative_of_the_look_ahead(c: Case) -> None:
    rho = 0.07
    expected = central_difference(lambda w: look_ahead(c, rho, w), c.w)
    got = rho * methods.OneStep(rho=rho).direction(c.problem, c.theta, c.w)
    assert_allclose(got, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max() + 1e-9)


@ORDERS
def test_steps_of_one_step_in_each_order(order: str) -> None:
    q, rho, eta = softmax(), 0.3, 0.7
    c = case(q)
    run = run_method(q, methods.OneStep(rho=rho, eta=eta, order=order), 3, theta0=c.theta, w0=c.w)
    theta, w = c.theta, c.w

    def inner(theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        return theta - rho * q.train_grad(theta, w)

    def outer(theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        new = w * np.exp(eta * q.per_sample_jvp(theta, q.val_grad(inner(theta, w))))
        return new / new.sum()

    for k in range(3):
        theta, w = both_updates(order, inner, outer, theta, w)
        assert_allclose(run.theta[k + 1], theta, rtol=1e-10)
        assert_allclose(run.w[k + 1], w, rtol=1e-10)


def test_the_simultaneous_order_shares_the_inner_gradient() -> None:
    counts = {
        order: run_method(least_squares(), methods.OneStep(order=order), 10).oracle_counts
        for order in ("simultaneous", "w_first")
    }
    assert counts["simultaneous"]["train_grad"] == 10
    assert counts["w_first"]["train_grad"] == 20


def test_at_frozen_theta_and_small_rho_the_weights_go_to_one_sample() -> None:
    q, c = least_squares(), case(least_squares())
    method = methods.OneStep(rho=1e-9, eta=1.0)
    run = run_method(q, method, 3000, theta0=c.theta)
    best = np.argmax(q.per_sample_jvp(c.theta, q.val_grad(c.theta)))
    assert run.w[-1][best] > 1 - 1e-9


def test_with_any_rho_the_frozen_flow_descends_a_convex_function() -> None:
    q, c, rho = least_squares(), case(least_squares()), 0.5
    method, mirror = methods.OneStep(rho=rho), geometries.Mirror()
    log_w, values = np.log(c.w), []
    for _ in range(200):
        w = np.exp(log_w)
        values.append(look_ahead(Case(q, c.theta, w), rho, w))
        log_w = mirror.step(log_w, method.direction(q, c.theta, w), 0.02)
    assert (np.diff(values) < 0).all()


# ---------------------------------------------------------------------- learning to reweight
@every
def test_u_is_minus_the_derivative_of_the_look_ahead_at_zero_weights(c: Case) -> None:
    rho = 0.07
    zero = np.zeros(c.problem.num_samples)
    expected = central_difference(lambda e: look_ahead(c, rho, e), zero)
    got = rho * methods.LearningToReweight(rho=rho).direction(c.problem, c.theta, c.w)
    assert_allclose(got, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max() + 1e-9)
    reverse = methods.ReverseMode(rho=rho, num_inner_steps=1).direction(c.problem, c.theta, zero)
    assert_allclose(got, reverse, rtol=1e-12)


def test_without_ridge_the_weights_do_not_depend_on_rho() -> None:
    q = least_squares(ridge=0.0)
    c = case(q)
    small, large = (
        run_method(q, methods.LearningToReweight(rho=rho), 1, theta0=c.theta).w[-1]
        for rho in (1e-4, 0.3)
    )
    assert_allclose(small, large, rtol=1e-12)
    ridged = least_squares(ridge=0.5)
    a, b = (
        run_method(ridged, methods.LearningToReweight(rho=rho), 1, theta0=c.theta).w[-1]
        for rho in (1e-4, 0.3)
    )
    assert np.abs(a - b).max() > 1e-4


@ORDERS
def test_steps_of_learning_to_reweight_in_each_order(order: str) -> None:
    q, rho, decay = least_squares(), 0.1, 0.5
    c = case(q)
    method = methods.LearningToReweight(rho=rho, decay=decay, order=order)
    run = run_method(q, method, 4, theta0=c.theta, w0=c.w)
    theta, w = c.theta, c.w
    for k in range(4):
        step = rho / np.sqrt(1 + decay * k)

        def inner(theta: np.ndarray, w: np.ndarray, step: float = step) -> np.ndarray:
            J = (q.X * (q.X @ theta - q.y)[:, None]).T
            return theta - step * (J @ w + q.ridge * theta)

        def outer(theta: np.ndarray, step: float = step) -> np.ndarray:
            u = q.per_sample_grads(theta) @ q.val_grad(theta - step * q.ridge * theta)
            return np.maximum(u, 0) / np.maximum(u, 0).sum()

        if order == "theta_first":
            theta = inner(theta, w)
            w = outer(theta)
        elif order == "w_first":
            w = outer(theta)
            theta = inner(theta, w)
        else:
            theta, w = inner(theta, w), outer(theta)
        assert_allclose(run.theta[k + 1], theta, rtol=1e-10)
        assert_allclose(run.w[k + 1], w, rtol=1e-10, atol=1e-15)


def test_where_no_sample_helps_theta_moves_by_the_ridge_alone() -> None:
    q = LeastSquares([[1.0]], [2.0], [[1.0]], [-5.0], ridge=0.3)  # they pull in opposite directions
    run = run_method(q, methods.LearningToReweight(rho=0.1, decay=0.0), 3)
    assert_allclose(run.theta[1:], run.theta[:-1] * (1 - 0.1 * 0.3), rtol=1e-12)
    assert_allclose(run.w, 1.0)


def test_without_ridge_the_validation_loss_falls_to_first_order() -> None:
    """F is quadratic: it rises at most by the second-order term of a step."""
    q, rho = two_clusters(ridge=0.0), 1e-3
    run = run_method(q, methods.LearningToReweight(rho=rho, decay=0.0), 1500, num_saved=1501)
    longest = np.linalg.norm(q.per_sample_grads(run.theta[:-1]), axis=-1).max(axis=-1)
    curvature = np.linalg.eigvalsh(q.val_hessian).max()
    assert (np.diff(q.val_loss(run.theta)) <= 0.5 * curvature * (rho * longest) ** 2).all()
    assert q.val_loss(run.theta[-1]) < 0.1 * q.val_loss(run.theta[0])


def test_steps_that_shrink_let_theta_settle() -> None:
    q = two_clusters()
    jitter = {}
    for decay in (0.0, 1.0):
        method = methods.LearningToReweight(decay=decay)
        tail = run_method(q, method, 3000, num_saved=3001).theta[-200:]
        jitter[decay] = tail.std(axis=0).max()
    assert jitter[1.0] < 0.3 * jitter[0.0]


def test_batches_of_learning_to_reweight() -> None:
    q = two_clusters()
    method = methods.LearningToReweight(rho=0.05, batch_size=16)
    a, b, c = (run_method(q, method, 20, seed=seed) for seed in (3, 3, 4))
    assert (a.w == b.w).all()
    assert np.abs(a.w[-1] - c.w[-1]).max() > 1e-6
    assert ((a.w[1:] > 0).sum(axis=-1) <= 16).all()
    assert_allclose(a.w.sum(axis=-1), 1.0, rtol=1e-12)
    whole = run_method(q, methods.LearningToReweight(rho=0.05, batch_size=60), 20)
    assert_allclose(whole.w, run_method(q, methods.LearningToReweight(rho=0.05), 20).w, atol=1e-12)
    lagged = methods.LearningToReweight(rho=0.05, batch_size=16, order="simultaneous")
    assert run_method(q, lagged, 20).status is Status.ok


def test_a_batch_is_judged_by_the_whole_validation_set() -> None:
    q, rho = two_clusters(), 0.05
    theta = np.array([0.3, -0.2])
    run = run_method(q, methods.LearningToReweight(rho=rho, batch_size=16), 1, theta0=theta)
    u = q.per_sample_grads(theta) @ q.val_grad(theta * (1 - rho * q.ridge))
    w = run.w[-1]
    chosen = w > 0
    assert_allclose(w[chosen], u[chosen] / u[chosen].sum(), rtol=1e-10)


def test_batches_of_one_step_are_unbiased() -> None:
    """The mean over seeds of one mini-batch step equals the full step, within 5 standard errors.

    At rho -> 0 the look-ahead is at theta, and the field is bilinear in the two batches.
    """
    q, N = least_squares(n=12), 600
    kwargs = {"theta0": np.ones(3), "num_saved": 2}
    full = run_method(q, methods.OneStep(rho=1e-7, eta=1e-6), 1, **kwargs)
    method = methods.OneStep(rho=1e-7, eta=1e-6, batch_size=4)
    runs = [run_method(q, method, 1, seed=seed, **kwargs) for seed in range(N)]
    for name in ("theta", "log_w"):
        moves = np.array([getattr(run, name)[1] - getattr(run, name)[0] for run in runs])
        expected = getattr(full, name)[1] - getattr(full, name)[0]
        error = np.abs(moves.mean(axis=0) - expected)
        assert (error <= 5 * moves.std(axis=0) / np.sqrt(N) + 1e-10).all()


def test_refusals_of_the_one_step_methods() -> None:
    for kind in (methods.OneStep, methods.LearningToReweight, methods.MetaWeightNet):
        with pytest.raises(ValueError, match=r"`batch_size` must be >= 1; got 0"):
            kind(batch_size=0)
        with pytest.raises(ValueError, match=r"`rho` must be >= 0; got -1\.0"):
            kind(rho=-1.0)
    with pytest.raises(ValueError, match=r"`decay` must be >= 0; got -0\.5"):
        methods.LearningToReweight(decay=-0.5)
    with pytest.raises(
        ValueError,
        match=r"`geometry` must be one of geometries\.ClippedNormalised for "
        r"methods\.LearningToReweight; got Mirror\(\)",
    ):
        run_method(least_squares(), methods.LearningToReweight(), 1, geometry=geometries.Mirror())
