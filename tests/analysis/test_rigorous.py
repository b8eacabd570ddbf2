"""The rigorous certificates are proved, and refuse a changed code or a credulous prover."""

import importlib
import inspect
from collections.abc import Callable
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from warmflow.analysis.intervals import RestPointProof
from warmflow.analysis.theorems import rigorous
from warmflow.dynamics import LeastSquares
from warmflow.dynamics.problems import Problem

pytest.importorskip("flint", reason="interval arithmetic needs python-flint")


def test_certificates_are_proved() -> None:
    for verify in (rigorous.attracting_rest_point, rigorous.no_denser_rest_point):
        certificate = verify(quick=True)
        assert certificate.passed, str(certificate)
        assert (certificate.verdict, certificate.details["kind"]) == ("proved", "rigorous")


def red(certificate: object) -> list[str]:
    assert certificate.verdict == "not proved"
    return [check["what"] for check in certificate.details["checks"] if not check["passed"]]


def test_a_scaled_hypergradient_leaves_its_enclosure(monkeypatch: pytest.MonkeyPatch) -> None:
    true = Problem.hypergradient
    monkeypatch.setattr(Problem, "hypergradient", lambda *a, **k: 1.001 * true(*a, **k))
    (what,) = red(rigorous.attracting_rest_point(quick=True))
    assert what.startswith("hypergradient of the code")


def test_a_flow_of_the_wrong_sign_ends_at_nothing_provable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    true = Problem.adjoint
    monkeypatch.setattr(Problem, "adjoint", lambda *a, **k: -true(*a, **k))
    pair = LeastSquares(np.ones((2, 1)), [1.0, 2.0], [[1.0]], [3.0], ridge=0.1)
    monkeypatch.setattr(rigorous, "_cases", lambda _: [(pair, np.zeros(1))] * 2)
    found = red(rigorous.attracting_rest_point(quick=True))
    assert found[0] == "problems whose rest point is proved to exist and attract"


def test_a_support_that_lacks_a_sample_is_not_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    true = rigorous.prove_rest_point

    def lacking(problem: Problem, theta: np.ndarray, w: np.ndarray) -> RestPointProof:
        several = np.count_nonzero(w > 1e-6) > 1
        largest = np.arange(w.size) == np.argmax(w)
        return true(problem, theta, np.where(several & largest, 0.0, w))

    monkeypatch.setattr(rigorous, "prove_rest_point", lacking)
    problem, theta = next(islice(rigorous._cases(1), 1, None))  # two samples on its support
    monkeypatch.setattr(rigorous, "_cases", lambda _: [(problem, theta)] * 2)
    assert "problems whose rest point is proved to exist and attract" in red(
        rigorous.attracting_rest_point(quick=True)
    )


def test_a_prover_that_believes_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rigorous, "_shifted_box", lambda _: True)
    (what,) = red(rigorous.attracting_rest_point(quick=True))
    assert what.startswith("false or degenerate claims")


# ---------------------------------------------------------------------- provers that err in a step
IN_ONE_STEP = "claims false in one step alone"


def module(name: str) -> ModuleType:
    """Return a module of the prover; the package exports a function `krawczyk` over its own."""
    return importlib.import_module(f"warmflow.analysis.intervals.{name}")


def credulous(*_: Any) -> bool:
    return True


def rewritten(home: ModuleType, name: str, old: str, new: str) -> Callable[..., Any]:
    """Return a function of a module with one piece of its source replaced."""
    source = inspect.getsource(getattr(home, name))
    assert source.count(old) == 1, f"{old!r} is not in {name} once"
    made: dict[str, Any] = {}
    code = "from __future__ import annotations\n" + source.replace(old, new)
    exec(code, vars(home), made)
    return made[name]


def test_a_test_of_definiteness_that_never_refuses_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for home in (module("arithmetic"), module("proof"), rigorous):
        monkeypatch.setattr(home, "is_positive_definite", credulous)
    (what,) = red(rigorous.attracting_rest_point(quick=True))
    assert what.startswith(IN_ONE_STEP)


def test_a_face_that_is_never_refused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module("proof"), "is_hurwitz", credulous)
    (what,) = red(rigorous.attracting_rest_point(quick=True))
    assert what.startswith(IN_ONE_STEP)


def test_gaps_that_are_never_refused_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    proof = module("proof")
    blind = rewritten(proof, "_attempt", "bool((np.delete(gaps, chosen) > 0).all())", "True")
    monkeypatch.setattr(proof, "_attempt", blind)
    (what,) = red(rigorous.attracting_rest_point(quick=True))
    assert what.startswith(IN_ONE_STEP)


def test_an_inclusion_that_is_never_refused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module("krawczyk"), "_inside", credulous)
    certificate = rigorous.attracting_rest_point(quick=True)
    found = red(certificate)
    assert "error" not in certificate.details
    assert any(what.startswith("false or degenerate claims") for what in found)


@pytest.mark.parametrize(
    ("old", "control"),
    [
        (" if gradient > 0 else {}", "control, grad F = 0"),
        (" if size > 0", "control, a duplicated"),
    ],
)
def test_an_exclusion_without_one_of_its_two_conditions_is_found(
    monkeypatch: pytest.MonkeyPatch, old: str, control: str
) -> None:
    supports = module("supports")
    monkeypatch.setattr(supports, "_attempt", rewritten(supports, "_attempt", old, ""))
    (what,) = red(rigorous.no_denser_rest_point(quick=True))
    assert what.startswith(control)
