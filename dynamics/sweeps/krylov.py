r"""The conjugate gradients of a chunk of least-squares cells, compiled: no interpreter inside.

The products with X remain the BLAS's, on pieces that it runs in the calling thread (see
:mod:`.blocks`); all cells that still iterate share them. What NumPy would do between two products
costs more than the products at these sizes, and worker threads would queue for the interpreter.
"""

from __future__ import annotations

import numba
import numpy as np

from ..compiling import compile_cached

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
def _precondition(P, r, scale, single, z):  # type: ignore[no-untyped-def]
    """Write ``scale P r`` into z and return ``r . z``; P is in single precision.

    r is cast in units of its largest entry: single precision ends at 1e38.
    """
    p = r.size
    unit = 0.0
    for j in range(p):
        unit = max(unit, abs(r[j]))
    if not 0.0 < unit < np.inf:
        z[:] = 0.0
        return 0.0 if unit == 0.0 else np.nan
    inverse, scale = 1.0 / unit, scale * unit
    for j in range(p):
        single[j] = r[j] * inverse
    out = 0.0
    for i in range(p):
        row = P[i]
        total = np.float32(0.0)
        for j in range(p):
            total += row[j] * single[j]
        z[i] = total * scale
        out += r[i] * z[i]
    return out


@numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    out = 0.0
    for j in range(a.size):
        out += a[j] * b[j]
    return out


def _correct_cells(rows, columns, w, ridge, P, scale, residual, energy, tol, cap):  # type: ignore[no-untyped-def]
    r"""Return ``H^{-1} residual`` (b, p) and the iterations (b,), -1 where they did not converge.

    Parameters
    ----------
    rows, columns : (k, r, p), (k, p, r)
        X and its transpose in blocks.
    w : (k, b, r)
    ridge : float
    P : (b, p, p) float32
        The preconditioners, in units of ``scale``.
    scale : float
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
        rz[k] = _precondition(P[k], residual[k], scale, single, z)
        goal[k] = tol**2 * (energy[k] + abs(rz[k]))
        d[k] = z
    for count in range(cap + 1):
        # those that are done, or broke down, leave; d is packed
        m = 0
        for q in range(cells.size):
            k = cells[q]
            if abs(rz[k]) <= goal[k] < np.inf:
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
            rz[k] = _precondition(P[k], residual[k], scale, single, z)
            ratio = rz[k] / previous
            for j in range(p):
                d[q, j] = z[j] + ratio * d[q, j]
    return x, iterations


correct_cells = compile_cached(_correct_cells, nogil=True, error_model="numpy")
