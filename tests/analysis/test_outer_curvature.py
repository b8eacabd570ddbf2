"""The largest curvature of h along the weights, against dense matrices and differences of h."""

import numpy as np
import pytest

from warmflow.analysis import outer_curvature
from warmflow.analysis.rest_points import max_entropy_weights
from warmflow.analysis.stability import kappa
from warmflow.analysis.theorems.instances import ridge_problem, softmax_problem, two_clusters
from warmflow.dynamics import LeastSquares


def solved(ridge: float = 1e-2) -> tuple[LeastSquares, np.ndarray, np.ndarray]:
    problem = two_clusters(0, n=40, p=3, ridge=ridge)
    w = max_entropy_weights(problem)
    return problem, problem.theta_star(w), w


def test_at_a_solved_point_it_is_the_largest_kappa() -> None:
    problem, theta, w = solved()
    assert outer_curvature(problem, w, theta) == pytest.approx(kappa(problem, theta, w)[-1])


def test_at_a_solved_point_it_bounds_the_second_derivative_of_h_along_mirror_steps() -> None:
    """The bound is reached by the eigenvector, here found by maximising over random directions."""
    problem, _, w = solved()
    rng, step = np.random.default_rng(0), 1e-3
    top = outer_curvature(problem, w)
    found = []
    gamma = problem.per_sample_grads(problem.theta_star(w))
    for _ in range(200):
        logits = gamma @ rng.standard_normal(problem.num_params)
        logits = (logits - w @ logits) / np.sqrt(w @ (logits - w @ logits) ** 2)
        values = []
        for t in (-step, 0.0, step):
            tilted = w * np.exp(t * logits)
            values.append(float(problem.outer_loss(tilted / tilted.sum())))
        found.append((values[0] - 2 * values[1] + values[2]) / step**2)
    assert max(found) <= top * (1 + 1e-3)
    assert max(found) >= 0.5 * top


@pytest.mark.parametrize("kind", ["ridge", "softmax"])
def test_the_matrix_away_from_solved_points(kind: str) -> None:
    problem = (
        ridge_problem(0, 30, 4, 1e-2) if kind == "ridge" else softmax_problem(0, 30, 3, 3, 1e-1)
    )
    rng = np.random.default_rng(1)
    w, theta = rng.dirichlet(np.ones(30)), rng.standard_normal(problem.num_params)
    gamma = problem.per_sample_grads(theta)
    H, eye = problem.hessian(theta, w), np.eye(problem.num_params)
    step = 1e-5
    B = np.stack(
        [(problem.val_grad(theta + step * e) - problem.val_grad(theta - step * e)) / (2 * step)
         for e in eye]
    )  # fmt: skip
    C = (gamma.T * w) @ (gamma - w @ gamma)
    inverse = np.linalg.inv(H)
    dense = np.linalg.eigvals(inverse @ C @ inverse @ B).real.max()
    assert outer_curvature(problem, w, theta) == pytest.approx(dense, rel=1e-5)


def test_units_of_theta_do_not_matter() -> None:
    """Without ridge; lambda_min(H), and with it the ratio R, changes by the square of the unit."""
    problem = ridge_problem(2, 30, 4, 0.0)
    scaled = LeastSquares(0.1 * problem.X, problem.y, 0.1 * problem.X_val, problem.y_val, ridge=0.0)
    assert outer_curvature(scaled) == pytest.approx(outer_curvature(problem), rel=1e-6)


def test_one_sample_has_none_and_two_have_one_direction() -> None:
    problem = ridge_problem(3, 30, 1, 1e-1)
    one = LeastSquares(problem.X[:1], problem.y[:1], problem.X_val, problem.y_val, ridge=0.1)
    assert outer_curvature(one) == 0.0
    two = LeastSquares(problem.X[:2], problem.y[:2], problem.X_val, problem.y_val, ridge=0.1)
    w, theta = np.array([0.3, 0.7]), np.array([0.2])
    gamma = two.per_sample_grads(theta)[:, 0]
    variance = w @ gamma**2 - (w @ gamma) ** 2
    expected = variance * two.val_hessian[0, 0] / two.hessian(theta, w)[0, 0] ** 2
    assert outer_curvature(two, w, theta) == pytest.approx(float(expected))


def test_refusals() -> None:
    problem = ridge_problem(0, 30, 4, 1e-2)
    with pytest.raises(ValueError, match="`w` must have shape"):
        outer_curvature(problem, np.ones(29))
    with pytest.raises(ValueError, match="`theta` must"):
        outer_curvature(problem, theta=np.zeros(3))
