"""Frozen rest points, against programs, flows and points found by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog, nnls

from warmflow.analysis.rest_points import (
    frozen,
    frozen_portrait,
    frozen_rest_point,
    frozen_rest_points,
    nonnegative_path,
    rest_point_on_face,
)
from warmflow.analysis.theorems.instances import ridge_problem, softmax_problem
from warmflow.dynamics import ConvergenceError, LeastSquares, SoftmaxRegression, integrate_frozen


def by_gradients(X, residuals, grad_val, ridge: float) -> LeastSquares:
    """Return a problem with these features, residuals and grad F at theta = 0."""
    p = len(grad_val)
    y_val = -p * np.asarray(grad_val, dtype=float)
    return LeastSquares(X, -np.asarray(residuals, dtype=float), np.eye(p), y_val, ridge=ridge)


TWO_LIMITS = by_gradients([[1, 1], [2, 1], [1, -1]], [3, 1, 0.5], [3, 1], ridge=0.5)
ORIGIN = np.zeros(2)


@pytest.mark.parametrize("kappa", [0.9, 0.3, 0.05, 1e-3])
@pytest.mark.parametrize("seed", range(4))
def test_path_solves_the_nonnegative_lasso(seed: int, kappa: float) -> None:
    """Against nonnegative least squares with the penalty as one more row, in the limit."""
    rng = np.random.default_rng(seed)
    gamma, f = rng.standard_normal((12, 4)), rng.standard_normal(4)
    kappa = kappa * (gamma @ f).max()
    piece = next(x for x in nonnegative_path(gamma, f) if x.low <= kappa <= x.high)
    multipliers = np.zeros(12)
    multipliers[piece.active] = piece.a - kappa * piece.b
    d = piece.offset + kappa * piece.slope
    assert multipliers.min() >= -1e-12
    assert_allclose(f - gamma.T @ multipliers, d, atol=1e-12)
    assert (gamma @ d).max() <= kappa * (1 + 1e-10)
    assert_allclose((gamma @ d)[piece.active], kappa, rtol=1e-10)


def test_path_ends_at_nonnegative_least_squares() -> None:
    rng = np.random.default_rng(0)
    gamma, f = rng.uniform(0.1, 1, (6, 5)), rng.standard_normal(5) + 0.5
    last = list(nonnegative_path(gamma, f))[-1]
    assert last.low == 0.0
    assert_allclose(np.linalg.norm(last.offset), nnls(gamma.T, f)[1], rtol=1e-9)


def test_path_is_empty_where_no_row_makes_an_acute_angle() -> None:
    assert list(nonnegative_path(np.array([[-1.0, 0.0], [-1.0, 1.0]]), np.array([1.0, 0.0]))) == []


@pytest.mark.parametrize("features", ["gaussian", "heavy"])
@pytest.mark.parametrize("n, p", [(9, 8), (30, 5), (200, 3), (12, 1)])
def test_without_ridge_it_is_the_linear_program(n: int, p: int, features: str) -> None:
    problem = ridge_problem(0, n, p, 0.0, features=features)
    theta = np.random.default_rng(1).standard_normal(p)
    gamma = (problem.X @ theta - problem.y)[:, None] * problem.X
    program = linprog(np.ones(n), A_eq=gamma.T, b_eq=problem.val_grad(theta), method="highs-ds")
    point = frozen_rest_point(problem, theta)
    if program.status != 0:
        assert point.status == "outside_cone"
        return
    w = program.x * problem.residuals(theta) ** 2
    assert_allclose(point.w, w / w.sum(), atol=1e-9)
    assert_allclose(point.nu @ problem.val_grad(theta), program.fun, rtol=1e-9)
    assert point.attracting
    assert point.support.size == p
    assert_allclose(point.face_eigenvalues, -point.s, rtol=1e-8)
    if p > 1:
        assert_allclose(point.largest_mirror_step, 2 / point.s, rtol=1e-8)


def test_with_ridge_the_flow_goes_there() -> None:
    problem = ridge_problem(3, 20, 3, 0.1)
    theta = np.random.default_rng(3).standard_normal(3)
    point = frozen_rest_point(problem, theta)
    run = integrate_frozen(problem, theta=theta, t_span=(0, 1e6), rest_tol=1e-9)
    assert point.status == "attracting"
    assert_allclose(run.w[-1], point.w, atol=1e-6)
    assert point.residual < 1e-10


def test_two_limits_and_the_saddle_between_them_by_hand() -> None:
    points = frozen_rest_points(TWO_LIMITS, ORIGIN)
    assert_allclose([x.w for x in points], [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]], atol=1e-12)
    assert_allclose([x.s for x in points], [24 / 5, 2, 14 / 11], rtol=1e-12)
    assert [x.status for x in points] == ["attracting", "unstable", "attracting"]
    assert points[1].face_eigenvalues[0].real > 0
    assert points[1].largest_mirror_step == 0.0
    assert frozen_rest_point(TWO_LIMITS, ORIGIN).status == "several"


def test_equal_residuals_leave_one_root() -> None:
    """Then s falls along the path: the l1 norm of a lasso decreases with its penalty."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        q = by_gradients(rng.standard_normal((8, 3)), np.ones(8), rng.standard_normal(3), ridge=1.0)
        assert len(frozen_rest_points(q, np.zeros(3))) == 1


