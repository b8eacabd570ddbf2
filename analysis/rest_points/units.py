r"""Units of the parameters: programs over gradients are solved with columns of equal size.

Features measured in other units, :math:`X \to X D`, change the gradients to :math:`\Gamma D` and
:math:`\nabla F` to :math:`D\,\nabla F`. Signs, cones and convex combinations do not notice, but
the tolerances of a program do.
"""

from __future__ import annotations

import numpy as np

from ...dynamics.types import Array

__all__ = ["column_sizes", "least_norm_solution", "scaled_rank"]


def column_sizes(rows: Array) -> np.ndarray:
    """Return the largest size in each column, 1 where a column is zero, shape ``(p,)``."""
    sizes = np.abs(rows).max(axis=0)
    return np.where(sizes > 0.0, sizes, 1.0)


def scaled_rank(rows: Array) -> int:
    """Return the rank of rows whose columns, then rows, are scaled: units do not matter."""
    scaled = rows / column_sizes(rows)
    sizes = np.abs(scaled).max(axis=1)
    return int(np.linalg.matrix_rank(scaled[sizes > 0.0] / sizes[sizes > 0.0, None]))


def least_norm_solution(rows: Array, right: Array) -> np.ndarray:
    r"""Return the least-squares solution of ``rows @ theta = right`` of smallest norm, ``(p,)``.

    The rank is that of scaled columns; the norm is that of theta itself.
    """
    sizes = column_sizes(rows)
    left, singular, right_vectors = np.linalg.svd(rows / sizes, full_matrices=False)
    rank = int((singular > max(rows.shape) * np.finfo(float).eps * singular.max(initial=0.0)).sum())
    part = (left[:, :rank].T @ right) / singular[:rank]
    theta = (right_vectors[:rank].T @ part) / sizes
    if rank == sizes.size:
        return np.asarray(theta)
    basis = np.linalg.qr((right_vectors[:rank] * sizes).T)[0]
    return np.asarray(basis @ (basis.T @ theta))
