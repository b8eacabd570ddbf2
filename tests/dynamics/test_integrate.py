"""Flows against independent integrations, laws of the flows, and honest ends."""

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from warmflow.dynamics import (
    LeastSquares,
    Status,
    integrate,
    integrate_exact,
    integrate_frozen,
)
from warmflow.dynamics.features import quadratic_features

from .cases import least_squares, softmax, two_clusters

TIMES = np.linspace(0.0, 5.0, 6)


def reference(problem, alpha: float, beta: float, theta0: np.ndarray, w0: np.ndarray):
    """Integrate (theta, w) in w itself by DOP853 at 1e-12, through the dense Hessian."""
    p = problem.num_params

    def field(t: float, z: np.ndarray) -> np.ndarray:
        theta, w = z[:p], z[p:]
        if alpha is None:
            theta = problem.theta_star(w)
        H = problem.hessian(theta, w)
        psi = -problem.per_sample_grads(theta) @ np.linalg.solve(H, problem.val_grad(theta))
        dtheta = np.zeros(p) if not alpha else -alpha * problem.train_grad(theta, w)
        return np.concatenate([dtheta, -beta * w * (psi - w @ psi)])

    z0 = np.concatenate([theta0, w0])
    out = solve_ivp(field, (0, 5), z0, "DOP853", t_eval=TIMES, rtol=1e-12, atol=1e-14).y.T
    return out[:, :p], out[:, p:]


