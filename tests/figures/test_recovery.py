"""Error and lag against the ratio of speeds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.analysis.theorems import Certificate
from warmflow.figures import recovery_error, slow_manifold

RATIOS = np.array([1e-3, 1e-2, 1e-1])
NAMES = ("a", "b", "seed 1", "seed 2")


def certificate(name: str, **data: object) -> Certificate:
    return Certificate(name, "", (), 0.0, 0.0, 0.0, True, {"data": {"ratios": RATIOS, **data}})


def recovery() -> Certificate:
    errors = {name: k * RATIOS for k, name in enumerate(NAMES, 1)}
    layers = {name: 10 * k * RATIOS for k, name in enumerate(NAMES, 1)}
    return certificate("T3", errors=errors, layers=layers, **{"rank deficient": np.ones(3)})


def test_every_problem_is_drawn_from_both_starts() -> None:
    ax = recovery_error(recovery())
    drawn = [line.get_ydata() for line in ax.lines]
    for k in range(len(NAMES)):
        assert_allclose(drawn[2 * k], (k + 1) * RATIOS)
        assert_allclose(drawn[2 * k + 1], 10 * (k + 1) * RATIOS)
    assert_allclose(drawn[-2], 1.0)
    assert_allclose(np.diff(np.log10(drawn[-1])), 1.0)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_two_problems_have_names_and_the_others_share_one() -> None:
    texts = [text.get_text() for text in recovery_error(recovery()).get_legend().get_texts()]
    assert len(texts) == 8
    assert [text.split(":")[0] for text in texts[:6:2]] == ["a", "b", "others"]
    assert texts[-2].startswith("no strong convexity")


def test_the_lag_is_drawn_with_and_without_its_leading_term() -> None:
    ax = slow_manifold(certificate("T3b", raw={"a": RATIOS}, removed={"a": RATIOS**2}))
    assert_allclose(ax.lines[0].get_ydata(), RATIOS)
    assert_allclose(ax.lines[1].get_ydata(), RATIOS**2)
    assert "theta" in ax.get_ylabel()


@pytest.mark.parametrize("draw", [recovery_error, slow_manifold])
def test_another_certificate_is_refused(draw) -> None:
    with pytest.raises(ValueError, match=r"`certificate` must be that of T3b?; got I1"):
        draw(certificate("I1"))
