"""The rigorous certificates are proved, and refuse a changed code or a credulous prover."""

from itertools import islice

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
        return true(problem, theta, np.where(w == w.max(), 0.0, w))

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
