r"""The adjoint system of every cell: :math:`(M + \lambda I)\,v = b`, eight cells at a time.

Symmetric and positive definite, so :math:`L D L^\top` without square roots or pivoting; where a
pivot is small, one cell is solved again by elimination with pivoting in the manner of LAPACK, which
also calls a matrix singular exactly when a pivot is zero.
"""

from __future__ import annotations

import numba

from ...compiling import INNER
from .lanes import WIDTH, fma, load, store, where_above

__all__ = ["SMALL_PIVOT", "gather_matrix", "solve_lanes", "solve_one"]

SMALL_PIVOT = 1e-2
"""Pivots, relative to the diagonal, below which a system is solved with pivoting.

Once its weights have left all but a few samples, the Hessian of a cell stands still, and so does
what round-off makes of its inverse: the log-weights collect it, step by step. There every digit
of agreement with the plain algorithm is worth its price.
"""


@numba.njit(**INNER)
def solve_lanes(H, v, p):  # type: ignore[no-untyped-def]
    """Solve ``H v = b`` in place of b; return the smallest pivot relative to its diagonal.

    A ratio that is small, negative or NaN comes back as 0.

    Parameters
    ----------
    H : (p p 8,)
        Entry (i, j), i >= j, of the eight cells from ``8 (i p + j)`` on; overwritten by L and the
        inverse pivots.
    v : (p 8,)
        The right-hand sides; overwritten by the solutions.
    p : int
    """
    smallest = load(H, 0) * 0.0 + 1.0
    for i in range(p):
        row = i * p
        for j in range(i):
            entry = load(H, WIDTH * (row + j))
            for k in range(j):
                entry = fma(-load(H, WIDTH * (row + k)), load(H, WIDTH * (j * p + k)), entry)
            store(H, WIDTH * (row + j), entry)
        diagonal = load(H, WIDTH * (row + i))
        pivot = diagonal
        z = load(v, WIDTH * i)
        for j in range(i):
            scaled = load(H, WIDTH * (row + j))
            entry = scaled * load(H, WIDTH * (j * p + j))
            pivot = fma(-scaled, entry, pivot)
            store(H, WIDTH * (row + j), entry)
            z = fma(-entry, load(v, WIDTH * j), z)
        store(v, WIDTH * i, z)
        inverse = 1.0 / pivot
        store(H, WIDTH * (row + i), inverse)
        ratio = where_above(pivot, SMALL_PIVOT * diagonal, pivot / diagonal, 0.0)
        smallest = where_above(smallest, ratio, ratio, smallest)
    for i in range(p - 1, -1, -1):
        z = load(v, WIDTH * i) * load(H, WIDTH * (i * p + i))
        for k in range(i + 1, p):
            z = fma(-load(H, WIDTH * (k * p + i)), load(v, WIDTH * k), z)
        store(v, WIDTH * i, z)
    return smallest


@numba.njit(**INNER)
def gather_matrix(moments, width, lane, p, ridge, H):  # type: ignore[no-untyped-def]
    """Write ``M + ridge I`` of one cell to H (p p,) from the sums of ``quadratic_features``."""
    total = moments[p * (p + 3) // 2 * width + lane]
    f = 0
    for a in range(p):
        for b in range(a, p):
            entry = moments[f * width + lane] / total
            H[a * p + b] = entry
            H[b * p + a] = entry
            f += 1
        H[a * p + a] += ridge


@numba.njit(**INNER)
def solve_one(H, b, p):  # type: ignore[no-untyped-def]
    """Solve ``H v = b`` in place of b by elimination with partial pivoting; False if singular.

    Products are summed in the order in which OpenBLAS does it for small systems: what a Hessian of
    collapsed weights makes of round-off is then, for p <= 8 and on the machines we know, that of
    ``numpy.linalg.solve`` bit for bit.
    """
    for j in range(p):
        for i in range(1, j):
            H[i * p + j] -= _row_sum(H, p, i, j)
        grouped = j + (p - j) // 4 * 4
        for i in range(j, p):
            H[i * p + j] = _eliminate(H, p, i, j, i < grouped)
        best = j
        for i in range(j + 1, p):
            if abs(H[i * p + j]) > abs(H[best * p + j]):
                best = i
        if H[best * p + j] == 0.0:
            return False
        if best != j:
            for k in range(p):
                H[j * p + k], H[best * p + k] = H[best * p + k], H[j * p + k]
            b[j], b[best] = b[best], b[j]
        inverse = 1.0 / H[j * p + j]
        for i in range(j + 1, p):
            H[i * p + j] *= inverse
    for i in range(p):
        for k in range(i + 1, p):
            b[k] = fma(-H[k * p + i], b[i], b[k])
    for i in range(p - 1, -1, -1):
        b[i] /= H[i * p + i]
        for k in range(i):
            b[k] = fma(-H[k * p + i], b[i], b[k])
    return True


@numba.njit(inline="always", **INNER)
def _row_sum(H, p, i, j):  # type: ignore[no-untyped-def]
    """Return ``sum_{k < i} H_ik H_kj`` for an entry above the diagonal."""
    row = i * p
    even, odd = 0.0, 0.0
    for k in range(0, i - 3, 4):
        even += H[row + k] * H[k * p + j] + H[row + k + 2] * H[(k + 2) * p + j]
        odd += H[row + k + 1] * H[(k + 1) * p + j] + H[row + k + 3] * H[(k + 3) * p + j]
    for k in range(i // 4 * 4, i):
        even = fma(H[row + k], H[k * p + j], even)
    return even + odd


@numba.njit(inline="always", **INNER)
def _eliminate(H, p, i, j, is_grouped):  # type: ignore[no-untyped-def]
    """Return ``H_ij - sum_{k < j} H_ik H_kj`` for an entry on or below the diagonal."""
    row, value = i * p, H[i * p + j]
    if not is_grouped:
        total = 0.0
        for k in range(j):
            total = fma(H[row + k], H[k * p + j], total)
        return value - total
    for k in range(0, j - 3, 4):
        total = fma(H[row + k], H[k * p + j], H[row + k + 1] * H[(k + 1) * p + j])
        total = fma(H[row + k + 2], H[(k + 2) * p + j], total)
        value -= fma(H[row + k + 3], H[(k + 3) * p + j], total)
    k = j // 4 * 4
    if j - k >= 2:
        value -= fma(H[row + k], H[k * p + j], H[row + k + 1] * H[(k + 1) * p + j])
        k += 2
    if k < j:
        value -= H[row + k] * H[k * p + j]
    return value
