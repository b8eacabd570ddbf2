"""Balls of real numbers (python-flint's ``arb``): exact input, outward rounding, certain verdicts.

Every operation on balls encloses all values that its operands allow, round-off included; floats
enter exactly, as the binary numbers that they are. A comparison of balls is true only when it holds
for all their members, so that a verdict ``True`` is a proof and ``False`` means "not shown".
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

__all__ = [
    "as_floats",
    "ball",
    "ball_matrix",
    "flint",
    "is_hurwitz",
    "is_positive_definite",
    "lower",
    "precision",
    "upper",
]


def flint(who: str = "interval arithmetic") -> Any:
    """Return the module ``flint``.

    Raises
    ------
    ImportError
        Where python-flint is not installed.
    """
    try:
        import flint as module
    except ImportError:
        raise ImportError(f"{who} needs python-flint: pip install 'warmflow[certify]'.") from None
    return module


def precision(bits: int) -> AbstractContextManager[Any]:
    """Return a context in which balls have mid-points of ``bits`` bits; the old setting returns."""
    context: AbstractContextManager[Any] = flint().ctx.workprec(bits)
    return context


def ball(centre: float, radius: float = 0.0) -> Any:
    """Return the ball of all x with ``|x - centre| <= radius``; radius 0 is the exact float."""
    return flint().arb(centre, radius) if radius else flint().arb(centre)


def ball_matrix(values: Any) -> Any:
    """Return floats ``(k, l)`` or a column ``(k,)`` as a matrix of exact balls."""
    array = np.asarray(values, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    return flint().arb_mat(*array.shape, [float(entry) for entry in array.ravel()])


def as_floats(A: Any) -> np.ndarray:
    """Return the mid-points of a matrix of balls, ``(k, l)``: a guess, never a proof."""
    return np.array([[float(entry) for entry in row] for row in A.tolist()]).reshape(
        A.nrows(), A.ncols()
    )


def lower(x: Any) -> float:
    """Return a float below every member of a ball; NaN stays NaN."""
    return math.nextafter(float(x.lower()), -math.inf)


def upper(x: Any) -> float:
    """Return a float above every member of a ball; NaN stays NaN."""
    return math.nextafter(float(x.upper()), math.inf)


def is_positive_definite(A: Any) -> bool:
    r"""Whether every symmetric matrix within the balls of A is shown to be positive definite.

    By the pivots :math:`d_k > 0` of :math:`A = L D L^\top`, each computed for all members at once.
    """
    size = A.nrows()
    schur = A.tolist()
    for k in range(size):
        pivot = schur[k][k]
        if not pivot > 0:
            return False
        for i in range(k + 1, size):
            factor = schur[i][k] / pivot
            for j in range(k + 1, i + 1):
                schur[i][j] -= factor * schur[j][k]
    return True


def is_hurwitz(A: Any) -> bool:
    r"""Whether all eigenvalues of every matrix within the balls of A have a negative real part.

    Lyapunov (1892): it suffices that :math:`Q \succ 0` and :math:`-(A^\top Q + Q A) \succ 0` for
    some symmetric Q. A float solution of :math:`A^\top Q + Q A = -I` at the mid-point is the
    candidate; both inequalities are then shown in balls, so that nothing rests on the floats.
    """
    size = A.nrows()
    if size == 0:
        return True
    transposed, eye = as_floats(A).T, np.eye(size)
    if not np.isfinite(transposed).all():
        return False
    try:
        flat = np.linalg.solve(np.kron(eye, transposed) + np.kron(transposed, eye), -eye.ravel())
    except np.linalg.LinAlgError:
        return False
    Q = flat.reshape(size, size)
    Q = 0.5 * (Q + Q.T)
    if not np.isfinite(Q).all():
        return False
    candidate = ball_matrix(Q)
    return is_positive_definite(candidate) and is_positive_definite(
        -(A.transpose() * candidate + candidate * A)
    )
