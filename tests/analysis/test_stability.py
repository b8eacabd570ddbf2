"""Stability tools: closed forms, edge cases, and what they refuse."""

import numpy as np
import pytest

from warmflow.analysis import stability
from warmflow.analysis.rest_points import max_entropy_weights, solved_theta
from warmflow.analysis.stability import (
    hopf_ratios,
    joint_jacobian,
    kappa,
    learning_rate_limits,
    oscillator_spectrum,
    simplex_tangent,
    spectral_radius,
    transversal_rates,
    update_matrix,
)
from warmflow.analysis.theorems.instances import ridge_problem, softmax_problem
from warmflow.analysis.theorems.numerical.learning_rates import commuting_points, reflected_point
from warmflow.analysis.theorems.numerical.linearised import (
    difference_jacobian,
    matched_distance,
    solved_draws,
    without_neutral,
)
from warmflow.dynamics import LeastSquares

CALLS = {
    "oscillator_matrix": (1.0, 1.0),
    "oscillator_spectrum": (1.0, 1.0),
    "hopf_ratios": (),
    "kappa": (),
    "update_matrix": (0.1, 0.1),
    "spectral_radius": (0.1, 0.1),
    "learning_rate_limits": (0.1,),
}


@pytest.fixture(scope="module")
def scalar() -> tuple[LeastSquares, np.ndarray, np.ndarray]:
    """Two samples, p = 1, everything by hand: theta = 0, w = (1/2, 1/2), r = (-1, 1)."""
    problem = LeastSquares([[1.0], [1.0]], [1.0, -1.0], [[2.0]], [0.0], ridge=0.0)
    return problem, np.zeros(1), np.array([0.5, 0.5])


def test_by_hand(scalar: tuple[LeastSquares, np.ndarray, np.ndarray]) -> None:
    # H = 1, C = 1, F'' = 4: mu^2 + alpha mu + 4 alpha beta = 0 and kappa = 4.
    mu = oscillator_spectrum(*scalar, 1.0, 1.0)
    np.testing.assert_allclose(mu, [-0.5 - 1j * np.sqrt(3.75), -0.5 + 1j * np.sqrt(3.75)])
    np.testing.assert_allclose(kappa(*scalar), [4.0])
    assert learning_rate_limits(*scalar, 1.0) == (0.0, 0.25)
    assert learning_rate_limits(*scalar, 3.0) == pytest.approx((1 / 6, 0.25))
    assert learning_rate_limits(*scalar, 1.0, "theta_first") == (0.0, 0.5)
    assert learning_rate_limits(*scalar, 1.0, "w_first") == (0.0, 0.5)
    assert learning_rate_limits(*scalar, 1.0, "exact") == (0.0, 0.5)
    assert hopf_ratios(*scalar).size == 0


@pytest.mark.parametrize("order", ["theta_first", "w_first", "simultaneous"])
def test_too_large_an_inner_step_leaves_no_band(
    order: str, scalar: tuple[LeastSquares, np.ndarray, np.ndarray]
) -> None:
    assert learning_rate_limits(*scalar, 4.5, order) == (0.0, 0.0)


def test_without_spread_of_gradients_any_outer_step_is_stable() -> None:
    problem = LeastSquares([[1.0], [2.0]], [1.0, 2.0], [[1.0]], [1.0], ridge=0.0)
    point = (problem, np.ones(1), np.array([0.3, 0.7]))
    np.testing.assert_array_equal(kappa(*point), [0.0])
    assert learning_rate_limits(*point, 0.1) == (0.0, np.inf)
    assert learning_rate_limits(*point, 0.1, "exact") == (0.0, np.inf)
    assert hopf_ratios(*point).size == 0


def test_tangent_basis() -> None:
    for n in (1, 2, 7):
        E = simplex_tangent(n)
        assert E.shape == (n, n - 1)
        np.testing.assert_allclose(E.T @ E, np.eye(n - 1), atol=1e-15)
        np.testing.assert_allclose(E.sum(axis=0), 0.0, atol=1e-15)