PROBLEMS = {"least_squares": least_squares(n=30, p=2, m=20), "softmax": softmax()}
options = {"t_span": (0.0, 5.0), "t_eval": TIMES, "rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize("coordinates", ["auto", "full"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_warm_started_flow_against_dop853(name: str, coordinates: str) -> None:
    q, rng = PROBLEMS[name], np.random.default_rng(0)
    theta0, w0 = rng.normal(size=q.num_params), rng.dirichlet(np.ones(q.num_samples))
    theta, w = reference(q, 2.0, 0.7, theta0, w0)
    run = integrate(
        q, alpha=2.0, beta=0.7, theta0=theta0, w0=w0, coordinates=coordinates, **options
    )
    assert run.status is Status.ok
    # rtol is per step; over the run errors of some 100 steps add up.
    assert_allclose(run.theta, theta, rtol=1e-7, atol=1e-8)
    assert_allclose(run.w, w, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("coordinates", ["auto", "full"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_exact_flow_against_dop853(name: str, coordinates: str) -> None:
    q = PROBLEMS[name]
    w0 = np.random.default_rng(1).dirichlet(np.ones(q.num_samples))
    _, w = reference(q, None, 0.7, np.zeros(q.num_params), w0)
    run = integrate_exact(q, beta=0.7, w0=w0, coordinates=coordinates, **options)
    assert_allclose(run.w, w, rtol=1e-6, atol=1e-9)
    for k in (0, -1):
        assert_allclose(run.theta[k], q.theta_star(run.w[k]), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("coordinates", ["reduced", "full"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_frozen_flow_against_dop853(name: str, coordinates: str) -> None:
    q, rng = PROBLEMS[name], np.random.default_rng(2)
    theta, w0 = rng.normal(size=q.num_params), rng.dirichlet(np.ones(q.num_samples))
    _, w = reference(q, 0.0, 0.7, theta, w0)
    run = integrate_frozen(q, theta=theta, beta=0.7, w0=w0, coordinates=coordinates, **options)
    assert_allclose(run.w, w, rtol=1e-6, atol=1e-9)
    assert_allclose(run.theta, np.tile(theta, (6, 1)))


def test_h_decreases_along_the_exact_flow() -> None:
    q = two_clusters()
    run = integrate_exact(q, beta=1.0, t_span=(0, 20))
    h = q.outer_loss(run.w)
    assert (np.diff(h) <= 1e-9).all()
    assert h[-1] < 0.5 * h[0]


def test_the_reduction_conserves_its_invariants_in_full_coordinates() -> None:
    """T8: xi . log w is constant for every xi orthogonal to the features and to 1."""
    q = least_squares(n=15, p=2)
    w0 = np.random.default_rng(0).dirichlet(np.ones(15))
    run = integrate(q, beta=3.0, t_span=(0, 5), w0=w0, coordinates="full", rtol=1e-11, atol=1e-13)
    span = np.column_stack([quadratic_features(q.X, q.y), np.ones(15)])
    basis = np.linalg.svd(span)[0][:, np.linalg.matrix_rank(span) :]
    drift = (run.log_w - run.log_w[0]) @ basis
    assert basis.shape[1] == 15 - 6
    assert np.abs(run.log_w - run.log_w[0]).max() > 1.0
    assert np.abs(drift).max() < 1e-8


def test_slow_weights_approach_the_exact_flow_at_first_order() -> None:
    """T3: sup_t |w - w_exact|_1 is proportional to beta/alpha."""
    q = two_clusters(p=3)
    times = np.linspace(0, 3, 13)
    exact = integrate_exact(q, beta=1.0, t_span=(0, 3), t_eval=times)
    errors = []
    for ratio in (0.02, 0.002):
        run = integrate(q, alpha=1 / ratio, beta=1.0, t_span=(0, 3), t_eval=times)
        errors.append(np.abs(run.w - exact.w).sum(axis=1).max())
    slope = np.log10(errors[0] / errors[1])
    assert 0.93 < slope < 1.03  # theory.md measured 0.995 to 0.999 in this range


def test_only_the_ratio_of_the_rates_counts() -> None:
    q = two_clusters()
    slow = integrate(q, alpha=1.0, beta=3.0, t_span=(0, 8), t_eval=[0, 4, 8])
    fast = integrate(q, alpha=4.0, beta=12.0, t_span=(0, 2), t_eval=[0, 1, 2])
    assert_allclose(slow.w, fast.w, rtol=1e-5, atol=1e-9)


def test_frozen_flow_of_fast_weights_keeps_p_samples() -> None:
    """T5: at frozen theta exactly p weights survive when n >= p + 1, lam = 0."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        q = two_clusters(n=40, p=3, ridge=0.0, seed=seed)
        theta = rng.normal(size=3)
        run = integrate_frozen(q, theta=theta, t_span=(0, 1e7), rest_tol=1e-7)
        assert run.status is Status.converged, run.message
        w = run.w[-1]
        kept = w > 1e-3 * w.max()  # a near-tie decays slowly: 4e-5 is left of one weight here
        assert kept.sum() == 3
        psi = q.hypergradient(theta, w)
        assert np.abs(psi[kept] - w @ psi).max() < 1e-5 * np.abs(psi).max()


def test_beta_zero_is_gradient_descent_and_alpha_zero_is_frozen() -> None:
    q = two_clusters()
    theta0 = np.array([3.0, -2.0])
    still = integrate(q, beta=0.0, t_span=(0, 4), theta0=theta0)
    assert_allclose(still.w[-1], 1 / 60, rtol=1e-12)
    eigenvalues, V = np.linalg.eigh(q.hessian(theta0, still.w[0]))
    star = q.theta_star(still.w[0])
    expected = star + V @ (np.exp(-4 * eigenvalues) * (V.T @ (theta0 - star)))
    assert_allclose(still.theta[-1], expected, rtol=1e-6)
    a = integrate(q, alpha=0.0, beta=1.0, t_span=(0, 4), theta0=theta0, t_eval=[0, 2, 4])
    b = integrate_frozen(q, theta=theta0, t_span=(0, 4), t_eval=[0, 2, 4])
    assert_allclose(a.w, b.w, rtol=1e-5, atol=1e-10)


def test_ridge_zero_with_p_above_n_uses_the_minimum_norm_adjoint() -> None:
    q = least_squares(n=4, p=6, ridge=0.0)
    full = integrate(q, t_span=(0, 2), t_eval=[0, 1, 2], coordinates="full")
    reduced = integrate(q, t_span=(0, 2), t_eval=[0, 1, 2], coordinates="reduced")
    assert_allclose(full.w, reduced.w, rtol=1e-5, atol=1e-9)


def test_saved_points_include_both_ends_and_respect_the_cap() -> None:
    q = two_clusters()
    for num_saved in (2, 3, 17, 400):
        run = integrate(q, beta=20.0, t_span=(1.0, 40.0), num_saved=num_saved)
        assert 2 <= len(run) <= num_saved
        assert (run.t[0], run.t[-1]) == (1.0, 40.0)
        assert (np.diff(run.t) > 0).all()
    assert len(run) > 100


def test_t_eval_gives_exactly_the_asked_times() -> None:
    q = two_clusters()
    times = [0.0, 0.1, 3.0, 7.0]
    run = integrate(q, t_span=(0, 7), t_eval=times)
    assert run.t.tolist() == times
    inside = integrate(q, t_span=(0, 7), t_eval=[2.0, 3.0])
    assert inside.t.tolist() == [2.0, 3.0]
    assert_allclose(inside.w[1], run.w[2], rtol=1e-6)


def test_the_cap_on_evaluations_ends_the_run_with_a_status() -> None:
    q = two_clusters()
    run = integrate(q, beta=100.0, t_span=(0, 1000), max_evaluations=300)
    assert run.status is Status.max_evaluations
    assert run.num_evaluations == 300
    assert 0 < run.t[-1] < 1000
    assert "`max_evaluations`" in run.message
    assert np.isfinite(run.w).all()


def test_stiff_softmax_flow_says_so_quickly() -> None:
    began = time.perf_counter()
    run = integrate(softmax(), alpha=1e6, beta=1.0, t_span=(0, 1e3))
    assert run.status is Status.stiff
    assert "stability" in run.message
    assert time.perf_counter() - began < 20.0


def test_a_run_that_is_stiff_but_short_is_finished() -> None:
    run = integrate(softmax(), alpha=300.0, beta=1.0, t_span=(0, 3))
    assert run.status is Status.ok


def test_rest_tolerance_stops_at_a_solved_point() -> None:
    q = two_clusters()
    run = integrate(q, t_span=(0, 1e6), rest_tol=1e-8)
    assert run.status is Status.converged
    assert run.t[-1] < 1e5
    assert np.linalg.norm(q.train_grad(run.theta[-1], run.w[-1])) < 1e-7
    psi = q.hypergradient(run.theta[-1], run.w[-1])
    assert run.w[-1] @ psi - psi.min() < 1e-7


def test_many_samples_are_not_expanded() -> None:
    q = two_clusters(n=20_000, p=3)
    run = integrate(q, t_span=(0, 2))
    assert run.states.shape[1] == 3 + 9
    assert run.log_weights(-1).shape == (20_000,)
    assert_allclose(np.exp(run.log_weights(-1)).sum(), 1.0, rtol=1e-12)
    small = run.to_xarray(weights=False)
    assert "w" not in small
    assert_allclose(small.ess[-1], 1 / (np.exp(run.log_weights(-1)) ** 2).sum(), rtol=1e-10)


def test_a_state_out_of_bounds_ends_with_a_status_not_a_crash() -> None:
    run = integrate(least_squares(), t_span=(0, 1), theta0=np.full(3, 1e13))
    assert run.status is Status.diverged
    assert "|theta|" in run.message


def test_a_run_that_ends_before_its_first_time_keeps_where_it_ended() -> None:
    q = two_clusters()
    run = integrate(q, t_span=(0, 50), t_eval=[40.0, 50.0], max_evaluations=30)
    assert run.status is Status.max_evaluations
    assert len(run) == 1
    assert 0 <= run.t[0] < 40
    assert run.to_xarray().sizes["time"] == 1
    rest = integrate(q, beta=1.0, t_span=(0, 1e5), t_eval=[0.0, 1e5], rest_tol=1e-6)
    assert rest.status is Status.converged
    assert len(rest) == 2
    assert 0 < rest.t[-1] < 1e5


def test_an_exact_flow_that_cannot_start_ends_with_a_status() -> None:
    X = np.ones((40, 2))
    q = LeastSquares(1e20 * X, np.arange(40.0), X, np.arange(40.0), ridge=1e-9)
    for coordinates in ("full", "reduced"):
        run = integrate_exact(q, coordinates=coordinates)
        assert run.status is Status.underflow
        assert "`ridge`" in run.message
        assert np.isnan(run.theta).all()
