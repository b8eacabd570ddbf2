"""F2SA and ScaleBiO: the value gap against exact gradients, differences and each other."""

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
    two_clusters,
)

MIRROR = geometries.Mirror()


@pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize(("central", "order"), [(False, 1), (True, 2)])
def test_error_of_the_direction(c: Case, central: bool, order: int) -> None:
    exact, errors = c.problem.outer_grad(c.w), []
    for sigma in (1e-2, 1e-3):
        method = methods.F2SA(sigma=sigma, central=central)
        got = method.direction(c.problem, c.theta, c.w)
        errors.append(np.abs(got - exact).max() / sigma**order)
    assert errors[0] > 1e-2
    # the next order is about 3 sigma of the first, here 4 %; two orders up for the central form
    assert_allclose(errors[1], errors[0], rtol=0.2 if order == 1 else 0.02)


def test_direction_is_the_gradient_of_psi_sigma() -> None:
    q, c, sigma = least_squares(), case(least_squares()), 0.3

    def value(w: np.ndarray) -> float:
        H, b = q.hessian(w, w), q.X.T @ (w * q.y)
        point = np.linalg.solve(sigma * q.val_hessian + H, sigma * q.val_target + b)
        u = np.linalg.solve(H, b)
        low = q.train_loss(u, w)
        return (sigma * q.val_loss(point) + q.train_loss(point, w) - low) / sigma

    got = methods.F2SA(sigma=sigma).direction(q, c.theta, c.w)
    assert_allclose(got, central_difference(value, c.w), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("radius", [0.2, 50.0])
def test_direction_with_a_constraint(radius: float) -> None:
    """In the ball theta_star(w) is the ridge solution whose multiplier fits the radius."""
    q, c = least_squares(), case(least_squares())

    def constrained(w: np.ndarray) -> np.ndarray:
        H, b = q.hessian(w, w), q.X.T @ (w * q.y)
        theta, low, high = np.linalg.solve(H, b), 0.0, 1e4
        for _ in range(200 if np.linalg.norm(theta) > radius else 0):
            middle = (low + high) / 2
            theta = np.linalg.solve(H + middle * np.eye(3), b)
            low, high = (middle, high) if np.linalg.norm(theta) > radius else (low, middle)
        return theta

    gradient = central_difference(lambda w: q.val_loss(constrained(w)), c.w)
    errors = [
        np.abs(methods.F2SA(sigma=s, radius=radius).direction(q, c.theta, c.w) - gradient).max()
        for s in (1e-2, 1e-3)
    ]
    assert_allclose(errors[0] / errors[1], 10, rtol=0.2)  # first order in sigma
    run = run_method(q, methods.F2SA(eta=0.0, sigma=1e-9, radius=radius), 3000, w0=c.w)
    assert_allclose(run.theta[-1], constrained(c.w), rtol=1e-6)


def test_points_of_a_run_tend_to_the_solved_ones() -> None:
    for q in (least_squares(ridge=0.5), softmax(ridge=0.5)):
        w = case(q).w
        for central in (False, True):
            method = methods.F2SA(sigma=0.05, central=central, eta=0.0, num_inner_steps=5)
            state = method.init(q, MIRROR, case(q).theta, np.log(w), 0)
            for _ in range(200):
                state = method.step(q, MIRROR, state)
            width = 0.1 if central else 0.05
            gap = (q.per_sample_losses(state.theta) - q.per_sample_losses(state.other)) / width
            assert_allclose(gap, method.direction(q, state.theta, w), rtol=1e-6, atol=1e-8)


def test_steps_schedule_and_prox_of_f2sa() -> None:
    q, c = least_squares(), case(least_squares())
    rho, eta, sigma, prox = 0.02, 0.4, 0.2, 3.0
    method = methods.F2SA(
        rho=rho,
        eta=eta,
        sigma=sigma,
        growth=0.5,
        decay=0.3,
        prox=prox,
        num_inner_steps=2,
        num_warmup=1,
    )
    run = run_method(q, method, 3, theta0=c.theta, w0=c.w, num_saved=4)
    theta = c.theta - rho * (sigma * q.val_grad(c.theta) + q.train_grad(c.theta, c.w))
    u, w = c.theta - rho * q.train_grad(c.theta, c.w), c.w
    assert_allclose(run.theta[0], theta, rtol=1e-12)
    for k in range(3):
        s = 1 / (1 / sigma + 0.5 * k)
        gap = (q.per_sample_losses(theta) - q.per_sample_losses(u)) / s
        start, old = (theta, u), w
        w = w * np.exp(-eta * (k + 1) ** -0.3 * gap)
        w = w / w.sum()
        for _ in range(2):
            slope = s * q.val_grad(theta) + q.train_grad(theta, old)
            theta = theta - rho * (slope + prox * (theta - start[0]))
            u = u - rho * (q.train_grad(u, old) + prox * (u - start[1]))
        assert_allclose(run.theta[k + 1], theta, rtol=1e-11)
        assert_allclose(run.w[k + 1], w, rtol=1e-10)


def test_steps_of_the_central_form() -> None:
    q, c = least_squares(), case(least_squares())
    rho, eta, sigma = 0.02, 0.4, 0.2
    method = methods.F2SA(rho=rho, eta=eta, sigma=sigma, central=True)
    run = run_method(q, method, 3, theta0=c.theta, w0=c.w, num_saved=4)
    theta, u, w = c.theta, c.theta, c.w
    for k in range(3):
        gap = (q.per_sample_losses(theta) - q.per_sample_losses(u)) / (2 * sigma)
        theta = theta - rho * (q.train_grad(theta, w) + sigma * q.val_grad(theta))
        u = u - rho * (q.train_grad(u, w) - sigma * q.val_grad(u))
        w = w * np.exp(-eta * gap)
        w = w / w.sum()
        assert_allclose(run.theta[k + 1], theta, rtol=1e-12)
        assert_allclose(run.w[k + 1], w, rtol=1e-10)


def test_default_steps_know_the_prox() -> None:
    q = least_squares()
    L = q.constants()[1]
    knobs = {"prox": 4.0, "num_inner_steps": 3}
    a = run_method(q, methods.F2SA(**knobs), 10)
    b = run_method(q, methods.F2SA(rho=1 / (L + 4.0), **knobs), 10)
    assert_allclose(a.theta, b.theta, rtol=1e-12)


@pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
def test_scalebio_has_the_direction_of_f2sa(c: Case) -> None:
    for sigma in (0.3, 1e-2):
        got = methods.ScaleBiO(sigma=sigma).direction(c.problem, c.theta, c.w)
        expected = methods.F2SA(sigma=sigma).direction(c.problem, c.theta, c.w)
        assert_allclose(got, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
def test_scalebio_is_f2sa_with_inner_steps_times_sigma(order: str) -> None:
    """Steps of F + A G by rho are steps of sigma F + G by rho A."""
    q, sigma = least_squares(), 0.2
    a = run_method(q, methods.ScaleBiO(sigma=sigma, rho=0.01, eta=0.2, order=order), 40)
    b = run_method(q, methods.F2SA(sigma=sigma, rho=0.05, eta=0.2, order=order), 40)
    assert_allclose(a.theta, b.theta, rtol=1e-10)
    assert_allclose(a.w, b.w, rtol=1e-9)


def test_the_metric_of_logits_differs() -> None:
    q, c = least_squares(), case(least_squares())
    method = methods.ScaleBiO(rho=0.0, eta=0.3)
    state = method.init(q, MIRROR, q.theta_star(c.w), np.log(c.w), 0)
    u = q.theta_star(c.w) + 0.1
    state = type(state)(**{**vars(state), "other": u})
    A = 10.0
    gap = A * (q.per_sample_losses(state.theta) - q.per_sample_losses(u))
    mirror = method.step(q, MIRROR, state).outer
    logits = method.step(q, geometries.SoftmaxLogits(), state).outer
    weights = c.w * np.exp(-0.3 * gap)
    assert_allclose(np.exp(mirror), weights / weights.sum(), rtol=1e-10)
    assert_allclose(logits, np.log(c.w) - 0.3 * c.w * (gap - c.w @ gap), rtol=1e-10)


def test_schedule_of_scalebio() -> None:
    """Every period A grows, and rho and eta shrink, by one factor: rho A is constant."""
    q, c = least_squares(), case(least_squares())
    method = methods.ScaleBiO(sigma=0.5, rho=0.01, eta=0.2, growth=3.0, period=2)
    run = run_method(q, method, 5, theta0=c.theta, w0=c.w, num_saved=6)
    theta, u, w = c.theta, c.theta, c.w
    for k in range(5):
        level = 3.0 ** (k // 2)
        A = 2.0 * level
        gap = A * (q.per_sample_losses(theta) - q.per_sample_losses(u))
        slope = q.val_grad(theta) + A * q.train_grad(theta, w)
        theta = theta - 0.01 / level * slope
        u = u - 0.02 * q.train_grad(u, w)
        w = w * np.exp(-0.2 / level * gap)
        w = w / w.sum()
        assert_allclose(run.theta[k + 1], theta, rtol=1e-10)
        assert_allclose(run.w[k + 1], w, rtol=1e-9)


def test_only_the_drawn_blocks_move() -> None:
    q, c = least_squares(n=20, p=6), case(least_squares(n=20, p=6))
    method = methods.ScaleBiO(block_sizes=(1, 2, 3), num_active=1, eta=0.0)
    blocks = np.array([0, 1, 1, 2, 2, 2])
    state = method.init(q, MIRROR, c.theta, np.log(c.w), 3)
    seen = set()
    for _ in range(30):
        new = method.step(q, MIRROR, state)
        moved = blocks[new.theta != state.theta]
        assert len(set(moved)) == 1
        if state.step > 5:  # by then theta and u of every block have moved
            assert set(blocks[new.other != state.other]) == set(moved)
        seen |= set(moved)
        state = new
    assert seen == {0, 1, 2}
    full = run_method(q, methods.ScaleBiO(block_sizes=(1, 2, 3), num_active=3), 10)
    assert_allclose(full.theta, run_method(q, methods.ScaleBiO(), 10).theta, rtol=1e-13)
    end = run_method(q, methods.ScaleBiO(block_sizes=(1, 2, 3), num_active=2, eta=0.0), 6000)
    rest = run_method(q, methods.ScaleBiO(eta=0.0), 6000)
    assert_allclose(end.theta[-1], rest.theta[-1], rtol=1e-6)


def test_source_weights() -> None:
    """Weights of sources: the better half of two clusters gets the mass, evenly."""
    q = two_clusters()
    lift = geometries.Groups(np.arange(60) // 30, geometries.SoftmaxLogits())
    run = run_method(q, methods.ScaleBiO(eta=0.5), 3000, geometry=lift)
    assert np.ptp(run.w[-1][:30]) < 1e-12
    assert run.w[-1][:30].sum() > 0.7


@pytest.mark.parametrize("kind", [methods.F2SA, methods.ScaleBiO], ids=lambda k: k.__name__)
def test_mini_batches_are_unbiased(kind) -> None:
    """The mean over seeds of a small step equals the full step, within 5 standard errors."""
    q, c = least_squares(n=12), case(least_squares(n=12))
    knobs = {"rho": 1e-3, "eta": 1e-6, "sigma": 0.5}
    geometry = geometries.SoftmaxLogits()

    def moves(method, seed: int) -> tuple[np.ndarray, np.ndarray]:
        state = method.init(q, geometry, c.theta, np.log(c.w), seed)
        state = type(state)(**{**vars(state), "other": c.theta + 0.3})
        new = method.step(q, geometry, state)
        return new.theta - state.theta, new.outer - state.outer

    full = moves(kind(**knobs), 0)
    drawn = [moves(kind(batch_size=4, **knobs), seed) for seed in range(400)]
    for k in range(2):
        values = np.array([pair[k] for pair in drawn])
        error = np.abs(values.mean(axis=0) - full[k])
        assert (error <= 5 * values.std(axis=0) / np.sqrt(400) + 1e-12).all()
        assert values.std(axis=0).min() > 0


def test_f2sa_calls_no_second_order_oracle() -> None:
    q = least_squares()
    counts = run_method(q, methods.F2SA(num_inner_steps=2, eta=0.1), 10).oracle_counts
    assert counts["train_grad"] == 40
    assert counts["val_grad"] == 20
    assert counts["per_sample_losses"] == 20
    assert "hvp" not in counts
    assert "per_sample_jvp" not in counts


def wrong_blocks() -> object:
    return run_method(least_squares(), methods.ScaleBiO(block_sizes=(1, 1)), 1)


@refusals(
    Refusals(
        sigma=(lambda: methods.F2SA(sigma=0.0), ValueError, "`sigma` must be > 0; got 0.0"),
        growth=(lambda: methods.F2SA(growth=-1.0), ValueError, "`growth` must be >= 0"),
        decay=(lambda: methods.F2SA(decay=-1.0), ValueError, "`decay` must be >= 0"),
        prox=(lambda: methods.F2SA(prox=-1.0), ValueError, "`prox` must be >= 0"),
        radius=(lambda: methods.F2SA(radius=0.0), ValueError, "`radius` must be > 0"),
        central=(lambda: methods.F2SA(central=1), TypeError, "`central` must be True or False"),
        batch=(lambda: methods.F2SA(batch_size=0), ValueError, "`batch_size` must be >= 1"),
        factor=(lambda: methods.ScaleBiO(growth=0.5), ValueError, "`growth` must be >= 1; got 0.5"),
        period=(lambda: methods.ScaleBiO(period=0), ValueError, "`period` must be >= 1"),
        weight=(lambda: methods.ScaleBiO(sigma=-1.0), ValueError, "`sigma` must be >= 0"),
        kind=(lambda: methods.ScaleBiO(block_sizes=[1]), TypeError, "`block_sizes` must be a non"),
        size=(lambda: methods.ScaleBiO(block_sizes=(0, 2)), ValueError, "`block_sizes` must be >"),
        active=(lambda: methods.ScaleBiO(num_active=2), ValueError, "`num_active` must be at most"),
        total=(wrong_blocks, ValueError, r"`block_sizes` must sum to .* \(3\); got 2"),
    )
)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
