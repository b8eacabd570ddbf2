"""Solved and trapped points: the tools against plain formulas, and their edges."""

import numpy as np
import pytest
from scipy.optimize import minimize

from warmflow.analysis.rest_points import (
    criterion_gradients,
    depth_radius,
    depth_residual,
    face_hessian,
    is_solvable,
    max_entropy_weights,
    outer_hessian,
    separating_direction,
    solved_theta,
    solved_vertex,
    stationary_point_on_face,
)
from warmflow.analysis.rest_points.units import scaled_rank
from warmflow.analysis.theorems.instances import ridge_problem, softmax_problem, two_clusters
from warmflow.analysis.theorems.numerical import saddles
from warmflow.dynamics import LeastSquares
from warmflow.dynamics.simplex import entropy
from warmflow.dynamics.status import ConvergenceError

CLUSTERS = two_clusters(0, n=30, p=2, ridge=1e-2, m=40)
UNSOLVABLE = ridge_problem(3, n=8, p=2, ridge=1e-2)


def test_solved_theta_is_where_the_outer_gradient_vanishes() -> None:
    assert np.abs(CLUSTERS.val_grad(solved_theta(CLUSTERS))).max() < 1e-13


def test_solved_theta_of_rank_deficient_rows_has_minimum_norm() -> None:
    problem = LeastSquares(np.eye(2), [1, 1], [[1.0, 1.0]], [2.0], ridge=0.1)
    np.testing.assert_allclose(solved_theta(problem), [1.0, 1.0])


@pytest.mark.parametrize("seed", range(5))
def test_vertices_hold_theta_with_exact_zeros(seed: int) -> None:
    theta = solved_theta(CLUSTERS)
    w = solved_vertex(CLUSTERS, None, np.random.default_rng(seed).standard_normal(30))
    assert 0 < np.count_nonzero(w) <= 3
    assert w.min() == 0.0
    np.testing.assert_allclose(CLUSTERS.theta_star(w), theta, atol=1e-11)


def test_vertex_minimises_its_direction() -> None:
    direction = np.random.default_rng(0).standard_normal(30)
    vertex = solved_vertex(CLUSTERS, None, direction)
    assert direction @ vertex <= direction @ max_entropy_weights(CLUSTERS)


def test_vertex_of_an_exactly_fitted_sample_is_degenerate_and_right() -> None:
    problem = LeastSquares([[1.0], [1.0], [1.0]], [1.0, 0.0, 2.0], [[1.0]], [1.0], ridge=0.0)
    w = solved_vertex(problem, None, [-1.0, 0.0, 0.0])
    np.testing.assert_array_equal(w, [1.0, 0.0, 0.0])


def test_duplicate_samples_share_their_weight_and_keep_the_vertex_count() -> None:
    doubled = CLUSTERS.batch(train=np.r_[0:30, 0:30])
    w = solved_vertex(doubled, None, np.ones(60))
    assert np.count_nonzero(w) <= 3
    best = max_entropy_weights(doubled)
    np.testing.assert_allclose(best[:30], best[30:])
    np.testing.assert_allclose(2 * best[:30], max_entropy_weights(CLUSTERS), atol=1e-10)


def test_maximal_entropy_beats_a_general_optimiser() -> None:
    best = max_entropy_weights(CLUSTERS)
    g = criterion_gradients(CLUSTERS, solved_theta(CLUSTERS))
    assert np.abs(best @ g).max() < 1e-12
    constraints = [{"type": "eq", "fun": lambda w: np.append(w @ g, w.sum() - 1)}]
    start = np.full(30, 1 / 30)
    found = minimize(
        lambda w: w @ np.log(w), start, jac=lambda w: np.log(w) + 1, method="SLSQP",
        bounds=[(1e-12, 1)] * 30, constraints=constraints, options={"ftol": 1e-12, "maxiter": 300},
    )  # fmt: skip
    np.testing.assert_allclose(best, found.x, atol=1e-5)
    assert entropy(best) >= -found.fun - 1e-7


def test_maximal_entropy_with_an_intercept_and_more_parameters_than_samples_spread() -> None:
    X = np.column_stack([np.ones(30), CLUSTERS.X, CLUSTERS.X[:, 0]])
    X_val = np.column_stack([np.ones(40), CLUSTERS.X_val, CLUSTERS.X_val[:, 0]])
    problem = LeastSquares(X, CLUSTERS.y, X_val, CLUSTERS.y_val, ridge=0.0)
    w = max_entropy_weights(problem, solved_theta(problem), tol=1e-11)
    assert np.abs(w @ criterion_gradients(problem, solved_theta(problem))).max() < 1e-10


