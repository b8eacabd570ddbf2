"""T1, T3, T3b, T4, T8 and I1-I5: they pass, and the right ones turn red on sabotaged code."""

from collections.abc import Callable

import numpy as np
import pytest

from warmflow.analysis import theorems
from warmflow.analysis.theorems.numerical import frozen, quadratic, slow_weights
from warmflow.dynamics import LeastSquares, Problem, SoftmaxRegression, features
from warmflow.dynamics.flows import frozen as frozen_flow
from warmflow.dynamics.flows import reduced
from warmflow.dynamics.geometries import SoftmaxLogits
from warmflow.dynamics.problems import base

FAST = ("T1", "I1", "I2", "I3", "I4", "I5")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One problem each for the statements about flows: the law does not need more here."""
    for module in (frozen, quadratic, slow_weights):
        whole = module._problems
        monkeypatch.setattr(module, "_problems", lambda quick, whole=whole: _first(whole(quick)))
    monkeypatch.setattr(slow_weights, "RATIOS", np.geomspace(1e-3, 0.1, 3))
    monkeypatch.setattr(slow_weights, "SMALL", np.full(3, True))
    monkeypatch.setattr(frozen, "_starts", lambda problem, count: [_uniform(problem)])
    monkeypatch.setattr(quadratic, "_starts", lambda problem: [_uniform(problem)])


def _first(problems: dict) -> dict:
    name = next(iter(problems))
    return {name: problems[name]}


def _uniform(problem: Problem) -> np.ndarray:
    return np.full(problem.num_samples, 1.0 / problem.num_samples)


@pytest.mark.parametrize("name", [*FAST, "T3", "T3b", "T4", "T8"])
def test_statement_holds(name: str) -> None:
    certificate = theorems.statement(name)(quick=True)
    assert certificate.passed, str(certificate)


@pytest.mark.parametrize("name", FAST)
def test_full_study_holds(name: str) -> None:
    certificate = theorems.statement(name)(quick=False)
    assert certificate.passed, str(certificate)


def scaled(owner: type, name: str, factor: float) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a sabotage that multiplies what a method returns."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        whole = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kw: factor * whole(*args, **kw))

    return apply


def adjoint_stopped_early(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = base.cg
    monkeypatch.setattr(
        base, "cg", lambda A, b, guess=None, tol=0.0: whole(A, b, guess=guess, tol=1e-3)
    )


def wrong_ridge_in_reduced_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reduced._Reduced.__init__

    def init(self, problem, *args) -> None:
        whole(self, problem, *args)
        self._ridge = 1.05 * self._ridge

    monkeypatch.setattr(reduced._Reduced, "__init__", init)


def fast_theta(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reduced.ReducedJoint.field

    def field(self, z):
        dz = whole(self, z)
        dz[: self.num_params] *= 1.01
        return dz

    monkeypatch.setattr(reduced.ReducedJoint, "field", field)


def wrong_ridge_in_train_grad(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = LeastSquares.train_grad
    monkeypatch.setattr(
        LeastSquares,
        "train_grad",
        lambda self, theta, w: whole(self, theta, w) + 0.05 * self.ridge * theta,
    )


def wrong_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = features.field_coefficients
    monkeypatch.setattr(reduced, "field_coefficients", lambda theta, v: 1.001 * whole(theta, v))


def wrong_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SoftmaxLogits, "step", lambda self, s, g, eta: s - eta * np.exp(s) * g)


def doubled(owner: type, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return scaled(owner, name, 1.001)


SABOTAGE = {
    "sign of the hypergradient": (scaled(Problem, "hypergradient", -1.0), "T1 I1 I2 I4"),
    "hypergradient times 1.001": (doubled(Problem, "hypergradient"), "T1 I1 I3 I4"),
    "theta_star off by 1 %": (scaled(LeastSquares, "theta_star", 1.01), "T1 I1 I2"),
    "softmax theta_star off by 1 %": (scaled(SoftmaxRegression, "theta_star", 1.01), "T1 I2"),
    "hvp times 1.001": (doubled(LeastSquares, "hvp"), "T1"),
    "softmax hvp times 1.001": (doubled(SoftmaxRegression, "hvp"), "T1"),
    "per_sample_jvp times 1.001": (doubled(LeastSquares, "per_sample_jvp"), "T1 I1 I5"),
    "per_sample_losses times 1.001": (doubled(LeastSquares, "per_sample_losses"), "T1 I5"),
    "val_grad times 1.001": (doubled(LeastSquares, "val_grad"), "T1 I1"),
    "adjoint times 1.001": (doubled(Problem, "adjoint"), "T1 I1 T4"),
    "adjoint stopped early": (adjoint_stopped_early, "T1"),
    "wrong ridge in the reduced flow": (wrong_ridge_in_reduced_flow, "T8 T3"),
    "theta 1 % too fast in the reduced flow": (fast_theta, "T8 T3b"),
    "wrong ridge in train_grad": (wrong_ridge_in_train_grad, "T1 T8"),
    "coefficients times 1.001": (wrong_coefficients, "T8"),
    "frozen field times 1.001": (doubled(frozen_flow.FrozenReduced, "field"), "T4"),
    "frozen field reversed": (scaled(frozen_flow.FrozenReduced, "field", -1.0), "T4"),
    "metric P instead of P^2": (wrong_metric, "I3"),
}


@pytest.mark.parametrize(("sabotage", "red"), SABOTAGE.values(), ids=SABOTAGE.keys())
def test_sabotage_turns_certificates_red(sabotage, red, monkeypatch) -> None:
    sabotage(monkeypatch)
    for name in red.split():
        certificate = theorems.statement(name)(quick=True)
        assert not certificate.passed, str(certificate)
        assert "error" not in certificate.details or name in ("T3", "T3b"), str(certificate)
