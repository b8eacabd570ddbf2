"""Weights on the simplex: invariants, limits and scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from warmflow.dynamics.simplex import (
    apply_metric,
    entropy,
    ess,
    logsumexp,
    normalise_log,
    project_simplex,
    support,
)

finite = arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6))


@given(finite)
@settings(max_examples=200, deadline=None)
def test_log_weights_sum_to_one_at_any_scale(x: np.ndarray) -> None:
    log_w = normalise_log(x)
    assert_allclose(np.exp(log_w).sum(), 1.0, rtol=1e-13)
    assert_allclose(log_w - log_w.max(), x - x.max(), rtol=1e-12, atol=1e-9)
    assert_allclose(log_w, x - logsumexp(x), rtol=1e-9, atol=1e-9)


@given(finite)
@settings(max_examples=300, deadline=None)
def test_projection_satisfies_its_optimality_condition(x: np.ndarray) -> None:
    """z is the projection iff <x - z, s - z> <= 0 for every vertex s of the simplex."""
    z = project_simplex(x)
    assert (z >= 0).all()
    scale = max(1.0, np.abs(x).max())
    assert_allclose(z.sum(), 1.0, atol=1e-15 * scale * x.size + 1e-12)
    gap = (x - z).max() - (x - z) @ z
    assert gap <= 1e-12 * scale * x.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_projection_keeps_the_sum_at_any_scale_and_dtype(dtype, scale: float) -> None:
    """A projection that forms the cumulative sum of large numbers sums to anything here."""
    rng = np.random.default_rng(0)
    x = (scale + rng.normal(size=(20, 50))).astype(dtype)
    z = project_simplex(x)
    assert z.dtype == dtype
    assert_allclose(z.sum(axis=-1), 1.0, rtol=20 * np.finfo(dtype).eps * 50)


def test_projection_leaves_the_simplex_alone() -> None:
    w = np.random.default_rng(0).dirichlet(np.ones(9), size=4)
    assert_allclose(project_simplex(w), w, atol=1e-15)


def test_the_metric_is_the_covariance_of_a_categorical() -> None:
    w = np.random.default_rng(0).dirichlet(np.ones(6))
    P = np.diag(w) - np.outer(w, w)
    for column, e in zip(P.T, np.eye(6), strict=True):
        assert_allclose(apply_metric(w, e), column, atol=1e-16)
    assert_allclose(apply_metric(w, np.full(6, 3.0)), 0.0, atol=1e-15)


def test_ess_and_entropy_at_their_limits() -> None:
    uniform, single = np.full(8, 1 / 8), np.eye(8)[3]
    assert_allclose(ess(uniform), 8.0)
    assert_allclose(entropy(uniform), np.log(8))
    assert_allclose(ess(single), 1.0)
    assert entropy(single) == 0.0
    assert not np.signbit(entropy(single))


@given(arrays(np.float64, 12, elements=st.floats(1e-300, 1e300)))
@settings(max_examples=200, deadline=None)
def test_ess_lies_between_one_and_n_and_ignores_the_scale(w: np.ndarray) -> None:
    assert 1.0 - 1e-12 <= ess(w) <= 12.0 + 1e-12
    assert_allclose(ess(w), ess(w / w.max()), rtol=1e-12)


def test_ess_of_the_merged_samples_adds_up() -> None:
    """k equal weights among n have an effective sample size of k."""
    for k in (1, 3, 10):
        w = np.zeros(10)
        w[:k] = 0.2
        assert_allclose(ess(w), k)
        assert_allclose(entropy(w), np.log(k))


def test_ess_takes_leading_axes_lists_and_integers() -> None:
    assert_allclose(ess([[1, 1, 0], [2, 0, 0]]), [2.0, 1.0])
    assert ess(np.ones((2, 3, 5))).shape == (2, 3)


def test_support_is_relative_to_the_largest_weight() -> None:
    w = np.array([0.5, 0.5e-3, 0.5e-7, 0.0])
    assert support(w).tolist() == [True, True, False, False]
    assert support(w, 1e-2).tolist() == [True, False, False, False]
    assert support(w, 0.0).tolist() == [True, True, True, False]
    assert support(1e-5 * w).tolist() == support(w).tolist()


@pytest.mark.parametrize("threshold", [-0.1, 1.0, np.nan])
def test_support_refuses_a_meaningless_threshold(threshold: float) -> None:
    with pytest.raises(ValueError, match="`threshold` must be"):
        support(np.ones(3), threshold)


BAD = {
    "scalar": (3.0, ValueError, r"`w` must have shape"),
    "empty": ([], ValueError, r"`w` must not be empty"),
    "negative": ([0.5, -0.5], ValueError, r"`w` must be >= 0; got -0\.5"),
    "nan": ([0.5, np.nan], ValueError, r"`w` must be finite; got nan"),
    "zero": ([[1.0, 0.0], [0.0, 0.0]], ValueError, r"`w` must have a positive sum"),
    "text": ("abc", TypeError, r"`w` must be a real numeric array"),
    "none": (None, TypeError, r"`w` must be a real numeric array"),
}


@pytest.mark.parametrize("function", [ess, entropy, support])
@pytest.mark.parametrize("w, error, match", BAD.values(), ids=BAD.keys())
def test_what_is_no_set_of_weights_is_refused(function, w, error, match) -> None:
    with pytest.raises(error, match=match):
        function(w)


def test_float32_weights_give_float32_summaries() -> None:
    w = np.random.default_rng(0).random((3, 9)).astype(np.float32)
    assert ess(w).dtype == entropy(w).dtype == np.float32