def test_jacobian_away_from_rest_points() -> None:
    problem = ridge_problem(3, 7, 2, 0.1)
    rng = np.random.default_rng(0)
    theta, w, E = rng.standard_normal(2), rng.dirichlet(np.ones(7)), simplex_tangent(7)

    def field(rows: np.ndarray) -> np.ndarray:
        x, u = theta + rows[:, :2], w + rows[:, 2:] @ E.T
        psi = problem.hypergradient(x, u)
        du = u * (psi - (u * psi).sum(axis=1, keepdims=True))
        return np.hstack([-0.7 * problem.train_grad(x, u), -1.3 * du @ E])

    measured = difference_jacobian(field, np.zeros(8))
    np.testing.assert_allclose(joint_jacobian(problem, theta, w, 0.7, 1.3), measured, atol=1e-8)


def test_present_samples_have_no_transversal_rate() -> None:
    problem = ridge_problem(0, 6, 2, 0.1)
    assert transversal_rates(problem, np.zeros(2), np.full(6, 1 / 6), 1.0).shape == (0,)
    w = np.array([0.5, 0.0, 0.5, 0.0, 0.0, 0.0])
    psi = problem.hypergradient(np.zeros(2), w)
    rates = transversal_rates(problem, np.zeros(2), 2.0 * w, 3.0)
    np.testing.assert_allclose(rates, 3.0 * (w @ psi - psi)[w == 0])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("p, n", [(2, 12), (3, 18)])
def test_hopf_ratios_agree_with_a_scan(seed: int, p: int, n: int) -> None:
    ((problem, theta, w),) = solved_draws(60 * seed, 1, n, p, 1e-2)
    ratios = hopf_ratios(problem, theta, w)
    scan = np.geomspace(1e-5, 1e7, 240)
    grows = [oscillator_spectrum(problem, theta, w, 1.0, r)[0].real > 1e-9 * r**0.5 for r in scan]
    crossings = np.searchsorted(ratios, scan)
    assert not np.any(np.array(grows) & (crossings == 0))
    if ratios.size == 1:
        assert np.array_equal(grows, crossings == 1)
    for ratio in ratios:
        mu = oscillator_spectrum(problem, theta, w, 2.0, 2.0 * ratio)
        assert np.abs(mu.real / np.abs(mu)).min() < 1e-9


def test_hopf_ratios_where_the_restoring_matrix_lacks_rank() -> None:
    base, theta, w = next(solved_draws(40, 1, 20, 2, 1e-2))
    # A feature that is constantly zero adds a mode that only relaxes.
    X, X_val = (np.column_stack([Z, 0.0 * Z[:, 0]]) for Z in (base.X, base.X_val))
    padded = LeastSquares(X, base.y, X_val, base.y_val, ridge=base.ridge)
    wide = np.append(theta, 0.0)
    np.testing.assert_allclose(hopf_ratios(padded, wide, w), hopf_ratios(base, theta, w))
    mu = oscillator_spectrum(padded, wide, w, 1.0, 2.0)
    narrow = np.append(oscillator_spectrum(base, theta, w, 1.0, 2.0), [0.0, -base.ridge])
    assert matched_distance(mu, narrow) < 1e-12


@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first", "exact"])
def test_limits_of_commuting_matrices_are_where_the_radius_is_one(order: str) -> None:
    for point in commuting_points(2):
        low, high = learning_rate_limits(*point, 0.05, order)
        assert low == 0.0
        assert spectral_radius(*point, 0.05, high, order) == pytest.approx(1.0, abs=1e-9)
        assert spectral_radius(*point, 0.05, 0.99 * high, order) < 1.0
        assert spectral_radius(*point, 0.05, 1.01 * high, order) > 1.0


def test_theta_first_and_w_first_have_one_spectrum() -> None:
    point = next(solved_draws(5, 1, 20, 3, 1e-2))
    spectra = [
        np.linalg.eigvals(update_matrix(*point, 0.3, 0.4, order))
        for order in ("theta_first", "w_first", "simultaneous")
    ]
    assert matched_distance(spectra[0], spectra[1]) < 1e-12
    assert matched_distance(spectra[0], spectra[2]) > 1e-3


