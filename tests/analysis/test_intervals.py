"""Interval proofs: they hold where theory gives the answer, and refuse what is not so."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.analysis.intervals import (
    exclude_dense_supports,
    prove_rest_point,
)
from warmflow.analysis.intervals.arithmetic import (
    as_floats,
    ball,
    ball_matrix,
)
from warmflow.analysis.intervals.enclosure import FrozenBalls, RestPointSystem
from warmflow.analysis.intervals.proof import _face_attracts, _face_jacobian
from warmflow.analysis.theorems.instances import ridge_problem, softmax_problem
from warmflow.dynamics import LeastSquares, MultiProblem, integrate_frozen
from warmflow.dynamics.flows import FullFrozen
from warmflow.dynamics.problems import Problem

from ._balls import interval_matrix

flint = pytest.importorskip("flint", reason="interval arithmetic needs python-flint")


# ---------------------------------------------------------------------- the frozen flow in balls
@pytest.mark.parametrize("problem", [ridge_problem(0, 6, 2, 0.1), softmax_problem(0, 6, 2, 3, 0.1)])
def test_enclosures_hold_what_the_library_computes(problem: Problem) -> None:
    rng = np.random.default_rng(0)
    theta, v = rng.standard_normal(problem.num_params), rng.standard_normal(problem.num_params)
    balls = FrozenBalls.of(problem, theta)
    assert_allclose(as_floats(balls.gamma), problem.per_sample_grads(theta), rtol=1e-13, atol=1e-14)
    assert_allclose(as_floats(balls.target)[:, 0], problem.val_grad(theta), rtol=1e-13)
    rows = as_floats(balls.curvatures(range(6), ball_matrix(v)))
    assert_allclose(rows, problem.per_sample_hvp(theta, v), rtol=1e-12, atol=1e-14)
    w = rng.dirichlet(np.ones(6))
    H = as_floats(balls.hessian(range(6), [ball(float(x)) for x in w]))
    assert_allclose(H, problem.hessian(theta, w), rtol=1e-12, atol=1e-14)


def test_the_jacobian_of_the_system_is_the_difference_quotient() -> None:
    """The residual is quadratic: central differences have no truncation error."""
    problem = ridge_problem(1, 6, 2, 0.1)
    system = RestPointSystem(FrozenBalls.of(problem, np.array([0.3, -1.0])), (1, 4))
    z = np.array([0.25, 0.75, 1.0, -2.0, 0.5])
    exact = as_floats(system.jacobian(ball_matrix(z)))
    for k, step in enumerate(0.5 * np.eye(5)):
        ends = [as_floats(system.residual(ball_matrix(z + sign * step))) for sign in (1, -1)]
        assert_allclose((ends[0] - ends[1])[:, 0], exact[:, k], atol=1e-12)


# ---------------------------------------------------------------------- rest points
def two_samples(*targets: float) -> LeastSquares:
    """At theta = 0 the sample with the larger target pulls more towards the validation's 3."""
    return LeastSquares(np.ones((len(targets), 1)), targets, [[1.0]], [3.0], ridge=0.1)


def vertex_problem(p: int = 2, *, sign: float = 1.0) -> tuple[LeastSquares, np.ndarray, tuple]:
    """Return ridge 0 data, theta and a support whose multipliers all have the given sign."""
    for seed in range(100):
        problem = ridge_problem(seed, 8, p, 0.0)
        theta = np.random.default_rng(seed).standard_normal(p)
        rows, target = problem.per_sample_grads(theta), problem.val_grad(theta)
        for S in combinations(range(8), p):
            multipliers = np.linalg.solve(rows[list(S)].T, target)
            slack = 1 - rows @ np.linalg.solve(rows[list(S)], np.ones(p))
            inside = (np.delete(slack, S) > 0.01).all() or sign < 0
            if (sign * multipliers > 0.05).all() and inside:
                return problem, theta, S
    raise AssertionError("no such problem among the seeds")


def closed_form(problem: LeastSquares, theta: np.ndarray, S: tuple) -> tuple[np.ndarray, float]:
    """Return the weights ``lambda_i r_i^2 / s`` and ``s`` of theory T5b."""
    rows, r = problem.per_sample_grads(theta), problem.residuals(theta)
    share = np.linalg.solve(rows[list(S)].T, problem.val_grad(theta)) * r[list(S)] ** 2
    w = np.zeros(problem.num_samples)
    w[list(S)] = share / share.sum()
    return w, float(share.sum())


