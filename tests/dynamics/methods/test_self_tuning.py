"""SelfTuning: its mean step is the response flow, which rests at the implicit response."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import geometries, methods, run_method

from ..cases import Refusals, case, least_squares, refusals, softmax, two_clusters

MIRROR = geometries.Mirror()


def implicit(q, theta: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return -H^-1 J P(w), the derivative of theta_star in the logits."""
    J = q.per_sample_grads(theta).T
    return -np.linalg.solve(q.hessian(theta, w), J @ (np.diag(w) - np.outer(w, w)))


def learned(q, w: np.ndarray, sigma: float, num_steps: int, **knobs):
    """Run at fixed weights from theta_star, with perturbations that span all directions."""
    method = methods.SelfTuning(
        sigma=sigma,
        eta=0.0,
        num_perturbations=2 << (w.size - 1).bit_length(),
        num_inner_steps=5,
        **knobs,
    )
    state = method.init(q, MIRROR, q.theta_star(w), np.log(w), 0)
    for _ in range(num_steps):
        state = method.step(q, MIRROR, state)
    return state


@pytest.mark.parametrize("kind", ["least squares", "softmax"])
def test_the_best_response_tends_to_the_implicit_one(kind: str) -> None:
    """Errors of theta, of the response and of the field fall with sigma squared."""
    shape = {"n": 6, "m": 20, "ridge": 1.0}
    q = softmax(f=2, C=2, **shape) if kind == "softmax" else least_squares(p=2, **shape)
    w = np.random.default_rng(0).dirichlet(np.full(6, 5.0))
    star = q.theta_star(w)
    exact, psi = implicit(q, star, w), q.outer_grad(w)
    errors = []
    for sigma, num_steps in ((0.4, 400), (0.2, 1200)):
        state = learned(q, w, sigma, num_steps)
        field = state.response.T @ q.val_grad(state.theta)
        errors.append(
            [
                np.abs(state.theta - star).max(),
                np.abs(state.response * w - exact).max(),
                np.abs(field - (psi - w @ psi)).max(),
            ]
        )
    assert (np.array(errors[1]) < 0.05).all()
    # 4 at leading order; perturbations are drawn afresh, and sigma is not small
    assert_allclose(np.array(errors[0]) / errors[1], 4.0, rtol=0.3)


def test_the_mean_step_is_the_response_flow() -> None:
    """dB = -rho sigma^2 (H B + J (I - w 1')) n diag(w), d theta = -rho grad G, to O(sigma^2)."""
    q, c, rho = least_squares(n=8), case(least_squares(n=8)), 0.03
    B = np.random.default_rng(1).normal(size=(3, 8))
    J = q.per_sample_grads(c.theta).T
    H, n, ones = q.hessian(c.theta, c.w), 8, np.ones(8)
    drift = (H @ B + J @ (np.eye(n) - np.outer(c.w, ones))) * (n * c.w)
    errors = []
    for sigma in (0.02, 0.01):
        method = methods.SelfTuning(
            rho=rho, sigma=sigma, eta=0.0, num_perturbations=16, num_inner_steps=1
        )
        state = method.init(q, MIRROR, c.theta, np.log(c.w), 0)
        state = type(state)(**{**vars(state), "response": B})
        new = method.step(q, MIRROR, state)
        errors.append(np.abs((B - new.response) / (rho * sigma**2) - drift).max())
        assert_allclose((c.theta - new.theta) / rho, q.train_grad(c.theta, c.w), atol=30 * sigma**2)
    assert errors[1] < 0.02 * np.abs(drift).max()
    assert_allclose(errors[0] / errors[1], 4.0, rtol=0.1)


@pytest.mark.parametrize("num_perturbations", [2, 6, 40])
def test_few_perturbations_have_the_same_mean(num_perturbations: int) -> None:
    q, c = least_squares(n=8), case(least_squares(n=8))
    knobs = {"rho": 0.01, "sigma": 0.05, "eta": 0.0, "num_inner_steps": 1}

    def steps(count: int, seeds: range) -> np.ndarray:
        method = methods.SelfTuning(num_perturbations=count, **knobs)
        states = [method.init(q, MIRROR, c.theta, np.log(c.w), s) for s in seeds]
        return np.array([method.step(q, MIRROR, s).response for s in states])

    full = steps(16, range(1))[0]  # all directions of R^8 in pairs
    drawn = steps(num_perturbations, range(400))
    error = np.abs(drawn.mean(axis=0) - full)
    # five standard errors, and the cubic terms of finite sigma
    allowed = 5 * drawn.std(axis=0) / 20 + 0.02 * np.abs(full).max()
    assert (error <= allowed).all()


