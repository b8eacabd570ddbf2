"""Estimates with intervals, and verdicts."""

import math

import numpy as np
import pytest
from scipy import stats

from warmflow.paper_repro.claims import Claim, Estimate, Reference, Verdict, judge


def claim(**changes: object) -> Claim:
    return Claim(**({"number": "x", "meaning": "x", "says": "few", "high": 2.0} | changes))


def test_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(size=7)
    low, high = Estimate(tuple(values)).interval
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose([low, high], expected)


def test_one_seed_has_no_interval() -> None:
    estimate = Estimate((2.0,))
    assert estimate.interval is None
    assert str(estimate) == "2 (1 seed)"
    assert "3 seeds" in str(Estimate((1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match="`values` must hold at least one number"):
        Estimate(())


def test_documents_hold_no_nan() -> None:
    estimate = Estimate((1.0, math.nan, math.inf))
    document = estimate.document()
    assert document["values"] == [1.0, None, None]
    assert document["mean"] is None
    assert math.isnan(Estimate.from_document(document).mean)
    assert Estimate.from_document(Estimate((1.0, 3.0)).document()) == Estimate((1.0, 3.0))


VERDICTS = [
    (claim(), (1.0, 1.5), Verdict.qualitative_match),
    (claim(), (2.0,), Verdict.qualitative_match),
    (claim(), (2.1, 2.2, 2.15), Verdict.differs),
    (claim(), (1.0, 4.0), Verdict.within_interval),
    (claim(), (2.5,), Verdict.differs),
    (claim(low=3.0, high=math.inf), (2.0,), Verdict.differs),
    (claim(low=3.0, high=math.inf), (3.5,), Verdict.qualitative_match),
    (claim(low=3.0, high=math.inf), (1.0, 1.1, 1.05), Verdict.differs),
    (claim(exact=True), (1.0, 2.0), Verdict.match),
    (claim(exact=True), (1.0, 2.001), Verdict.differs),
    (claim(says=None), (1.0,), Verdict.not_stated),
    (claim(), (math.nan,), Verdict.differs),
    (claim(exact=True), (math.nan,), Verdict.differs),
]


@pytest.mark.parametrize(("statement", "values", "verdict"), VERDICTS)
def test_verdicts(statement: Claim, values: tuple[float, ...], verdict: Verdict) -> None:
    assert judge(statement, Estimate(values)) is verdict


def test_bounds_in_words() -> None:
    assert claim().test == "at most 2"
    assert claim(low=1.0, high=math.inf).test == "at least 1"
    assert claim(low=1.0).test == "1 to 2"
    assert claim(says=None).test == ""


def test_references_compare_the_mean() -> None:
    reference = Reference.from_document({"value": 1.0, "tolerance": 0.5})
    assert reference.agrees(Estimate((1.0, 2.0)))
    assert not reference.agrees(Estimate((1.0, 2.2)))
    assert not reference.agrees(Estimate((math.nan,)))