@pytest.mark.parametrize("p", [1, 2, 3])
def test_proved_weights_field_and_gaps_are_those_of_the_linear_program(p: int) -> None:
    problem, theta, S = vertex_problem(p)
    w, s = closed_form(problem, theta, S)
    proof = prove_rest_point(problem, theta, w)
    assert proof.proved, proof.reason
    assert proof.verdict == "proved"
    assert proof.support == S
    assert_allclose(proof.weights, w, atol=1e-13)
    assert 0 < proof.weight_radius < 1e-12 < proof.unique_radius
    assert proof.field_value[0] < proof.field_value[1]
    assert_allclose(proof.field_value, -s, rtol=1e-12)
    rows = problem.per_sample_grads(theta)
    gaps = s * (1 - rows @ np.linalg.solve(rows[list(S)], np.ones(p)))
    assert_allclose(np.delete(proof.gaps, S), np.delete(gaps, S), rtol=1e-10)
    assert np.isnan(proof.gaps[list(S)]).all()
    assert proof.smallest_gap == np.delete(proof.gaps, S).min() > 0


def test_the_flow_returns_to_a_proved_rest_point() -> None:
    problem, theta, S = vertex_problem(2)
    proof = prove_rest_point(problem, theta, closed_form(problem, theta, S)[0])
    near = 0.95 * proof.weights + 0.05 / problem.num_samples
    run = integrate_frozen(problem, theta=theta, w0=near, t_span=(0, 1e6), rest_tol=1e-12)
    assert_allclose(run.w[-1], proof.weights, atol=1e-6)


def test_a_face_that_repels_is_not_proved_to_attract() -> None:
    """Multipliers of the other sign: a rest point with s < 0, unstable within its face."""
    problem, theta, S = vertex_problem(2, sign=-1.0)
    proof = prove_rest_point(problem, theta, closed_form(problem, theta, S)[0])
    assert proof.steps == {"exists": True, "hessian": True, "transversal": False, "face": False}
    assert proof.verdict == "not proved"


def test_the_linearisation_is_that_of_the_code_at_rest() -> None:
    problem, theta = ridge_problem(1, 20, 4, 0.1), np.random.default_rng(1).standard_normal(4)
    run = integrate_frozen(problem, theta=theta, t_span=(0, 1e6), rest_tol=1e-12)
    proof = prove_rest_point(problem, theta, run.w[-1])
    S = np.array(proof.support)
    assert (proof.verdict, S.size) == ("proved", 3)
    part, w = problem.batch(train=S), proof.weights[S]
    code = np.linalg.eigvals(FullFrozen(part, theta, 1.0, np.log(w)).jacobian(np.log(w)))
    system = RestPointSystem(FrozenBalls.of(part, theta), (0, 1, 2))
    z = ball_matrix([*w, *part.adjoint(theta, w), proof.field_value[0]])
    face = np.linalg.eigvals(as_floats(_face_jacobian(system, z)))
    # log-weights have one more direction, that of a common constant
    nonzero = code[np.argsort(np.abs(code))][1:]
    assert np.abs(np.diff(face)) > 1e-3
    assert_allclose(np.sort_complex(face), np.sort_complex(nonzero), rtol=1e-9)


def test_near_ties_need_more_bits_and_ties_are_never_proved() -> None:
    near = two_samples(1.0, 1.0 + 2.0**-50)
    assert not prove_rest_point(near, [0.0], [0.0, 1.0], precisions=(53,)).proved
    proof = prove_rest_point(near, [0.0], [0.0, 1.0])
    assert (proof.verdict, proof.precision) == ("proved", 106)
    assert 0 < proof.smallest_gap < 1e-13
    tie = prove_rest_point(two_samples(1.0, 1.0), [0.0], [0.0, 1.0])
    assert (tie.verdict, tie.precision) == ("not proved", 212)
    assert tie.steps == {"exists": True, "hessian": True, "transversal": False, "face": True}
    assert tie.reason == "an absent sample may invade"


def test_what_is_not_isolated_is_not_proved() -> None:
    """Two equal samples share the weight in any proportion."""
    proof = prove_rest_point(two_samples(1.0, 1.0), [0.0], [0.5, 0.5])
    assert not any(proof.steps.values())
    assert proof.reason == "no box in which exactly one rest point exists"
    assert np.isinf([proof.weight_radius, *proof.field_value]).all()