def test_theta_is_recentred_when_the_weights_move() -> None:
    """With the implicit response theta follows theta_star to second order in the move."""
    q = least_squares()
    w = np.full(12, 1 / 12)
    star = q.theta_star(w)
    errors = []
    for eta in (0.2, 0.1):
        method = methods.SelfTuning(rho=0.0, eta=eta)
        state = method.init(q, MIRROR, star, np.log(w), 0)
        state = type(state)(**{**vars(state), "response": implicit(q, star, w) / w})
        new = method.step(q, MIRROR, state)
        w_new = np.exp(new.outer)
        assert_allclose(new.theta, star + state.response @ (w_new - w), rtol=1e-11)
        errors.append(np.abs(new.theta - q.theta_star(w_new)).max())
    assert_allclose(errors[0] / errors[1], 4.0, rtol=0.3)  # third-order terms
    psi = q.outer_grad(w)
    expected = np.exp(-0.1 * psi)
    assert_allclose(w_new, expected / expected.sum(), rtol=1e-9)


def test_knobs_change_the_numbers() -> None:
    q = two_clusters(n=20, m=10)
    base = run_method(q, methods.SelfTuning(), 5).theta[-1]
    for knobs in (
        {"rho": 0.01},
        {"sigma": 0.1},
        {"num_perturbations": 4},
        {"num_inner_steps": 1},
        {"batch_size": 7},
        {"eta": 0.2},
    ):
        assert np.abs(run_method(q, methods.SelfTuning(**knobs), 5).theta[-1] - base).max() > 1e-9


def test_inner_steps_count_oracles() -> None:
    counts = run_method(least_squares(), methods.SelfTuning(num_inner_steps=3), 10).oracle_counts
    assert counts["train_grad"] == 10 * 3 * 32  # perturbations
    assert counts["val_grad"] == 10
    assert "hvp" not in counts
    assert "per_sample_jvp" not in counts


def test_direction_is_the_centred_hypergradient() -> None:
    q, c = least_squares(), case(least_squares())
    expected = (implicit(q, c.theta, c.w) / c.w).T @ q.val_grad(c.theta)
    # J P(w)/w subtracts J w, so the field has weighted mean zero
    assert_allclose(methods.SelfTuning().direction(q, c.theta, c.w), expected, rtol=1e-8)
    assert abs(c.w @ expected) < 1e-12


def test_mini_batches_learn_too() -> None:
    q = two_clusters(n=40, m=30)
    run = run_method(q, methods.SelfTuning(batch_size=20, eta=0.05), 700)
    assert run.w[-1][:20].sum() > 0.7
    assert q.test_loss(run.theta[-1]) < 0.3 * q.test_loss(run.theta[0])


def test_zero_weights_are_harmless() -> None:
    q = least_squares()
    geometry = geometries.Projection()
    method = methods.SelfTuning(eta=0.05)
    w = np.array([0.0, *np.full(11, 1 / 11)])
    state = method.init(q, geometry, np.zeros(3), w, 0)
    for _ in range(30):
        state = method.step(q, geometry, state)
    assert np.isfinite(state.theta).all()
    assert np.isfinite(state.response).all()
    assert_allclose(state.outer.sum(), 1.0, rtol=1e-12)


@refusals(
    Refusals(
        sigma=(lambda: methods.SelfTuning(sigma=0.0), ValueError, "`sigma` must be > 0; got 0.0"),
        odd=(lambda: methods.SelfTuning(num_perturbations=3), ValueError, "must be even; got 3"),
        few=(lambda: methods.SelfTuning(num_perturbations=0), ValueError, "must be >= 2; got 0"),
        inner=(lambda: methods.SelfTuning(num_inner_steps=0), ValueError, "`num_inner_steps` must"),
        batch=(lambda: methods.SelfTuning(batch_size=0), ValueError, "`batch_size` must be >= 1"),
    )
)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