def test_boundary_of_solvable_has_no_finite_multiplier() -> None:
    # Zero is a vertex of the hull: only the first sample can carry weight.
    problem = LeastSquares([[1.0], [1.0]], [0.0, -1.0], [[1.0]], [0.0], ridge=0.0)
    assert is_solvable(problem)
    assert depth_radius(problem, np.zeros(1)) == 0.0
    with pytest.raises(ConvergenceError, match="raise `max_iterations` or loosen `tol`"):
        max_entropy_weights(problem, max_iterations=20)


def test_unsolvable_problems_are_refused_and_have_a_separating_direction() -> None:
    theta = solved_theta(UNSOLVABLE)
    assert not is_solvable(UNSOLVABLE)
    margin, u = separating_direction(UNSOLVABLE, theta)
    assert margin > 0
    assert (criterion_gradients(UNSOLVABLE, theta) @ u).max() < 0
    assert depth_radius(UNSOLVABLE, theta) < 0
    for call in (
        lambda: max_entropy_weights(UNSOLVABLE),
        lambda: solved_vertex(UNSOLVABLE, theta, np.ones(8)),
    ):
        with pytest.raises(ValueError, match="`theta` must be solvable"):
            call()


@pytest.mark.parametrize("seed", range(10))
def test_the_two_linear_programs_are_alternatives(seed: int) -> None:
    problem = ridge_problem(seed, n=8, p=2, ridge=1e-2)
    theta = solved_theta(problem)
    assert is_solvable(problem) == (separating_direction(problem, theta)[0] <= 1e-9)


def test_depth_radius_is_the_smallest_reach_of_the_hull() -> None:
    theta = solved_theta(CLUSTERS)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    u = np.stack([np.cos(angles), np.sin(angles)])
    reach = (criterion_gradients(CLUSTERS, theta) @ u).max(axis=0).min()
    assert depth_radius(CLUSTERS, theta) == pytest.approx(reach, rel=1e-5)


def test_flat_hulls_have_no_interior() -> None:
    problem = LeastSquares(np.ones((4, 2)), [0, 1, 2, 3], np.eye(2), [0.5, 0.5], ridge=0.0)
    assert depth_radius(problem, solved_theta(problem)) == 0.0


def test_outer_hessian_is_the_derivative_of_the_outer_gradient() -> None:
    problem, rng = ridge_problem(0, n=9, p=3, ridge=0.1), np.random.default_rng(0)
    w, step = rng.dirichlet(np.ones(9)), 1e-6
    columns = [
        (problem.outer_grad(w + step * e) - problem.outer_grad(w - step * e)) / (2 * step)
        for e in np.eye(9)
    ]
    np.testing.assert_allclose(outer_hessian(problem, w), np.stack(columns, axis=1), atol=1e-7)


def test_eigenvalues_of_the_face_do_not_depend_on_the_order_of_samples() -> None:
    problem = ridge_problem(0, n=6, p=2, ridge=0.1)
    w = np.random.default_rng(0).dirichlet(np.ones(6))
    a, b = (np.linalg.eigvalsh(face_hessian(problem, w, s)) for s in ([1, 3, 5], [5, 1, 3]))
    np.testing.assert_allclose(a, b)


def test_built_trapped_point_is_what_it_was_built_to_be() -> None:
    problem, point = saddles.built_point(0, 3, 2, 0.1)
    assert point.converged
    assert point.kind == "saddle"
    assert not point.attracting
    assert saddles.inertia(point) == (1, 0, 1)
    assert point.c == pytest.approx(0.1 * point.theta @ problem.adjoint(point.theta, point.w))


def test_newton_returns_to_a_point_from_nearby() -> None:
    problem, point = saddles.built_point(1, 3, 2, 0.1)
    again = stationary_point_on_face(problem, [2, 0, 1], point.w * [1.02, 1.0, 0.98])
    assert again.converged
    np.testing.assert_allclose(again.w, point.w, atol=1e-9)


def test_vertex_is_a_point_of_its_own_face() -> None:
    point = stationary_point_on_face(UNSOLVABLE, [2])
    assert point.converged
    assert point.eigenvalues.size == 0
    assert point.kind == "minimum"
    psi = UNSOLVABLE.outer_grad(point.w)
    np.testing.assert_allclose(point.transversal, np.delete(psi[2] - psi, 2))


def test_start_on_the_solved_manifold_stays_solved() -> None:
    w = max_entropy_weights(CLUSTERS)
    point = stationary_point_on_face(CLUSTERS, range(30), w)
    assert point.converged
    assert point.kind == "solved"