def test_a_fitted_sample_off_the_support_is_harmless_and_on_it_is_at_rest_elsewhere() -> None:
    problem = two_samples(0.0, 1.0)  # the first has residual and gradient 0 at theta = 0
    assert prove_rest_point(problem, [0.0], [0.0, 1.0]).proved
    assert not prove_rest_point(problem, [0.0], [1.0, 0.0]).proved


def test_nothing_is_proved_where_the_gradient_vanishes() -> None:
    solved = LeastSquares([[1.0], [2.0]], [1.0, -1.0], [[1.0]], [0.5], ridge=0.1)
    for w in ([0.5, 0.5], [1.0, 0.0], [0.0, 1.0]):
        proof = prove_rest_point(solved, [0.5], w)
        assert proof.verdict == "not proved"
        assert proof.reason.startswith("grad F(theta) may be 0: all gaps vanish")


def nearly_singular() -> tuple[LeastSquares, np.ndarray]:
    """Return two samples of which the second alone has cond(H) = 2e14."""
    X_val = [[2.0, -2.0], [1.0, 0.0], [-2.0, 2.0], [-1.0, -1.0]]
    problem = LeastSquares(
        [[2.0, 1.0], [1.0, -1.0]], [0.0, -1.0], X_val, [1.0, 0.0, -2.0, 1.0], ridge=1e-14
    )
    return problem, np.array([-0.25, -0.25])


def exact_gap(problem: LeastSquares, theta: np.ndarray) -> Fraction:
    """Return ``Psi_0 - Psi_1`` at w = (0, 1) in rational arithmetic."""

    def rational(values: np.ndarray) -> list[Fraction]:
        return [Fraction(float(x)) for x in values]

    def gradient(x: np.ndarray, y: float) -> list[Fraction]:
        row, point = rational(x), rational(theta)
        r = sum(a * b for a, b in zip(row, point, strict=True)) - Fraction(float(y))
        return [r * a for a in row]

    pairs = zip(problem.X_val, problem.y_val, strict=True)
    each = zip(*(gradient(x, y) for x, y in pairs), strict=True)
    g = [sum(column) / problem.num_val for column in each]
    a, b = rational(problem.X[1])
    ridge = Fraction(problem.ridge)
    det = (a * a + ridge) * (b * b + ridge) - (a * b) ** 2
    v = [
        ((b * b + ridge) * g[0] - a * b * g[1]) / det,
        ((a * a + ridge) * g[1] - a * b * g[0]) / det,
    ]
    pull = [
        sum(s * t for s, t in zip(gradient(x, y), v, strict=True))
        for x, y in zip(problem.X, problem.y, strict=True)
    ]
    return pull[1] - pull[0]


def test_a_nearly_singular_hessian_is_decided_by_more_bits() -> None:
    problem, theta = nearly_singular()
    assert not prove_rest_point(problem, theta, [0.0, 1.0], precisions=(53,)).proved
    proof = prove_rest_point(problem, theta, [0.0, 1.0])
    gap = exact_gap(problem, theta)
    assert (proof.verdict, proof.precision) == ("proved", 106)
    assert 0 < Fraction(proof.smallest_gap) <= gap


def test_a_face_whose_hessian_cannot_be_inverted_is_not_shown() -> None:
    """Weights so wide that H = w_0 + w_1 + ridge may vanish."""
    system = RestPointSystem(FrozenBalls.of(two_samples(1.0, 2.0), np.zeros(1)), (0, 1))
    wide = interval_matrix([[0.5], [0.5], [1.0], [0.0]], 1.0)
    with pytest.raises(ZeroDivisionError):
        _face_jacobian(system, wide)
    assert not _face_attracts(system, wide)


def test_the_point_proved_is_weights_even_where_the_candidate_is_far() -> None:
    problem, theta, S = vertex_problem(2)
    exact = closed_form(problem, theta, S)[0]
    far = np.where(exact > 0, 0.5, 0.0)
    proof = prove_rest_point(problem, theta, far)
    assert proof.proved
    assert np.abs(far - exact).max() > 0.01 > 1e-12 > np.abs(proof.weights - exact).max()


def test_the_example_of_the_docstring() -> None:
    """Skipped there, since python-flint is optional."""
    problem = two_samples(-1.0, 2.0)
    assert prove_rest_point(problem, [0.0], [0.0, 1.0]).verdict == "proved"
    assert prove_rest_point(problem, [0.0], [1.0, 0.0]).reason == "an absent sample may invade"


def test_one_sample_is_its_own_rest_point() -> None:
    proof = prove_rest_point(two_samples(1.0), [0.0], [1.0])
    assert proof.proved
    assert proof.smallest_gap == np.inf


