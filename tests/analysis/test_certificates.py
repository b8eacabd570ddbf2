"""Certificates: what passes, what fails, and that nothing is lost when a computation raises."""

import json
import math
import pickle
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmflow.analysis import theorems
from warmflow.analysis.theorems import registry
from warmflow.analysis.theorems.certificate import (
    Evidence,
    at_least,
    at_most,
    certifies,
    exactly,
)

numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100)


@given(numbers, numbers)
def test_the_margin_has_the_sign_of_the_relation(observed: float, bound: float) -> None:
    assert at_most("", observed, bound).passed == (observed <= bound)
    assert at_least("", observed, bound).passed == (observed >= bound)
    assert exactly("", observed, bound).passed == (observed == bound)


@pytest.mark.parametrize("make", [at_most, at_least, exactly])
def test_nan_passes_nothing(make) -> None:
    assert not make("", math.nan, 1.0).passed
    assert not make("", 1.0, math.nan).passed


def test_margin_counts_in_units_of_the_bound() -> None:
    assert at_most("", 0.5, 2.0).margin == 0.75
    assert at_least("", 3.0, 2.0).margin == 0.5
    assert at_most("", 0.5, 0.0).margin == -0.5


def holding(quick: bool) -> Evidence:
    """Measure something."""
    return Evidence([at_most("first", 1.0, 2.0, "why"), at_most("second", 1.9, 2.0)], {"n": 3})


def failing(quick: bool) -> Evidence:
    """Measure something else."""
    checks = [at_most("first", 1.0, 2.0), at_most("bad", 3.0, 2.0), at_most("worse", 9.0, 2.0)]
    return Evidence(checks)


def raising(quick: bool) -> Evidence:
    """Measure nothing."""
    raise ZeroDivisionError("no such number")


def make(measure, kind: str = "numerical"):
    return certifies("X1", "title", "statement", ("assumption",), kind)(measure)


def test_a_certificate_that_passes_shows_its_first_check() -> None:
    certificate = make(holding)()
    assert certificate.passed
    assert (certificate.observed, certificate.bound, certificate.margin) == (1.0, 2.0, 0.5)
    assert certificate.verdict == "holds"
    assert certificate.details["data"] == {"n": 3}
    assert certificate.details["seconds"] >= 0


def test_a_certificate_that_fails_shows_its_worst_check() -> None:
    certificate = make(failing)()
    assert not certificate.passed
    assert certificate.observed == 9.0
    assert certificate.margin < 0
    assert "FAIL worse: 9 <= 2" in str(certificate)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("symbolic", "not proved"), ("rigorous", "not proved"), ("numerical", "fails")],
)
def test_a_proof_that_does_not_go_through_disproves_nothing(kind: str, verdict: str) -> None:
    assert make(failing, kind)().verdict == verdict


def test_an_error_is_a_failed_certificate_that_tells_it() -> None:
    certificate = make(raising)()
    assert not certificate.passed
    assert certificate.verdict == "error"
    assert "ZeroDivisionError: no such number" in certificate.details["error"]
    assert certificate.assumptions == ("assumption",)


def test_nothing_checked_is_an_error() -> None:
    certificate = make(lambda quick: Evidence([]))()
    assert not certificate.passed
    assert "nothing was checked" in certificate.details["error"]


@pytest.mark.parametrize("measure", [holding, failing, raising])
def test_certificates_are_strict_json(measure) -> None:
    document = make(measure)().to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


class Inline:
    """An executor that works at once, and loses one statement."""

    def __init__(self, lost: str) -> None:
        self.lost = lost

    def submit(self, function, name, quick):
        future: Future = Future()
        if name == self.lost:
            future.set_exception(RuntimeError("the worker died"))
        else:
            future.set_result(function(name, quick))
        return future


def test_a_lost_worker_fails_its_own_statement_only() -> None:
    seen = []
    found = theorems.verify_all(
        executor=Inline("I1"), names=["I5", "I2", "I1"], progress=lambda c: seen.append(c.name)
    )
    assert [c.name for c in found] == ["I1", "I2", "I5"]
    assert [c.passed for c in found] == [False, True, True]
    assert "the worker died" in found[0].details["error"]
    assert found[0].statement
    assert sorted(seen) == ["I1", "I2", "I5"]


def test_a_broken_executor_fails_every_statement_and_raises_nothing() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    found = theorems.verify_all(executor=pool, names=["I1", "I5"])
    assert [c.passed for c in found] == [False, False]
    assert "shutdown" in found[0].details["error"]


def test_certificates_are_values_that_compare_and_pickle() -> None:
    certificate = theorems.statement("I5")()
    assert certificate == certificate
    assert hash(certificate) == hash(certificate)
    assert pickle.loads(pickle.dumps(certificate)).to_dict() == certificate.to_dict()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: theorems.verify_all(quick=1), TypeError, "`quick` must be True or False; got 1"),
        (
            lambda: theorems.verify_all(executor=3),
            TypeError,
            "`executor` must have a method submit",
        ),
        (lambda: theorems.verify_all(names="T1"), TypeError, "`names` must be a list"),
        (
            lambda: theorems.verify_all(names=["T99"]),
            ValueError,
            "`names` must be among T1, .* got 'T99'",
        ),
    ],
)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


def test_names_are_found_without_case_and_prime() -> None:
    assert theorems.find("t6B") == "T6b'"
    assert theorems.find("i3") == "I3"
    assert theorems.statement("t6b\u2019").name == "T6b'"
    with pytest.raises(ValueError, match=r"`name` must be among T1, .*; got 'zz'"):
        theorems.statement("zz")


def test_every_statement_of_the_theory_is_there_and_says_what_it_claims() -> None:
    assert {"T1", "T2", "T3", "T3b", "T4", "T5", "T5b", "T6", "T6b'", "T7", "T7b", "T7c", "T8",
            "T10", "T12", "I1", "I2", "I3", "I4", "I5"} <= set(theorems.NAMES)  # fmt: skip
    for name in theorems.NAMES:
        found = theorems.statement(name)
        assert found.name == name
        assert len(found.title) > 5
        assert "$" in found.text
        assert found.__doc__


def test_a_missing_library_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    assert "pip install 'warmflow[certify]'" in str(theorems.missing_library("R1"))
    assert theorems.missing_library("T1") is None
