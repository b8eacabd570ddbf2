"""The largest stable outer step: closed forms, inner steps, and a direct run."""

import math

import numpy as np
import pytest

from warmflow.analysis.stability import (
    kappa,
    learning_rate_limits,
    outer_limit,
    spectral_radius,
    update_matrix,
)
from warmflow.analysis.theorems.instances import ridge_problem
from warmflow.analysis.theorems.numerical.learning_rates import commuting_points
from warmflow.analysis.theorems.numerical.linearised import solved_draws
from warmflow.dynamics import LeastSquares

SCALAR = (
    LeastSquares([[1.0], [1.0]], [1.0, -1.0], [[2.0]], [0.0], ridge=0.0),
    np.zeros(1),
    np.array([0.5, 0.5]),
)
"""Two samples, p = 1, by hand: H = 1 and kappa = 4."""
ORDERS = ("simultaneous", "theta_first", "w_first", "exact")


@pytest.mark.parametrize("order", ORDERS)
def test_it_is_the_closed_limit_where_matrices_commute(order: str) -> None:
    for point in commuting_points(2):
        _, high = learning_rate_limits(*point, 0.05, order)
        assert outer_limit(*point, 0.05, order) == pytest.approx(high, rel=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_the_radius_is_one_there_where_they_do_not(order: str) -> None:
    for point in solved_draws(5, 3, 20, 3, 1e-2):
        limit = outer_limit(*point, 0.02, order, 3)
        assert 0 < limit < math.inf
        assert spectral_radius(*point, 0.02, limit, order, 3) == pytest.approx(1.0, abs=1e-7)
        assert spectral_radius(*point, 0.02, 0.97 * limit, order, 3) < 1.0
        assert spectral_radius(*point, 0.02, 1.03 * limit, order, 3) > 1.0


@pytest.mark.parametrize("T", [1, 2, 5])
@pytest.mark.parametrize("rho", [0.1, 0.7])
def test_inner_steps_act_through_the_share_of_an_error_that_they_remove(rho: float, T: int) -> None:
    q = 1.0 - (1.0 - rho) ** T
    assert outer_limit(*SCALAR, rho, "simultaneous", T) == pytest.approx(1.0 / 4.0, rel=1e-6)
    for order in ("theta_first", "w_first"):
        high = (4.0 / q - 2.0) / 4.0
        assert outer_limit(*SCALAR, rho, order, T) == pytest.approx(high, rel=1e-6)


def test_many_inner_steps_are_the_exact_algorithm_in_the_order_theta_first() -> None:
    for point in solved_draws(7, 2, 20, 3, 1e-2):
        rho = 1.0 / np.linalg.eigvalsh(point[0].hessian(point[1], point[2]))[-1]
        many = outer_limit(*point, rho, "theta_first", 5000)
        assert many == pytest.approx(2.0 / kappa(*point)[-1], rel=1e-6)
        assert many == pytest.approx(outer_limit(*point, rho, "exact"), rel=1e-6)


def test_one_step_with_inner_steps_is_the_product_of_its_parts() -> None:
    point = next(solved_draws(5, 1, 20, 2, 1e-2))
    inner = update_matrix(*point, 0.3, 0.0)
    outer = update_matrix(*point, 0.0, 0.4)
    whole = update_matrix(*point, 0.3, 0.4, "theta_first", 3)
    np.testing.assert_allclose(whole, outer @ inner @ inner @ inner, atol=1e-14)


def test_no_spread_of_gradients_is_stable_at_any_step() -> None:
    problem = LeastSquares([[1.0], [1.0]], [1.0, 1.0], [[1.0]], [1.0], ridge=0.0)
    assert outer_limit(problem, np.ones(1), np.array([0.5, 0.5]), 0.1) == math.inf


def test_too_large_an_inner_step_is_never_stable() -> None:
    assert outer_limit(*SCALAR, 2.1, "theta_first") == 0.0


def test_points_that_are_not_solved_need_an_infinite_tolerance() -> None:
    problem, w = ridge_problem(1, 20, 2, 0.1), np.full(20, 0.05)
    theta = problem.theta_star(w)
    with pytest.raises(ValueError, match=r"`theta` must solve grad F\(theta\) = 0 up to"):
        outer_limit(problem, theta, w, 0.1)
    assert 0 < outer_limit(problem, theta, w, 0.1, tol=math.inf) < math.inf


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="`rho` must be > 0; got 0"):
        outer_limit(*SCALAR, 0.0)
    with pytest.raises(ValueError, match="`order` must be one of 'simultaneous'"):
        outer_limit(*SCALAR, 0.1, "both")
    with pytest.raises(ValueError, match="`num_inner_steps` must be >= 1; got 0"):
        outer_limit(*SCALAR, 0.1, num_inner_steps=0)
    with pytest.raises(ValueError, match="`tol` must be positive; got nan"):
        outer_limit(*SCALAR, 0.1, tol=math.nan)
    with pytest.raises(ValueError, match="`num_inner_steps` must be >= 1; got 0"):
        spectral_radius(*SCALAR, 0.1, 0.1, num_inner_steps=0)
