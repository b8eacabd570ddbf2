"""Dense linear algebra of a few unknowns, in place and without allocation."""

from __future__ import annotations

import numba

from ..compiling import INNER
from ..sweeps.compiled.vectors import use_wide_vectors

__all__ = ["WIDTH", "cholesky", "cholesky_solve", "invert", "multiply"]

EPS = 2.220446049250313e-16
HUGE = 1e300
WIDTH = 8
"""Vectors of N unknowns are padded to a multiple of it: ``(C, 8)``, the loops over 8 unrolled."""


@numba.njit(**INNER)
def cholesky(H):  # type: ignore[no-untyped-def]
    """Replace the lower triangle of H by its factor; return whether H is positive definite.

    The diagonal of the factor is stored as its reciprocal. A pivot that is lost to round-off,
    relative to the diagonal, counts as not positive.
    """
    for j in range(H.shape[0]):
        pivot = H[j, j]
        for k in range(j):
            pivot -= H[j, k] * H[j, k]
        if not pivot > EPS * H[j, j]:
            return False
        inverse = 1.0 / pivot**0.5
        H[j, j] = inverse
        for i in range(j + 1, H.shape[0]):
            entry = H[i, j]
            for k in range(j):
                entry -= H[i, k] * H[j, k]
            H[i, j] = entry * inverse
    return True


@numba.njit(**INNER)
def cholesky_solve(L, x):  # type: ignore[no-untyped-def]
    """Replace x by the solution of ``L L^T z = x``, L from :func:`cholesky`."""
    p = x.size
    for i in range(p):
        entry = x[i]
        for k in range(i):
            entry -= L[i, k] * x[k]
        x[i] = entry * L[i, i]
    for j in range(p):
        i = p - 1 - j
        entry = x[i]
        for k in range(i + 1, p):
            entry -= L[k, i] * x[k]
        x[i] = entry * L[i, i]


@numba.njit(fastmath={"contract"}, **INNER)
def invert(W, inverse):  # type: ignore[no-untyped-def]
    """Write the columns of the inverse of W ``(N, C, 8)``; return whether W is regular.

    Gauss and Jordan on rows with partial pivoting; W is destroyed. Many products with the inverse
    follow, and those, unlike substitutions, have no chain of dependent steps.
    """
    use_wide_vectors()
    size, chunks = W.shape[:2]
    for i in range(size):
        for c in range(chunks):
            for lane in range(WIDTH):
                inverse[i, c, lane] = 0.0
        inverse[i, i // WIDTH, i % WIDTH] = 1.0
    for j in range(size):
        chunk, place = j // WIDTH, j % WIDTH
        best, largest = j, abs(W[j, chunk, place])
        for i in range(j + 1, size):
            if abs(W[i, chunk, place]) > largest:
                best, largest = i, abs(W[i, chunk, place])
        if not 0.0 < largest < HUGE:
            return False
        pivot = 1.0 / W[best, chunk, place]
        for c in range(chunks):
            for lane in range(WIDTH):
                a, b = W[best, c, lane], inverse[best, c, lane]
                W[best, c, lane], inverse[best, c, lane] = W[j, c, lane], inverse[j, c, lane]
                W[j, c, lane], inverse[j, c, lane] = pivot * a, pivot * b
        for i in range(size):
            factor = W[i, chunk, place]
            if i != j:
                for c in range(chunks):
                    for lane in range(WIDTH):
                        W[i, c, lane] -= factor * W[j, c, lane]
                        inverse[i, c, lane] -= factor * inverse[j, c, lane]
    for i in range(size):
        for j in range(i):
            a, b = inverse[i, j // WIDTH, j % WIDTH], inverse[j, i // WIDTH, i % WIDTH]
            inverse[i, j // WIDTH, j % WIDTH], inverse[j, i // WIDTH, i % WIDTH] = b, a
    return True


@numba.njit(fastmath={"contract"}, **INNER)
def multiply(columns, x, out, line):  # type: ignore[no-untyped-def]
    """Write ``out[line] = B x`` for B given by its columns ``(N, C, 8)``, x ``(N,)``."""
    use_wide_vectors()
    for c in range(columns.shape[1]):
        for lane in range(WIDTH):
            out[line, c, lane] = 0.0
        for j in range(x.size):
            for lane in range(WIDTH):
                out[line, c, lane] += x[j] * columns[j, c, lane]
