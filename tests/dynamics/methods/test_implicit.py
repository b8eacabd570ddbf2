"""Conjugate gradients and the Neumann series against dense algebra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import geometries, methods, run_method

from ..cases import CASES, Case, case, least_squares, softmax, two_clusters
from .orders import both_updates

every = pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())


def adjoint(method, c: Case) -> np.ndarray:
    """Return q from the field -J^T q, by least squares on the dense J^T."""
    field = method.direction(c.problem, c.theta, c.w)
    return np.linalg.lstsq(-c.problem.per_sample_grads(c.theta), field)[0]


@every
def test_as_many_steps_as_parameters_are_exact(c: Case) -> None:
    p = c.problem.num_params
    expected = c.problem.hypergradient(c.theta, c.w)
    got = methods.ConjugateGradient(num_cg=p + 3, tol=1e-14).direction(c.problem, c.theta, c.w)
    # p + 3: round-off delays the p-step termination where H is ill-conditioned
    assert_allclose(got, expected, rtol=1e-8, atol=1e-10)


def test_the_error_of_conjugate_gradients_falls_in_the_norm_of_H() -> None:
    q = least_squares(n=30, p=8, m=20, ridge=1e-2)
    c = case(q)
    H = q.hessian(c.theta, c.w)
    exact = np.linalg.solve(H, q.val_grad(c.theta))
    errors = []
    for K in range(1, 9):
        e = adjoint(methods.ConjugateGradient(num_cg=K), c) - exact
        errors.append(np.sqrt(e @ H @ e))
    r = np.sqrt(np.linalg.cond(H))
    first = np.sqrt(exact @ H @ exact)
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-8 * first
    bounds = 2 * ((r - 1) / (r + 1)) ** np.arange(1, 9)
    assert (np.array(errors) <= bounds * first).all()


def test_one_step_of_conjugate_gradients_is_a_multiple_of_the_gradient() -> None:
    q, c = softmax(), case(softmax())
    field = methods.ConjugateGradient(num_cg=1).direction(q, c.theta, c.w)
    g = q.val_grad(c.theta)
    scale = (g @ g) / (g @ q.hvp(c.theta, c.w, g))
    assert_allclose(field, -scale * q.per_sample_jvp(c.theta, g), rtol=1e-12)


def test_default_number_of_steps_and_tolerance() -> None:
    q = least_squares(n=40, p=15, m=20)
    c = case(q)

    def count(method) -> int:
        return run_method(q, method, 1, theta0=c.theta, w0=c.w).oracle_counts["hvp"]

    assert count(methods.ConjugateGradient()) == 10
    assert count(methods.ConjugateGradient(tol=0.5)) < 5
    assert run_method(least_squares(), methods.ConjugateGradient(), 1).oracle_counts["hvp"] == 3


@every
@pytest.mark.parametrize("K", [1, 5, 30])
def test_neumann_is_its_closed_form(c: Case, K: int) -> None:
    q, rho = c.problem, 0.05
    p = q.num_params
    H = np.stack([q.hvp(c.theta, c.w, e) for e in np.eye(p)])
    left = np.linalg.matrix_power(np.eye(p) - rho * H, K)
    v = (np.eye(p) - left) @ np.linalg.solve(H, q.val_grad(c.theta))
    expected = -q.per_sample_jvp(c.theta, v)
    got = methods.Neumann(rho=rho, num_terms=K).direction(q, c.theta, c.w)
    assert_allclose(got, expected, rtol=1e-10, atol=1e-13)


def test_the_bias_of_neumann_falls_at_the_rate_of_the_smallest_curvature() -> None:
    q = least_squares()
    c = case(q)
    mu = np.linalg.eigvalsh(q.hessian(c.theta, c.w)).min()
    exact, rho = q.hypergradient(c.theta, c.w), 0.1
    errors = [
        np.abs(methods.Neumann(rho=rho, num_terms=K).direction(q, c.theta, c.w) - exact).max()
        for K in (100, 200)
    ]
    assert_allclose(errors[1] / errors[0], (1 - rho * mu) ** 100, rtol=1e-2)


@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
def test_steps_with_the_proximal_term(order: str) -> None:
    """iMAML: the inner gradient and the Hessian of the adjoint gain the term."""
    q, rho, eta, kappa = least_squares(), 0.05, 0.7, 0.4
    c, centre = case(q), np.array([0.3, -0.2, 0.5])
    method = methods.ConjugateGradient(
        rho=rho, eta=eta, num_inner_steps=4, prox=kappa, theta_ref=centre, tol=1e-14, order=order
    )
    run = run_method(q, method, 2, theta0=c.theta, w0=c.w, num_saved=3)
    theta, w = c.theta, c.w

    def inner(theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        for _ in range(4):
            theta = theta - rho * (q.train_grad(theta, w) + kappa * (theta - centre))
        return theta

    def outer(theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        H = q.X.T @ (w[:, None] * q.X) + (q.ridge + kappa) * np.eye(3)
        new = w * np.exp(eta * q.per_sample_jvp(theta, np.linalg.solve(H, q.val_grad(theta))))
        return new / new.sum()

    for k in range(2):
        theta, w = both_updates(order, inner, outer, theta, w)
        assert_allclose(run.theta[k + 1], theta, rtol=1e-10)
        assert_allclose(run.w[k + 1], w, rtol=1e-9)


def test_the_proximal_term_is_centred_at_the_start_by_default() -> None:
    q = two_clusters()
    start = np.array([0.4, -0.1])
    free = methods.ConjugateGradient(rho=0.1, eta=0.1, prox=0.7)
    given = methods.ConjugateGradient(rho=0.1, eta=0.1, prox=0.7, theta_ref=start)
    a, b = (run_method(q, method, 50, theta0=start) for method in (free, given))
    assert (a.theta == b.theta).all()
    without = run_method(q, methods.ConjugateGradient(rho=0.1, eta=0.1), 50, theta0=start)
    assert np.abs(a.theta[-1] - without.theta[-1]).max() > 1e-2
    still = run_method(q, methods.ConjugateGradient(rho=0.1, eta=0.0, prox=0.7), 2000, theta0=start)
    H = q.hessian(start, np.full(60, 1 / 60)) + 0.7 * np.eye(2)
    rest = np.linalg.solve(H, q.X.T @ q.y / 60 + 0.7 * start)
    assert_allclose(still.theta[-1], rest, rtol=1e-9)


def test_the_centre_is_shared_by_runs_over_leading_axes() -> None:
    q, centre = two_clusters(), np.array([0.3, -0.2])
    eta = np.array([0.1, 0.3, 0.5])
    method = methods.ConjugateGradient(rho=0.1, eta=eta, prox=0.5, theta_ref=centre)
    together = run_method(q, method, 30)
    for k in range(3):
        alone = methods.ConjugateGradient(rho=0.1, eta=eta[k], prox=0.5, theta_ref=centre)
        assert_allclose(together.w[:, k], run_method(q, alone, 30).w, rtol=1e-9)


def test_damping_acts_on_the_adjoint_alone() -> None:
    q, c = least_squares(), case(least_squares())
    damped = methods.ConjugateGradient(damping=0.3, tol=1e-14, eta=0.0)
    H = q.hessian(c.theta, c.w) + 0.3 * np.eye(3)
    v = np.linalg.solve(H, q.val_grad(c.theta))
    expected = -q.per_sample_jvp(c.theta, v)
    assert_allclose(damped.direction(q, c.theta, c.w), expected, rtol=1e-10)
    plain = run_method(q, methods.ConjugateGradient(eta=0.0), 5, theta0=c.theta)
    assert (run_method(q, damped, 5, theta0=c.theta).theta == plain.theta).all()


def test_a_warm_start_makes_one_step_of_conjugate_gradients_enough() -> None:
    """At theta and w at rest, repeated solves of one step from the last go on to the exact one."""
    q, c = least_squares(), case(least_squares())
    exact = q.adjoint(c.theta, c.w)
    ends = {}
    for warm in (False, True):
        method = methods.ConjugateGradient(rho=0.0, eta=0.0, num_cg=1, warm_start=warm)
        state = method.init(q, geometries.Mirror(), c.theta, np.log(c.w), 0)
        for _ in range(200):
            state = method.step(q, geometries.Mirror(), state)
        ends[warm] = np.abs(state.adjoint - exact).max() / np.abs(exact).max()
    assert ends[True] < 1e-6 < 1e-2 < ends[False]


@pytest.mark.parametrize("kind", [methods.Neumann, methods.ConjugateGradient])
def test_mini_batches(kind) -> None:
    q = two_clusters()
    method = kind(rho=0.05, eta=0.05, batch_size=16)
    a, b, c = (run_method(q, method, 30, seed=seed) for seed in (3, 3, 4))
    assert (a.w == b.w).all()
    assert np.abs(a.w[-1] - c.w[-1]).max() > 1e-6
    full = run_method(q, kind(rho=0.05, eta=0.05), 30)
    assert_allclose(run_method(q, kind(rho=0.05, eta=0.05, batch_size=99), 30).w, full.w, rtol=1e-8)


def test_refusals_of_the_implicit_methods() -> None:
    refused = {
        "num_cg": ({"num_cg": 0}, r"`num_cg` must be >= 1; got 0"),
        "tol": ({"tol": 0.0}, r"`tol` must be > 0; got 0\.0"),
        "damping": ({"damping": -1.0}, r"`damping` must be >= 0; got -1\.0"),
        "prox": ({"prox": -1.0}, r"`prox` must be >= 0; got -1\.0"),
        "theta_ref": ({"theta_ref": [np.nan]}, r"`theta_ref` must be finite"),
        "inner": ({"num_inner_steps": 0}, r"`num_inner_steps` must be >= 1; got 0"),
        "batch": ({"batch_size": 0}, r"`batch_size` must be >= 1; got 0"),
    }
    for knobs, match in refused.values():
        with pytest.raises(ValueError, match=match):
            methods.ConjugateGradient(**knobs)
    with pytest.raises(ValueError, match=r"`num_terms` must be >= 1; got 0"):
        methods.Neumann(num_terms=0)
    method = methods.ConjugateGradient(prox=0.1, theta_ref=[0.0, 0.0])
    with pytest.raises(ValueError, match=r"`theta_ref` must have shape \(3,\); got \(2,\)"):
        run_method(least_squares(), method, 1)
