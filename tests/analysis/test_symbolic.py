"""The symbolic proofs go through, and fail when the code or the claim is changed."""

from collections.abc import Callable

import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose

from warmflow.analysis.theorems.symbolic import (
    hypergradient,
    jacobian,
    metric,
    multiplier,
    quadratic,
)
from warmflow.analysis.theorems.symbolic.rational_points import (
    exact_matrix,
    relative_error,
    ridge_point,
)
from warmflow.dynamics import LeastSquares, features, simplex
from warmflow.dynamics.flows import FullJoint
from warmflow.dynamics.problems import Problem

PROOFS = (
    hypergradient.ridge_hypergradient,
    metric.inverse_entropy_hessian,
    jacobian.jacobian_blocks,
    quadratic.quadratic_coefficients,
    multiplier.lagrange_multiplier,
)


@pytest.mark.parametrize("proof", PROOFS)
def test_the_identity_is_proved(proof: Callable) -> None:
    certificate = proof(quick=True)
    assert certificate.passed, str(certificate)
    assert certificate.verdict == "proved"
    assert certificate.details["kind"] == "symbolic"
    assert all(caption and formula for caption, formula in certificate.details["data"]["latex"])


# ---------------------------------------------------------------------- the code is changed
def scaled(function: Callable, factor: float) -> Callable:
    return lambda *args, **kwargs: factor * function(*args, **kwargs)


def assert_red(certificate: object, *, naming: str) -> None:
    """The certificate fails at a check of the code, not at a crash."""
    assert not certificate.passed
    assert certificate.verdict == "not proved"
    red = [check["what"] for check in certificate.details["checks"] if not check["passed"]]
    assert len(red) >= 1
    assert all(naming in what for what in red), red


@pytest.mark.parametrize("factor", [1.001, -1.0])
@pytest.mark.parametrize(
    "proof", [hypergradient.ridge_hypergradient, multiplier.lagrange_multiplier]
)
def test_a_scaled_hypergradient_is_found(
    monkeypatch: pytest.MonkeyPatch, factor: float, proof: Callable
) -> None:
    monkeypatch.setattr(multiplier, "_stationary_residuals", lambda n, p: [0])
    monkeypatch.setattr(Problem, "hypergradient", scaled(Problem.hypergradient, factor))
    assert_red(proof(quick=True), naming="code")


def test_a_wrong_inner_minimiser_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LeastSquares, "theta_star", scaled(LeastSquares.theta_star, 1.01))
    assert_red(hypergradient.ridge_hypergradient(quick=True), naming="code")


def test_an_altered_metric_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simplex, "apply_metric", lambda w, g: w * (g - g.mean(-1, keepdims=True)))
    assert_red(metric.inverse_entropy_hessian(quick=True), naming="code")


@pytest.mark.parametrize("block", [np.s_[:1, :1], np.s_[:1, 1:], np.s_[1:, :1], np.s_[1:, 1:]])
def test_a_scaled_block_of_the_jacobian_is_found(
    monkeypatch: pytest.MonkeyPatch, block: tuple
) -> None:
    true = FullJoint.jacobian

    def broken(self: FullJoint, z: np.ndarray) -> np.ndarray:
        out = true(self, z)
        out[block] *= 1.001
        return out

    # the identities do not touch the code; without them this takes a tenth of the time
    for name in ("polynomial_residuals", "block_residuals", "absent_residuals"):
        monkeypatch.setattr(jacobian.RidgeField, name, lambda _: [0])
    monkeypatch.setattr(jacobian, "_oscillator_differs", lambda _: False)
    monkeypatch.setattr(FullJoint, "jacobian", broken)
    assert_red(jacobian.jacobian_blocks(quick=True), naming="code")


@pytest.mark.parametrize("name", ["field_coefficients", "quadratic_features"])
def test_scaled_features_or_coefficients_are_found(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(features, name, scaled(getattr(features, name), 1.001))
    certificate = quadratic.quadratic_coefficients(quick=True)
    assert not certificate.passed
    assert "identity" in certificate.details["checks"][0]["why"]
    assert not certificate.details["checks"][0]["passed"]


# ---------------------------------------------------------------------- the claim is changed
def test_a_wrong_adjugate_leaves_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    true = hypergradient._adjugate

    def broken(H: list) -> tuple:
        determinant, adjugate = true(H)
        return determinant * 2, adjugate

    monkeypatch.setattr(hypergradient, "_adjugate", broken)
    certificate = hypergradient.ridge_hypergradient(quick=True)
    assert certificate.observed > 0
    assert not certificate.passed


def test_another_metric_is_not_the_inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage of the proof itself: with P' = 2 P in place of P no identity survives."""
    true = metric._rational_functions
    calls = iter([2])  # P is the first matrix that is converted
    monkeypatch.setattr(metric, "_rational_functions", lambda M: true(M * next(calls, 1)))
    assert sum(entry != 0 for entry in metric._residuals(2)) > 4


def test_the_other_sign_of_the_multiplier_is_not_stationary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    true = multiplier._lagrangian

    def minus(n: int, p: int) -> dict:
        parts = true(n, p)
        return parts | {"L": parts["L"] - 2 * (parts["nu"].T * parts["grad_G"])[0]}

    monkeypatch.setattr(multiplier, "_lagrangian", minus)
    assert any(entry != 0 for entry in multiplier._gradient_residuals(2, 1))
    assert any(entry != 0 for entry in multiplier._stationary_residuals(2, 1))


def test_the_blocks_hold_at_solved_points_only() -> None:
    """Away from grad F = 0 the lower right block does not vanish."""
    point = ridge_point(0, 3, 1)
    residuals = np.array(jacobian._rational_field(point).block_residuals()).reshape(4, 4)
    assert (residuals[0] == 0).all()
    assert (residuals[1:, 1:] != 0).any()


def test_the_oscillator_polynomial_is_that_of_the_code() -> None:
    """Eigenvalues of the code's Jacobian are roots of the exact characteristic polynomial."""
    point = ridge_point(5, 3, 1, solved=True)
    log_w = np.log(point.w)
    flow = FullJoint(point.problem, *jacobian.SPEEDS, point.theta, log_w)
    eigenvalues = np.linalg.eigvals(flow.jacobian(np.concatenate([point.theta, log_w])))
    mu, exact = sympy.Symbol("mu"), jacobian._rational_field(point)
    claimed = sympy.Poly(exact.oscillator(mu), mu)
    values = np.polyval([float(c) for c in claimed.all_coeffs()], eigenvalues)
    assert_allclose(values, 0.0, atol=1e-11)


# ---------------------------------------------------------------------- rational points
def test_floats_enter_as_the_rationals_that_they_are() -> None:
    assert exact_matrix(np.array([0.1]))[0] == sympy.Rational(*(0.1).as_integer_ratio())
    assert exact_matrix(np.array([[0.5, -3.0]])) == sympy.Matrix([[sympy.Rational(1, 2), -3]])


def test_rational_points_are_exact_and_on_the_simplex() -> None:
    point = ridge_point(3, 5, 2, solved=True)
    assert sum(point.exact["w"]) == 1
    assert point.w.min() > 0
    assert point.problem.val_grad(point.theta) == pytest.approx(0.0, abs=0.0)


def test_relative_error_sees_a_change_of_one_entry() -> None:
    exact = sympy.Matrix([4, 2])
    assert relative_error(np.array([4.0, 2.0]), exact) == 0.0
    assert relative_error(np.array([4.0, 2.004]), exact) == pytest.approx(1e-3)
    assert relative_error(np.array([0.25]), sympy.Matrix([0])) == 0.25