def test_degenerate_cases_are_named() -> None:
    def status(q: LeastSquares) -> str:
        return frozen_rest_point(q, np.zeros(q.num_params)).status

    assert status(by_gradients(np.eye(2), [1, 1], [-1, 1], ridge=0.0)) == "outside_cone"
    assert status(by_gradients(np.eye(2), [1, 1], [-1, -1], ridge=0.1)) == "repelled"
    assert status(by_gradients(np.eye(2), [1, 1], [0, 0], ridge=0.1)) == "stationary"
    assert status(by_gradients(np.eye(2), [0, 0], [1, 1], ridge=0.0)) == "stationary"
    assert status(by_gradients(np.eye(2), [1, 1], [0, 1], ridge=0.0)) == "degenerate"
    assert status(by_gradients(np.zeros((2, 2)), [1, 1], [1, 1], ridge=0.0)) == "stationary"
    line = [[1, 0], [0, 1], [0.5, 0.5]]
    assert status(by_gradients(line, [1, 1, 1], [1, 1.2], ridge=0.0)) == "degenerate"


def test_fitted_samples_have_no_weight() -> None:
    q = by_gradients([[1, 0], [0, 1], [1, 1]], [1, 1, 0], [1, 2], ridge=0.0)
    assert_allclose(frozen_rest_point(q, ORIGIN).w, [1 / 3, 2 / 3, 0], atol=1e-14)


def test_rank_deficient_features() -> None:
    base = ridge_problem(0, 20, 2, 0.0)
    basis = np.random.default_rng(0).standard_normal((2, 4))
    wide = LeastSquares(base.X @ basis, base.y, base.X_val @ basis, base.y_val, ridge=0.0)
    theta = np.linalg.lstsq(wide.X, wide.y, rcond=None)[0]
    assert frozen_rest_point(wide, theta).support.size == 2


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_equal_gradients_share_their_weight_as_at_the_start(ridge: float) -> None:
    """Sample 1 has the gradient of sample 0, with twice the features and half the residual."""
    X, residuals = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], [2.0, 1.0, 1.0]
    q, w0 = by_gradients(X, residuals, [1, 1], ridge), np.array([0.2, 0.6, 0.2])
    point = frozen_rest_point(q, ORIGIN, w0=w0)
    run = integrate_frozen(q, theta=ORIGIN, w0=w0, t_span=(0, 1e4), rest_tol=1e-10)
    assert_allclose(point.w[1] / point.w[0], 3.0)
    assert_allclose(run.w[-1], point.w, atol=1e-7)
    assert point.attracting


