r"""The conjugate gradients of a chunk of least-squares cells, compiled: no interpreter inside.

The products with X remain the BLAS's, on pieces that it runs in the calling thread (see
:mod:`.blocks`); all cells that still iterate share them. What NumPy would do between two products
costs more than the products at these sizes, and worker threads would queue for the interpreter.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["correct_cells"]

LARGEST_STEP = 1e5
"""Its inverse is a Rayleigh quotient of P H. Once that is tiny, P is of no use, or H is singular in
round-off, and the residual of the recursion no longer tells the truth."""


@numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})
def _times_hessian(rows, columns, w, ridge, cells, d, Hd):  # type: ignore[no-untyped-def]
    """Write ``H d`` of these cells, packed ``(m, p)``, into Hd."""
    num_blocks, r, p = rows.shape
    m = cells.size
    image, part = np.empty((m, r)), np.empty((m, p))
    for k in range(m):
        for j in range(p):
            Hd[k, j] = ridge * d[k, j]
    for block in range(num_blocks):
        np.dot(d[:m], columns[block], image)
        for k in range(m):
            weights = w[block, cells[k]]
            for i in range(r):
                image[k, i] *= weights[i]
        np.dot(image, rows[block], part)
        for k in range(m):
            for j in range(p):
                Hd[k, j] += part[k, j]


@numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _precondition(P, r, single, z):  # type: ignore[no-untyped-def]
    """Write ``P r`` into z and return ``r . z``; P is in single precision."""
    p = r.size
    for j in range(p):
        single[j] = r[j]
    out = 0.0
    for i in range(p):
        row = P[i]
        total = np.float32(0.0)
        for j in range(p):
            total += row[j] * single[j]
        z[i] = total
        out += r[i] * z[i]
    return out


@numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    out = 0.0
    for j in range(a.size):
        out += a[j] * b[j]
    return out


@numba.njit(nogil=True, error_model="numpy", cache=True)
def correct_cells(rows, columns, w, ridge, P, residual, energy, tol, cap):  # type: ignore[no-untyped-def]
    r"""Return ``H^{-1} residual`` (b, p) and the iterations (b,), -1 where they did not converge.

    Parameters
    ----------
    rows, columns : (k, r, p), (k, p, r)
        X and its transpose in blocks.
    w : (k, b, r)
    ridge : float
    P : (b, p, p) float32
        The preconditioners.
    residual : (b, p)
        Right-hand sides; overwritten.
    energy : (b,)
        :math:`\|v\|_H^2` of the solution to be corrected, as far as it is known.
    tol : float
        A cell is done when ``r' P r`` is at most ``tol**2`` times the energy.
    cap : int
        Largest number of iterations.
    """
    b, p = residual.shape
    x, z, single = np.zeros((b, p)), np.empty(p), np.empty(p, dtype=np.float32)
    d, Hd = np.empty((b, p)), np.empty((b, p))
    rz, goal = np.empty(b), np.empty(b)
    iterations = np.full(b, -1)
    cells = np.arange(b)
    for k in range(b):
        rz[k] = _precondition(P[k], residual[k], single, z)
        goal[k] = tol**2 * (energy[k] + abs(rz[k]))
        d[k] = z
    for count in range(cap + 1):
        # those that are done, or broke down, leave; d is packed
        m = 0
        for q in range(cells.size):
            k = cells[q]
            if abs(rz[k]) <= goal[k]:
                iterations[k] = count
            elif rz[k] > 0.0:
                cells[m] = k
                if m < q:
                    d[m] = d[q]
                m += 1
        cells = cells[:m]
        if m == 0 or count == cap:
            break
        _times_hessian(rows, columns, w, ridge, cells, d, Hd)
        for q in range(m):
            k = cells[q]
            step = rz[k] / _dot(d[q], Hd[q])
            if not 0.0 < step < LARGEST_STEP:
                rz[k] = np.nan
                continue
            for j in range(p):
                x[k, j] += step * d[q, j]
                residual[k, j] -= step * Hd[q, j]
            previous = rz[k]
            rz[k] = _precondition(P[k], residual[k], single, z)
            ratio = rz[k] / previous
            for j in range(p):
                d[q, j] = z[j] + ratio * d[q, j]
    return x, iterations
