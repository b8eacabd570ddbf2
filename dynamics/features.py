r"""Quadratic features: why least squares is finite-dimensional whatever n is (theory T8).

For ridge losses :math:`-\Psi_i = (x_i\cdot\theta - y_i)(x_i\cdot v)` is linear in the features

.. math:: \phi_i = (x_{ia} x_{ib})_{a\le b},\ (y_i x_{ia})_a, \qquad d = p(p+3)/2,

so :math:`w(t) = \mathrm{softmax}(\log w(0) + \Phi U(t))`, and everything that the flow needs of the
weights are the tilted moments :math:`E_w[\phi]`. :class:`TiltedSample` computes them for a finite
sample; a population law may take its place.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np

from .types import Array

__all__ = [
    "TiltedMoments",
    "TiltedSample",
    "feature_positions",
    "field_coefficients",
    "num_features",
    "quadratic_features",
    "quadratic_pairs",
    "split_moments",
]

FUSED_ROWS = 4096
"""From so many samples on, one compiled pass over the features instead of NumPy's several."""


def num_features(num_params: int) -> int:
    """Return d = p(p+3)/2."""
    return num_params * (num_params + 3) // 2


def quadratic_features(X: Array, y: Array) -> np.ndarray:
    """Return the features ``(n, d)``: ``x_a x_b`` for a <= b, row by row, then ``y x_a``."""
    rows, columns, _, _ = _pairs(X.shape[1])
    return np.concatenate([X[:, rows] * X[:, columns], y[:, None] * X], axis=1)


def field_coefficients(theta: Array, v: Array) -> np.ndarray:
    r"""Return the coefficients ``(..., d)`` of :math:`(x\cdot\theta - y)(x\cdot v)`.

    It is :math:`\theta_a v_b + \theta_b v_a` on ``x_a x_b`` (half of it when a = b) and
    :math:`-v_a` on ``y x_a``; bilinear in ``(theta, 1)`` and v.
    """
    rows, columns, factor, _ = _pairs(theta.shape[-1])
    cross = factor * (theta[..., rows] * v[..., columns] + theta[..., columns] * v[..., rows])
    if cross.ndim > v.ndim or cross.shape[:-1] != v.shape[:-1]:
        v = np.broadcast_to(v, (*cross.shape[:-1], v.shape[-1]))
    return np.concatenate([cross, -v], axis=-1)


def split_moments(moments: Array, num_params: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``M = E[x x^T]`` (..., p, p) and ``b = E[y x]`` (..., p) from ``E[phi]`` (..., d)."""
    rows, _, _, position = _pairs(num_params)
    return moments[..., position], moments[..., rows.size :]


def quadratic_pairs(num_params: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs a <= b of the features ``x_a x_b``, and the factor 1/2 where a = b."""
    return _pairs(num_params)[:3]


def feature_positions(num_params: int) -> np.ndarray:
    """Return the place ``(p, p)`` of ``x_a x_b`` among the features."""
    return _pairs(num_params)[3]


@lru_cache(maxsize=64)
def _pairs(p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs a <= b, the factor 1/2 on a = b, and the place ``(p, p)`` of each pair."""
    rows, columns = np.triu_indices(p)
    position = np.empty((p, p), dtype=np.intp)
    position[rows, columns] = position[columns, rows] = np.arange(rows.size)
    return rows, columns, np.where(rows == columns, 0.5, 1.0), position


class TiltedMoments(Protocol):
    """What the reduced flow asks of a law of (x, y) tilted by ``exp(phi . U)``."""

    def moments(self, U: Array) -> Array:
        """Return ``E_w[phi]``, shape ``(d,)``."""
        ...

    def moments_and_covariance(self, U: Array) -> tuple[Array, Array]:
        """Return ``E_w[phi]`` and its derivative in U, ``Cov_w(phi)``, ``(d,)`` and ``(d, d)``."""
        ...


class TiltedSample:
    """The tilted moments of a finite sample: the first implementation of :class:`TiltedMoments`.

    Parameters
    ----------
    features : (n, d)
    log_w0 : (n,)
        Log-weights at U = 0.
    """

    def __init__(self, features: Array, log_w0: Array) -> None:
        self.features = features
        self.log_w0 = log_w0
        self._fused: TiltedMoments | None = None
        if len(features) >= FUSED_ROWS:
            from .fused import FusedMoments

            self._fused = FusedMoments(features, log_w0)

    def _weights(self, U: Array) -> tuple[np.ndarray, float]:
        """Return unnormalised weights with maximum 1, and their sum."""
        logits = self.features @ U
        logits += self.log_w0
        logits -= logits.max()
        np.exp(logits, out=logits)
        return logits, float(logits.sum())

    def moments(self, U: Array) -> np.ndarray:
        if self._fused is not None:
            return self._fused.moments(U)
        w, total = self._weights(U)
        return (w @ self.features) / total

    def moments_and_covariance(self, U: Array) -> tuple[np.ndarray, np.ndarray]:
        if self._fused is not None:
            return self._fused.moments_and_covariance(U)
        w, total = self._weights(U)
        mean = (w @ self.features) / total
        centred = self.features - mean
        return mean, (centred.T * (w / total)) @ centred

    def log_weights(self, U: Array) -> np.ndarray:
        """Return normalised log-weights ``(..., n)`` for U ``(..., d)``."""
        logits = U @ self.features.T + self.log_w0
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