def test_newton_finds_the_point_and_its_gaps() -> None:
    problem = ridge_problem(3, 20, 3, 0.1)
    theta = np.random.default_rng(3).standard_normal(3)
    point = frozen_rest_point(problem, theta)
    w0 = point.w * np.exp(0.3 * np.random.default_rng(0).standard_normal(20))
    again = rest_point_on_face(problem, theta, point.support, w0)
    assert_allclose(again.w, point.w, atol=1e-9)
    assert_allclose(again.gaps, point.gaps, atol=1e-7)
    assert again.status == "attracting"
    a = -problem.hypergradient(theta, again.w)
    assert_allclose(a - a[point.support[0]], again.gaps, atol=1e-8)


def test_newton_for_softmax() -> None:
    problem = softmax_problem(0, n=40, d=2, classes=3, ridge=0.05)
    theta = 0.3 * np.random.default_rng(0).standard_normal(6)
    scale = np.abs(problem.hypergradient(theta, np.full(40, 1 / 40))).max()
    run = integrate_frozen(problem, theta=theta, t_span=(0, 1e6), rest_tol=1e-8 * scale)
    kept = np.flatnonzero(run.w[-1] > 1e-4)
    point = rest_point_on_face(problem, theta, kept, run.w[-1])
    assert point.attracting
    assert_allclose(point.w, run.w[-1], atol=1e-5)


def test_newton_says_where_there_is_none() -> None:
    q = by_gradients([[1, 0], [0, 1], [-1, 0]], [1, 1, 1], [1, 1], ridge=0.1)
    point = rest_point_on_face(q, ORIGIN, [1, 2])
    assert point.status == "not_converged"
    assert "start nearer" in point.message
    assert not point.attracting
    assert np.isnan(point.w).all()


def test_portrait_of_two_limits() -> None:
    portrait = frozen_portrait(TWO_LIMITS, ORIGIN, num_points=4, num_orbits=4)
    expected = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]])
    assert_allclose(portrait.rest_points, expected, atol=1e-12)
    assert portrait.kinds == ("attracting", "attracting", "repelling", "saddle")
    assert_allclose(portrait.weights.sum(axis=1), 1.0)
    assert_allclose(portrait.velocity.sum(axis=1), 0.0, atol=1e-14)
    ends = np.array([orbit[-1] for orbit in portrait.orbits])
    assert (np.abs(ends[:, None] - expected[:2]).max(axis=-1).min(axis=-1) < 1e-2).all()


def test_portrait_with_a_rest_point_inside() -> None:
    """Three samples and three parameters: 1 lies in the range of Gamma."""
    portrait = frozen_portrait(
        by_gradients(np.eye(3), [1, 1, 1], [1, 1, 1], ridge=0.1), np.zeros(3), num_orbits=0
    )
    assert_allclose(portrait.rest_points[-1], 1 / 3, atol=1e-9)
    assert portrait.kinds[-1] == "attracting"
    assert len(portrait.kinds) == 7


def test_portrait_of_duplicates_has_vertices_only() -> None:
    q = by_gradients([[1, 0], [1, 0], [0, 1]], [1, 1, 1], [1, 0], ridge=0.1)
    assert_array_equal(frozen_portrait(q, ORIGIN, num_orbits=0).rest_points[:3], np.eye(3))


