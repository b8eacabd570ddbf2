r"""Moments of a sample whose weights are tilted by its features, in one pass over memory.

.. math::

    w_i \propto w^0_i\, e^{\phi_i\cdot U}, \qquad
    E_w[\phi] = \frac{\sum_i w_i \phi_i}{\sum_i w_i}, \qquad
    \mathrm{Cov}_w(\phi)
        = \frac{\sum_i w_i (\phi_i - E_w[\phi])(\phi_i - E_w[\phi])^\top}{\sum_i w_i}.

Rows are taken in blocks that stay in cache while their logits, exponentials and sums are formed, so
that the features are read from memory once for the mean and once more for the covariance. Each
block has its own largest logit; blocks are put together in their order, whatever thread did them.

Features are stored block by block, padded with samples of weight 0 (:func:`pack`); logits are in
base 2.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numba
import numpy as np

from .compiling import INNER
from .sweeps.compiled import exponential, lanes, vectors
from .sweeps.compiled.exponential import bits as _bits
from .sweeps.compiled.exponential import exp2
from .sweeps.compiled.exponential import from_bits as _from_bits
from .sweeps.compiled.vectors import use_wide_vectors
from .types import Array

__all__ = [
    "BLOCK",
    "LOG2E",
    "SOURCES",
    "add_shares",
    "block_sums",
    "combine",
    "covariance_sums",
    "pack",
]

BLOCK = 512
"""Rows per block, at most: 20 features of them take 80 KB."""
PADDING = 32
LOG2E = math.log2(math.e)
MANTISSA_AND_EXPONENT = 2**63 - 1
SOURCES = (*(Path(str(m.__file__)) for m in (exponential, lanes, vectors)), Path(__file__))
"""What kernels that call these functions are made of."""

bits: Any = _bits
from_bits: Any = _from_bits


def pack(features: Array, log_w0: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the features ``(K, d, R)`` of K blocks of R rows and base-2 log-weights ``(K, R)``.

    Parameters
    ----------
    features : (n, d)
    log_w0 : (n,)
    """
    n, d = features.shape
    size = min(BLOCK, -(-n // PADDING) * PADDING)
    blocks = -(-n // size)
    start = np.full(blocks * size, -np.inf)
    start[:n] = log_w0 * LOG2E
    rows = np.zeros((blocks, d, size))
    whole = n // size
    rows[:whole] = features[: whole * size].reshape(whole, size, d).transpose(0, 2, 1)
    if whole < blocks:
        rows[whole, :, : n - whole * size] = features[whole * size :].T
    return rows, start.reshape(blocks, size)


@numba.njit(fastmath={"contract"}, **INNER)
def _logits(rows, log2_w0, U2, k, out):  # type: ignore[no-untyped-def]
    """Write the logits of a block: the first feature, then four at a time, then the rest."""
    use_wide_vectors()
    d, size = rows.shape[1:]
    a = U2[0]
    for i in range(size):
        out[k, i] = log2_w0[k, i] + a * rows[k, 0, i]
    for group in range((d - 1) // 4):
        f = 4 * group + 1
        a, b, c, e = U2[f], U2[f + 1], U2[f + 2], U2[f + 3]
        for i in range(size):
            out[k, i] += (a * rows[k, f, i] + b * rows[k, f + 1, i]) + (
                c * rows[k, f + 2, i] + e * rows[k, f + 3, i]
            )
    for f in range(d - (d - 1) % 4, d):
        a = U2[f]
        for i in range(size):
            out[k, i] += a * rows[k, f, i]


@numba.njit(inline="always", error_model="numpy")
def _ordered(k):  # type: ignore[no-untyped-def]
    """Map the bits of doubles to integers of the same order, and back again."""
    return k ^ ((k >> 63) & MANTISSA_AND_EXPONENT)


@numba.njit(**INNER)
def _largest(x, k):  # type: ignore[no-untyped-def]
    """Return the largest entry of a row without NaN: as integers, since these vectorise."""
    use_wide_vectors()
    best = _ordered(bits(-np.inf))
    for i in range(x.shape[1]):
        key = _ordered(bits(x[k, i]))
        best = key if key > best else best
    return from_bits(_ordered(best))


@numba.njit(fastmath={"contract"}, **INNER)
def _exponentiate(x, k, shift):  # type: ignore[no-untyped-def]
    use_wide_vectors()
    for i in range(x.shape[1]):
        x[k, i] = exp2(x[k, i] - shift)


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, **INNER)
def _products(w, j, rows, k, begin, out, line):  # type: ignore[no-untyped-def]
    """Write ``out[line, f] = sum_i w[j, i] rows[k, f, i]``, f >= begin; return the sum of w."""
    use_wide_vectors()
    d, size = rows.shape[1:]
    total, a = 0.0, 0.0
    for i in range(size):
        total += w[j, i]
        a += w[j, i] * rows[k, begin, i]
    out[line, begin] = a
    groups = (d - 1 - begin) // 4
    for group in range(groups):
        f = begin + 4 * group + 1
        a, b, c, e = 0.0, 0.0, 0.0, 0.0
        for i in range(size):
            a += w[j, i] * rows[k, f, i]
            b += w[j, i] * rows[k, f + 1, i]
            c += w[j, i] * rows[k, f + 2, i]
            e += w[j, i] * rows[k, f + 3, i]
        out[line, f], out[line, f + 1] = a, b
        out[line, f + 2], out[line, f + 3] = c, e
    for f in range(begin + 4 * groups + 1, d):
        a = 0.0
        for i in range(size):
            a += w[j, i] * rows[k, f, i]
        out[line, f] = a
    return total


@numba.njit(**INNER)
def block_sums(rows, log2_w0, U2, begin, end, w, top, sums):  # type: ignore[no-untyped-def]
    """Form the weights and their sums in blocks ``begin`` to ``end``.

    Parameters
    ----------
    rows, log2_w0 : (K, d, R), (K, R)
    U2 : (d,)
        U in base 2.
    w : (K, R)
        Filled with weights, 1 at the largest of its block; all 0 where every logit is -inf.
    top : (K,)
        Filled with the largest logit of each block.
    sums : (K, d + 1)
        Filled with the sums of w times each feature and, last, of w.
    """
    d = rows.shape[1]
    for k in range(begin, end):
        _logits(rows, log2_w0, U2, k, w)
        top[k] = _largest(w, k)
        _exponentiate(w, k, top[k] if top[k] > -np.inf else 0.0)
        sums[k, d] = _products(w, k, rows, k, 0, sums, k)


@numba.njit(**INNER)
def combine(top, sums, scale, mean):  # type: ignore[no-untyped-def]
    """Put the blocks together: fill ``mean`` (d,) and the factor of each block's weights (K,)."""
    d = mean.size
    highest = top[0]
    for k in range(1, top.size):
        highest = top[k] if top[k] > highest else highest
    total = 0.0
    for f in range(d):
        mean[f] = 0.0
    for k in range(top.size):
        scale[k] = exp2(top[k] - highest) if top.size > 1 else 1.0
        total += scale[k] * sums[k, d]
        for f in range(d):
            mean[f] += scale[k] * sums[k, f]
    inverse = 1.0 / total
    for f in range(d):
        mean[f] *= inverse
    for k in range(top.size):
        scale[k] *= inverse


@numba.njit(fastmath={"contract"}, **INNER)
def _centred(w, rows, k, f, centre, factor, out):  # type: ignore[no-untyped-def]
    use_wide_vectors()
    for i in range(w.shape[1]):
        out[0, i] = factor * w[k, i] * (rows[k, f, i] - centre)


@numba.njit(**INNER)
def covariance_sums(rows, w, scale, mean, begin, end, part, sums):  # type: ignore[no-untyped-def]
    """Fill the upper triangles of ``sums`` with the shares of blocks ``begin`` to ``end``.

    Parameters
    ----------
    part : (1, R)
        Room to work in, one for each thread.
    sums : ((end - begin) d, d)
    """
    for k in range(begin, end):
        for f in range(rows.shape[1]):
            _centred(w, rows, k, f, mean[f], scale[k], part)
            line = (k - begin) * rows.shape[1] + f
            total = _products(part, 0, rows, k, f, sums, line)
            for g in range(f, rows.shape[1]):  # without it, round-off of the mean
                sums[line, g] -= mean[g] * total


@numba.njit(**INNER)
def add_shares(sums, out):  # type: ignore[no-untyped-def]
    """Add the blocks' shares, in their order, to the symmetric matrix ``out`` (d, d)."""
    d = out.shape[0]
    for f in range(d):
        for g in range(f, d):
            total = out[f, g]
            for k in range(sums.shape[0] // d):
                total += sums[k * d + f, g]
            out[f, g] = total
            out[g, f] = total