def test_matched_distance_and_neutral_eigenvalues() -> None:
    assert matched_distance(np.array([1.0, 2.0]), np.array([2.5, 1.0])) == 0.5
    kept = without_neutral(np.array([1.0, 1e-9, -2.0, 1e-8j]), 2)
    np.testing.assert_array_equal(np.sort(kept.real), [-2.0, 1.0])


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize("name", CALLS)
def test_points_that_are_not_solved_are_refused(name: str) -> None:
    problem = ridge_problem(1, 20, 2, 0.1)
    theta, w = solved_theta(problem), np.full(20, 0.05)
    function = getattr(stability, name)
    with pytest.raises(ValueError, match=r"`theta` must solve grad F\(theta\) = 0 up to"):
        function(problem, theta + 1.0, w, *CALLS[name])
    with pytest.raises(ValueError, match=r"`w` must solve grad_theta G\(theta, w\) = 0 up to"):
        function(problem, theta, w, *CALLS[name])
    with pytest.raises(TypeError, match="`problem` must be LeastSquares for"):
        function(softmax_problem(0, 9, 2, 3, 0.1), np.zeros(6), np.full(9, 1 / 9), *CALLS[name])


def test_rates_and_orders_are_checked(
    scalar: tuple[LeastSquares, np.ndarray, np.ndarray],
) -> None:
    with pytest.raises(ValueError, match="`alpha` must be >= 0; got -1"):
        oscillator_spectrum(*scalar, -1.0, 1.0)
    with pytest.raises(ValueError, match="`beta` must be >= 0; got -1"):
        transversal_rates(*scalar, -1.0)
    with pytest.raises(ValueError, match="`rho` must be > 0; got 0"):
        learning_rate_limits(*scalar, 0.0)
    with pytest.raises(ValueError, match="`order` must be one of 'simultaneous'"):
        update_matrix(*scalar, 0.1, 0.1, "both")
    with pytest.raises(ValueError, match=r"`w` must have shape \(2\)|`w` must have shape"):
        joint_jacobian(scalar[0], np.zeros(1), np.ones(3), 1.0, 1.0)


def test_matrices_that_do_not_commute_are_refused_but_for_the_exact_order() -> None:
    point = next(solved_draws(5, 1, 20, 2, 1e-2))
    with pytest.raises(ValueError, match=r"miss a common basis by .* use spectral_radius"):
        learning_rate_limits(*point, 0.1)
    assert learning_rate_limits(*point, 0.1, "exact")[1] == 2.0 / kappa(*point)[-1]


def test_a_singular_hessian_and_a_large_problem_are_refused() -> None:
    base, theta, w = next(solved_draws(40, 1, 20, 2, 0.0))
    X, X_val = (np.column_stack([Z, 0.0 * Z[:, 0]]) for Z in (base.X, base.X_val))
    padded = LeastSquares(X, base.y, X_val, base.y_val, ridge=0.0)
    with pytest.raises(ValueError, match="`w` must give a positive definite inner Hessian"):
        kappa(padded, np.append(theta, 0.0), w)
    wide = ridge_problem(0, 200, 13, 0.5, m=40)
    wide = LeastSquares(wide.X, wide.X @ np.ones(13), wide.X_val, wide.X_val @ np.ones(13), ridge=0)
    with pytest.raises(ValueError, match="`problem` must have p <= 12; got 13"):
        hopf_ratios(wide, np.ones(13), np.full(200, 0.005))


def test_constructed_points_are_solved_and_not_diagonal() -> None:
    problem, theta, w = reflected_point(0, 3, 0.1)
    assert np.abs(problem.val_grad(theta)).max() < 1e-14
    assert np.abs(problem.train_grad(theta, w)).max() < 1e-14
    H = problem.hvp(theta, w, np.eye(3))
    assert np.abs(H - np.diag(np.diag(H))).max() > 1e-2
    assert max_entropy_weights(problem).min() > 0