SOFTMAX = SoftmaxRegression(np.eye(2), [0, 1], np.eye(2), [1, 0])
ERRORS = {
    "problem": (lambda: frozen_rest_point(SOFTMAX, np.zeros(4)), TypeError, "be a LeastSquares"),
    "theta": (lambda: frozen_rest_point(TWO_LIMITS, np.zeros(3)), ValueError, "`theta` must have"),
    "w0": (
        lambda: frozen_rest_point(TWO_LIMITS, ORIGIN, w0=[1, 0, 0]),
        ValueError,
        r"`w0` must be > 0 everywhere",
    ),
    "support": (
        lambda: rest_point_on_face(TWO_LIMITS, ORIGIN, [0, 3]),
        ValueError,
        r"`support` must hold distinct indices in \[0, 3\); got \[0, 3\]",
    ),
    "twice": (lambda: rest_point_on_face(TWO_LIMITS, ORIGIN, [1, 1]), ValueError, "distinct"),
    "mask": (
        lambda: rest_point_on_face(TWO_LIMITS, ORIGIN, [True, False, True]),
        ValueError,
        "`support` must be a list of sample indices",
    ),
    "start": (
        lambda: rest_point_on_face(TWO_LIMITS, ORIGIN, [0, 1], [1.0, 0.0, 1.0]),
        ValueError,
        "`w0` must be > 0 on the support",
    ),
    "start shape": (
        lambda: rest_point_on_face(TWO_LIMITS, ORIGIN, [0, 1], [1.0, 1.0]),
        ValueError,
        r"`w0` must have shape \(3,\); got \(2,\)",
    ),
    "tol": (
        lambda: rest_point_on_face(TWO_LIMITS, ORIGIN, [0], tol=0.0),
        ValueError,
        r"`tol` must be > 0; got 0\.0",
    ),
    "samples": (
        lambda: frozen_portrait(ridge_problem(0, 4, 2, 0.1), ORIGIN),
        ValueError,
        "`problem` must have 3 training samples; got 4",
    ),
    "ridge": (
        lambda: frozen_portrait(ridge_problem(0, 3, 2, 0.0), ORIGIN),
        ValueError,
        r"`problem` must have ridge > 0; got 0\.0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("call, error, match", ERRORS.values(), ids=ERRORS.keys())
def test_bad_input_is_named(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


def in_units(problem: LeastSquares, sizes: np.ndarray) -> LeastSquares:
    return LeastSquares(
        problem.X * sizes, problem.y, problem.X_val * sizes, problem.y_val, ridge=problem.ridge
    )


@pytest.mark.parametrize("exponent", range(7))
def test_units_of_the_features_do_not_matter_at_ridge_0(exponent: int) -> None:
    sizes = 10.0 ** np.array([exponent, 0, -exponent])
    for seed in range(12):
        problem, theta = ridge_problem(seed, 20, 3, 0.0), np.random.default_rng(seed).normal(size=3)
        a = frozen_rest_point(problem, theta)
        b = frozen_rest_point(in_units(problem, sizes), theta / sizes)
        assert a.status == b.status
        assert_array_equal(a.support, b.support)
        assert_allclose(a.w, b.w, atol=1e-9)
        assert_allclose(a.s, b.s, rtol=1e-8)


@pytest.mark.parametrize("exponent", [0, 3, 6])
@pytest.mark.parametrize("ridge", [1e-6, 1e-2])
def test_with_ridge_mixed_units_give_a_rest_point(exponent: int, ridge: float) -> None:
    """The metric of the ridge is not free: the answer differs, but must rest by other algebra."""
    sizes = 10.0 ** np.array([exponent, 0, -exponent])
    for seed in range(12):
        problem = in_units(ridge_problem(seed, 20, 3, ridge), sizes)
        theta = np.random.default_rng(seed).standard_normal(3) / sizes
        point = frozen_rest_point(problem, theta)
        assert point.residual < 1e-6
        assert point.largest_gap <= 1e-9 * point.s


def test_fitted_samples_that_span_hold_the_weights_outside_the_cone() -> None:
    q = LeastSquares([[1, 0], [0, 1], [1, 2]], [0, 0, 1], np.eye(2), [-2, -4], ridge=0.0)
    point = frozen_rest_point(q, ORIGIN)
    assert point.status == "fitted"
    assert "2 samples are fitted exactly" in point.message
    assert rest_point_on_face(q, ORIGIN, [0, 1]).attracting
    run = integrate_frozen(q, theta=ORIGIN, w0=[0.2, 0.3, 0.5], t_span=(0, 1e4), rest_tol=1e-12)
    assert_allclose(run.w[-1], [0.4, 0.6, 0.0], atol=1e-9)


@pytest.mark.parametrize("p", [1, 3])
def test_rank_one_has_a_winner_with_negative_s(p: int) -> None:
    X = np.outer([1.0, 2.0, 0.5], np.arange(1.0, p + 1))
    q = LeastSquares(X, [-1, -1, -2], [np.ones(p)], [1.0], ridge=0.0)
    point = frozen_rest_point(q, np.zeros(p))
    assert point.status == "attracting"
    assert point.s < 0
    run = integrate_frozen(q, theta=np.zeros(p), t_span=(0, 1e4), rest_tol=1e-10)
    assert_allclose(run.w[-1], point.w, atol=1e-6)


def test_one_sample_is_at_rest() -> None:
    q = LeastSquares([[1, 2, 3]], [1], np.eye(3), [1, 0, 0], ridge=0.0)
    assert_array_equal(frozen_rest_point(q, np.zeros(3)).w, [1.0])


def test_rank_one_without_features_at_the_winner_is_named() -> None:
    q = by_gradients([[0.0], [1.0]], [1, 1], [-1], ridge=0.0)
    assert frozen_rest_point(q, np.zeros(1)).status == "fitted"


def test_no_pull_is_stationary_everywhere() -> None:
    q = by_gradients([[1, 0], [0, 1], [1, 1]], [1, 1, 1], [0, 0], ridge=0.1)
    assert rest_point_on_face(q, ORIGIN, [0, 1]).status == "stationary"
    portrait = frozen_portrait(q, ORIGIN, num_points=3, num_orbits=2)
    assert portrait.rest_points.shape == (0, 3)
    assert portrait.kinds == ()
    assert not portrait.velocity.any()
    assert [orbit.shape for orbit in portrait.orbits] == [(1, 3), (1, 3)]


def test_huge_weights_do_not_overflow() -> None:
    a = rest_point_on_face(TWO_LIMITS, ORIGIN, [0, 1], [1e308, 1e308, 1.0])
    assert_allclose(a.w, rest_point_on_face(TWO_LIMITS, ORIGIN, [0, 1]).w)


@pytest.mark.parametrize(
    "gamma, f, match",
    [
        ([[np.nan, 1.0]], [1.0, 1.0], "`gamma` must be finite"),
        ([1.0, 1.0], [1.0, 1.0], "`gamma` must have shape"),
        ([[1.0, 1.0]], [1.0], "`f` must have shape"),
    ],
)
def test_path_checks_its_arguments_at_once(gamma, f, match) -> None:
    with pytest.raises(ValueError, match=match):
        nonnegative_path(gamma, f)


def test_huge_theta_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`theta` must be at most 1e\+50 in size"):
        frozen_rest_point(TWO_LIMITS, [1e200, 0])


def test_a_rest_point_lost_to_round_off_is_not_called_repelled(monkeypatch) -> None:
    monkeypatch.setattr(frozen, "_solutions", lambda *args: iter(()))
    with pytest.raises(ConvergenceError, match="lost to round-off"):
        frozen_rest_point(TWO_LIMITS, ORIGIN)


def test_a_spoilt_rest_point_is_refused() -> None:
    """Features over 12 orders of magnitude, at a ridge that the smallest ones need."""
    sizes = np.array([1e6, 1.0, 1e-6])
    q = in_units(ridge_problem(0, 20, 3, 1e-14), sizes)
    with pytest.raises(ConvergenceError, match="round-off"):
        frozen_rest_point(q, np.random.default_rng(0).standard_normal(3) / sizes)
