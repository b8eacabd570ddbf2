r"""The simplex: log-weights, the metric P(w), and what weights look like from afar.

Log-weights are the state everywhere (a weight of 1e-300 may come back, one clipped to zero cannot);
weights are derived. Functions take arrays of any array-API namespace with the samples on the last
axis; ``ess``, ``entropy`` and ``support`` accept plain sequences too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array

from . import checks
from .types import Array

__all__ = [
    "apply_metric",
    "entropy",
    "ess",
    "logsumexp",
    "normalise_log",
    "project_simplex",
    "support",
    "uniform_log_weights",
]


def logsumexp(logits: Array) -> Array:
    """Return ``log sum_i exp(logits_i)`` over the last axis, kept: shape ``(..., 1)``."""
    xp = array_namespace(logits)
    top = xp.max(logits, axis=-1, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    return top + xp.log(xp.sum(xp.exp(logits - top), axis=-1, keepdims=True))


def normalise_log(logits: Array) -> Array:
    """Return log-weights ``logits - log sum exp(logits)`` of shape ``(..., n)``.

    The sum of the exponentials is one to round-off also when single logits are huge.
    """
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def uniform_log_weights(num_samples: int) -> np.ndarray:
    """Return the log of the uniform weights, shape ``(n,)``."""
    return np.full(num_samples, -np.log(num_samples))


def apply_metric(w: Array, g: Array) -> Array:
    r"""Return ``P(w) g`` with ``P(w) = diag(w) - w w^T``, without forming P: shape ``(..., n)``.

    It is written as ``w * (g - <w, g>)``, so that it sums to zero to round-off when w sums to one.
    """
    xp = array_namespace(w, g)
    return w * (g - xp.sum(w * g, axis=-1, keepdims=True))


def project_simplex(x: Array) -> Array:
    """Return the Euclidean projection of ``x`` (..., n) onto the simplex.

    With x sorted in decreasing order as u, the threshold is ``(sum_{i<=k} u_i - 1)/k`` for the
    largest k with ``u_k > (sum_{i<=k} u_i - 1)/k`` (Held, Wolfe and Crowder 1974). The condition is
    evaluated after subtracting the maximum and as ``1/k + (u_k - mean_{i<=k} u_i) > 0``, which
    holds its accuracy at any scale of x, in float32 too.
    """
    xp = array_namespace(x)
    x = x - xp.max(x, axis=-1, keepdims=True)
    u = xp.sort(x, axis=-1, descending=True)
    k = xp.astype(xp.arange(1, x.shape[-1] + 1, device=x.device), x.dtype)
    mean = xp.cumulative_sum(u, axis=-1) / k
    inside = 1.0 / k + (u - mean) > 0
    count = xp.sum(xp.astype(inside, x.dtype), axis=-1, keepdims=True)
    largest_k = k == count
    threshold = xp.sum(
        xp.where(largest_k, mean - 1.0 / k, xp.zeros_like(mean)), axis=-1, keepdims=True
    )
    return xp.where(x > threshold, x - threshold, xp.zeros_like(x))


def _weights(w: Any) -> Array:
    """Return checked weights ``(..., n)``; arrays of another library stay what they are."""
    if not is_array_api_obj(w) or is_numpy_array(w):
        single = getattr(w, "dtype", None) == np.float32
        result = checks.weights_like("w", w)
        return result.astype(np.float32) if single else result
    xp = array_namespace(w)
    if w.ndim == 0 or w.shape[-1] == 0:
        raise ValueError(f"`w` must have shape (..., n) with n >= 1; got {tuple(w.shape)}.")
    if not xp.isdtype(w.dtype, "real floating"):
        raise TypeError(f"`w` must be a real floating array; got dtype {w.dtype}.")
    if not bool(xp.all(xp.isfinite(w))):
        raise ValueError("`w` must be finite.")
    if not bool(xp.all(w >= 0)):
        raise ValueError(f"`w` must be >= 0; got {float(xp.min(w))}.")
    if not bool(xp.all(xp.max(w, axis=-1) > 0)):
        raise ValueError("`w` must have a positive sum; got 0.0.")
    return w


def ess(w: Array) -> Array:
    """Return the effective sample size ``(sum w)^2 / sum w^2`` over the last axis.

    It is n for uniform weights and 1 for a single sample; weights need not be normalised.

    Parameters
    ----------
    w : (..., n)
        Non-negative weights with a positive sum.

    Returns
    -------
    (...)
        Between 1 and n.

    Raises
    ------
    ValueError, TypeError
        For weights that are negative, not finite, or sum to zero.
    """
    w = _weights(w)
    xp = array_namespace(w)
    w = w / xp.max(w, axis=-1, keepdims=True)
    return xp.sum(w, axis=-1) ** 2 / xp.sum(w * w, axis=-1)


def entropy(w: Array) -> Array:
    """Return the entropy ``-sum w log w`` in nats over the last axis, ``0 log 0 = 0``.

    Weights are normalised first; the result lies between 0 (one sample) and log n (uniform).

    Parameters
    ----------
    w : (..., n)
        Non-negative weights with a positive sum.

    Raises
    ------
    ValueError, TypeError
        For weights that are negative, not finite, or sum to zero.
    """
    w = _weights(w)
    xp = array_namespace(w)
    w = w / xp.max(w, axis=-1, keepdims=True)
    w = w / xp.sum(w, axis=-1, keepdims=True)
    positive = w > 0
    log_w = xp.log(xp.where(positive, w, xp.ones_like(w)))
    total = -xp.sum(w * log_w, axis=-1)
    return xp.where(total <= 0, xp.zeros_like(total), total)


def support(w: Array, threshold: float = 1e-6) -> Array:
    """Return the mask of weights above ``threshold`` times the largest weight.

    Parameters
    ----------
    w : (..., n)
        Non-negative weights.
    threshold : float
        Relative threshold, at least 0 and below 1; "sparse" has no meaning without one.

    Returns
    -------
    bool (..., n)

    Raises
    ------
    ValueError, TypeError
        For a threshold outside [0, 1), or weights that are negative, not finite, or sum to zero.
    """
    threshold = checks.nonnegative("threshold", threshold)
    if threshold >= 1:
        raise ValueError(
            f"`threshold` must be below 1 (relative to the largest weight); got {threshold}."
        )
    w = _weights(w)
    xp = array_namespace(w)
    return w > threshold * xp.max(w, axis=-1, keepdims=True)