def test_depth_residual_is_the_steepest_ascent_along_the_direction() -> None:
    theta, v = np.array([0.3, -1.0]), np.array([3.0, 4.0])
    g = (CLUSTERS.X @ theta - CLUSTERS.y)[:, None] * CLUSTERS.X + CLUSTERS.ridge * theta
    expected = max(row @ v for row in g) / 5.0
    assert expected > 0
    assert depth_residual(CLUSTERS, theta, v) == pytest.approx(expected)
    assert depth_residual(CLUSTERS, theta, 7 * v) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_rank_does_not_depend_on_units(scale: float) -> None:
    rows = np.random.default_rng(0).standard_normal((6, 3))
    units = np.array([scale, 1.0, 1.0 / scale])
    assert scaled_rank(rows * units) == 3
    rows[:, 2] = rows[:, 0]
    assert scaled_rank(rows * units) == 2
    assert scaled_rank(np.zeros((2, 3))) == 0


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: depth_residual(CLUSTERS, np.ones(2), np.zeros(2)), "`direction` must not be zero"),
        (lambda: solved_vertex(CLUSTERS, None, np.ones(3)), "`direction` must have shape"),
        (lambda: max_entropy_weights(CLUSTERS, tol=0.0), "`tol` must be > 0"),
        (lambda: stationary_point_on_face(CLUSTERS, []), "`support` must be a list"),
        (lambda: stationary_point_on_face(CLUSTERS, [1, 1]), "`support` must hold distinct"),
        (lambda: stationary_point_on_face(CLUSTERS, [40]), r"distinct indices in \[0, 30\)"),
        (lambda: stationary_point_on_face(CLUSTERS, [1, 2], [0.0, 1.0]), "`w0` must be > 0"),
        (lambda: stationary_point_on_face(CLUSTERS, [1, 2], [1.0] * 3), "`w0` must have shape"),
        (lambda: depth_radius(ridge_problem(0, 20, 9, 0.1), np.zeros(9)), "at most 8 parameters"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, match) -> None:
    with pytest.raises(ValueError, match=match):
        call()


def test_only_quadratic_problems_have_these_closed_forms() -> None:
    softmax = softmax_problem(0, n=6, d=2, classes=2, ridge=0.1)
    w = np.full(6, 1 / 6)
    for call in (
        lambda: solved_theta(softmax),
        lambda: outer_hessian(softmax, w),
        lambda: stationary_point_on_face(softmax, [0]),
    ):
        with pytest.raises(TypeError, match="`problem` must be LeastSquares"):
            call()


def test_depth_and_vertices_work_for_any_losses() -> None:
    softmax = softmax_problem(0, n=20, d=2, classes=2, ridge=0.1)
    theta = softmax.theta_star(np.full(20, 0.05))
    assert is_solvable(softmax, theta)
    w = solved_vertex(softmax, theta, np.arange(20.0))
    assert np.abs(softmax.train_grad(theta, w)).max() < 1e-10
    w = max_entropy_weights(softmax, theta, tol=1e-9)
    np.testing.assert_allclose(w, 0.05, atol=1e-6)


@pytest.mark.parametrize("exponent", range(7))
def test_units_of_the_features_do_not_matter(exponent: int) -> None:
    sizes = 10.0 ** np.array([exponent, 0, -exponent])
    for seed in range(6):
        a = two_clusters(seed, n=30, p=3, ridge=0.0, m=40) if seed % 2 else ridge_problem(
            seed, n=20, p=3, ridge=0.0
        )  # fmt: skip
        b = LeastSquares(a.X * sizes, a.y, a.X_val * sizes, a.y_val, ridge=0.0)
        theta, scaled = solved_theta(a), solved_theta(b)
        np.testing.assert_allclose(scaled * sizes, theta, rtol=1e-10)
        assert is_solvable(b) == is_solvable(a)
        margins = separating_direction(a, theta), separating_direction(b, scaled)
        assert margins[0][0] == pytest.approx(margins[1][0], abs=1e-9)
        assert np.sign(depth_radius(b, scaled)) == np.sign(depth_radius(a, theta))
        if is_solvable(a):
            d = np.random.default_rng(seed).standard_normal(a.num_samples)
            np.testing.assert_allclose(
                solved_vertex(b, None, d), solved_vertex(a, None, d), atol=1e-8
            )
            np.testing.assert_allclose(
                max_entropy_weights(b, tol=1e-11), max_entropy_weights(a, tol=1e-11), atol=1e-8
            )


def test_theta_of_least_norm_in_mixed_units() -> None:
    sizes = np.array([1e8, 1.0, 1e-8])
    problem = LeastSquares(np.eye(3), np.ones(3), np.diag(sizes), np.ones(3), ridge=0.1)
    np.testing.assert_allclose(solved_theta(problem) * sizes, 1.0)


def test_a_point_that_newton_missed_has_no_kind() -> None:
    point = stationary_point_on_face(CLUSTERS, [0, 1, 2], max_iterations=1)
    assert not point.converged
    assert point.kind == "not converged"
