"""Random problems on which the statements are verified."""

from __future__ import annotations

import numpy as np

from ...dynamics import LeastSquares, SoftmaxRegression

__all__ = ["ridge_problem", "softmax_problem", "two_clusters"]


def ridge_problem(
    seed: int,
    n: int,
    p: int,
    ridge: float,
    *,
    m: int | None = None,
    features: str = "gaussian",
    noise: float = 0.5,
) -> LeastSquares:
    """Return a ridge problem whose training and target laws have different regression vectors.

    Parameters
    ----------
    n, p, m : int
        Samples, parameters, validation samples (``2 p + 10`` when left out).
    features : {"gaussian", "heavy"}
        Standard normal features, or Student's t with 2.5 degrees of freedom (infinite fourth
        moment).
    noise : float
        Standard deviation of the targets given the features.
    """
    rng = np.random.default_rng([seed, n, p])
    m = 2 * p + 10 if m is None else m

    def draw(size: int, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        X = (
            rng.standard_normal((size, p))
            if features == "gaussian"
            else rng.standard_t(2.5, (size, p))
        )
        return X, X @ truth + noise * rng.standard_normal(size)

    truth = rng.standard_normal(p)
    X, y = draw(n, truth)
    X_val, y_val = draw(m, truth + rng.standard_normal(p))
    return LeastSquares(X, y, X_val, y_val, ridge=ridge)


def two_clusters(
    seed: int, n: int = 200, p: int = 2, ridge: float = 1e-2, *, m: int = 100, noise: float = 0.3
) -> LeastSquares:
    """Return the two-cluster problem: half the samples obey ``-theta_A``, not ``theta_A``."""
    rng = np.random.default_rng([seed, n, p])
    sign = np.where(np.arange(n) < n // 2, 1.0, -1.0)
    X, X_val = rng.standard_normal((n, p)), rng.standard_normal((m, p))
    y = sign * X.sum(axis=1) + noise * rng.standard_normal(n)
    y_val = X_val.sum(axis=1) + noise * rng.standard_normal(m)
    return LeastSquares(X, y, X_val, y_val, ridge=ridge, clean=sign > 0)


def softmax_problem(
    seed: int, n: int, d: int, classes: int, ridge: float, *, m: int = 30, flipped: float = 0.3
) -> SoftmaxRegression:
    """Return a softmax problem with Gaussian classes, a share of whose training labels is random.

    ``d`` features, ``d * classes`` parameters.
    """
    rng = np.random.default_rng([seed, n, d, classes])
    centres = rng.standard_normal((classes, d))

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.permutation(np.arange(size) % classes)
        return centres[labels] + rng.standard_normal((size, d)), labels

    (X, labels), (X_val, labels_val) = draw(n), draw(m)
    wrong = rng.random(n) < flipped
    labels = np.where(wrong, rng.integers(classes, size=n), labels)
    return SoftmaxRegression(X, labels, X_val, labels_val, ridge=ridge, num_classes=classes)
