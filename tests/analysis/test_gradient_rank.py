"""Rank of the per-sample gradients: matrices of known spectrum, gauges, errors."""

import numpy as np
import pytest

from warmflow.analysis import gradient_rank
from warmflow.dynamics import LeastSquares, SoftmaxRegression

RNG = np.random.default_rng(0)


def with_gradients(gamma: np.ndarray) -> tuple[LeastSquares, np.ndarray]:
    """At theta = 0 and y = -1 the gradients of ridge regression are its rows."""
    n, p = gamma.shape
    return LeastSquares(gamma, -np.ones(n), np.ones((1, p)), [1.0]), np.zeros(p)


@pytest.mark.parametrize(("n", "p"), [(12, 3), (5, 9), (4, 4)])
def test_rank_in_general_position(n: int, p: int) -> None:
    found = gradient_rank(*with_gradients(RNG.normal(size=(n, p))))
    assert found.rank == min(p, n - 1)
    assert 1 < found.effective <= found.rank
    assert found.singular_values.shape == (min(n, p),)


def test_rank_is_that_of_gamma_with_ones_less_one() -> None:
    for rank in (1, 2, 4):
        gamma = RNG.normal(size=(9, rank)) @ RNG.normal(size=(rank, 6)) + RNG.normal(size=6)
        bordered = np.hstack([gamma, np.ones((9, 1))])
        found = gradient_rank(*with_gradients(gamma))
        assert found.rank == np.linalg.matrix_rank(bordered) - 1 == rank


def test_effective_rank_of_a_known_spectrum() -> None:
    """Equal singular values count fully; (2, 1, 1) has the shares 4/6, 1/6, 1/6."""
    basis = np.linalg.qr(np.hstack([np.ones((8, 1)), RNG.normal(size=(8, 3))]))[0][:, 1:]
    turned = np.linalg.qr(RNG.normal(size=(5, 5)))[0][:3]
    even = gradient_rank(*with_gradients(basis @ turned))
    assert even.effective == pytest.approx(3.0, rel=1e-12)
    uneven = gradient_rank(*with_gradients(basis * [2.0, 1.0, 1.0] @ turned))
    shares = np.array([4, 1, 1]) / 6
    assert uneven.effective == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-12)
    np.testing.assert_allclose(uneven.singular_values[:3], [2, 1, 1])


def test_a_constant_gradient_and_units_change_nothing() -> None:
    gamma = RNG.normal(size=(10, 4))
    one = gradient_rank(*with_gradients(gamma))
    two = gradient_rank(*with_gradients(1e-6 * (gamma + 7.0)))
    assert one.rank == two.rank == 4
    assert two.effective == pytest.approx(one.effective, rel=1e-6)


def test_equal_gradients_have_rank_zero() -> None:
    found = gradient_rank(*with_gradients(np.tile([0.1, 0.7, -3.0], (6, 1))))
    assert (found.rank, found.effective) == (0, 0.0)


def test_tolerance_counts_what_is_larger() -> None:
    gamma = np.diag([1.0, 1e-2, 1e-5])
    gamma = np.vstack([gamma, -gamma])
    counts = [gradient_rank(*with_gradients(gamma), tol=tol).rank for tol in (1e-1, 1e-3, 1e-9)]
    assert counts == [1, 2, 3]
    assert gradient_rank(*with_gradients(gamma)).tol == pytest.approx(6 * 2.0**-52)


def test_softmax_has_one_class_less() -> None:
    """Gradients of all classes sum to zero: rank d (C-1), not d C."""
    X, labels = RNG.normal(size=(40, 3)), RNG.integers(0, 4, 40)
    problem = SoftmaxRegression(X, labels, X, labels)
    assert gradient_rank(problem, RNG.normal(size=12)).rank == 9


def test_errors_name_the_argument() -> None:
    problem, theta = with_gradients(np.eye(3))
    with pytest.raises(ValueError, match=r"`theta` must have shape \(3,\)"):
        gradient_rank(problem, theta[:2])
    with pytest.raises(ValueError, match="`tol` must be"):
        gradient_rank(problem, theta, tol=0.0)
    with pytest.raises(TypeError, match="`problem` must be a Problem"):
        gradient_rank(theta, theta)  # type: ignore[arg-type]