def test_ridge_zero_without_full_rank_is_not_proved() -> None:
    problem = LeastSquares([[1.0, 0.0], [2.0, 0.0]], [1.0, 2.0], [[1.0, 0.0]], [5.0], ridge=0.0)
    assert not prove_rest_point(problem, [0.0, 0.0], [0.0, 1.0]).proved


def test_proofs_leave_the_precision_alone() -> None:
    before = flint.ctx.prec
    prove_rest_point(two_samples(1.0, 1.0), [0.0], [0.0, 1.0])
    exclude_dense_supports(two_samples(1.0, 1.0), [0.0])
    assert flint.ctx.prec == before


# ---------------------------------------------------------------------- dense supports
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_all_dense_supports_of_random_data_are_excluded(ridge: float) -> None:
    shares: list[float] = []
    result = exclude_dense_supports(
        ridge_problem(0, 6, 2, ridge), [1.0, -1.0], progress=shares.append
    )
    assert result.verdict == "proved"
    assert result.num_excluded == result.num_supports == 20 + 15 + 6 + 1
    assert min(result.smallest_determinant, result.gradient_size) > 0
    assert shares == [k / 20 for k in range(1, 21)]


def test_duplicates_and_a_vanishing_gradient_leave_supports_open() -> None:
    plain = ridge_problem(0, 5, 2, 0.1)
    X, y = np.vstack([plain.X, plain.X[0]]), np.append(plain.y, plain.y[0])
    result = exclude_dense_supports(
        LeastSquares(X, y, plain.X_val, plain.y_val, ridge=0.1), [1.0, -1.0]
    )
    assert result.open == [(0, i, 5) for i in (1, 2, 3, 4)]
    assert (result.verdict, result.precision) == ("not proved", 212)
    theta = np.array([1.0, -0.5])
    solved = LeastSquares(plain.X, plain.y, np.eye(2), theta, ridge=0.1)
    stuck = exclude_dense_supports(solved, theta)
    assert (stuck.gradient_size, stuck.num_excluded) == (0.0, 0)


# ---------------------------------------------------------------------- at the door
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "flint", None)
    cure = r"needs python-flint: pip install 'warmflow\[certify\]'"
    with pytest.raises(ImportError, match="prove_rest_point " + cure):
        prove_rest_point(two_samples(1.0, 2.0), [0.0], [0.0, 1.0])
    with pytest.raises(ImportError, match="exclude_dense_supports " + cure):
        exclude_dense_supports(two_samples(1.0, 2.0), [0.0])


def test_bad_arguments_are_refused() -> None:
    problem = two_samples(1.0, 2.0)
    with pytest.raises(TypeError, match="`problem` must be a Problem; got int"):
        prove_rest_point(3, [0.0], [0.0, 1.0])
    with pytest.raises(ValueError, match=r"`theta` must have shape \(1,\); got \(2,\)"):
        prove_rest_point(problem, [0.0, 0.0], [0.0, 1.0])
    with pytest.raises(ValueError, match=r"`w` must be >= 0; got -1\.0"):
        prove_rest_point(problem, [0.0], [-1.0, 2.0])
    with pytest.raises(ValueError, match="`precisions` must be >= 24; got 8"):
        prove_rest_point(problem, [0.0], [0.0, 1.0], precisions=(8,))
    with pytest.raises(ValueError, match="`precisions` must name at least one"):
        prove_rest_point(problem, [0.0], [0.0, 1.0], precisions=())
    with pytest.raises(ValueError, match="`problem` must be float64; got float32"):
        prove_rest_point(problem.to("float32"), [0.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="`problem` must be float64; got float32"):
        exclude_dense_supports(problem.to("float32"), [0.0])
    with pytest.raises(TypeError, match="`precisions` must be a sequence of integers; got 53"):
        prove_rest_point(problem, [0.0], [0.0, 1.0], precisions=53)
    with pytest.raises(TypeError, match="`precisions` must be a sequence of integers; got 53"):
        exclude_dense_supports(problem, [0.0], precisions=53)
    with pytest.raises(ValueError, match=r"`max_supports` \(1\) is below the 4 supports"):
        exclude_dense_supports(two_samples(1.0, 2.0, 3.0), [0.0], max_supports=1)
    stacked = MultiProblem([problem, problem])
    with pytest.raises(TypeError, match=r"LeastSquares or SoftmaxRegression.*got MultiProblem"):
        prove_rest_point(stacked, [0.0, 0.0], [0.0, 1.0])
