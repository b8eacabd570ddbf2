"""Exact rational points at which symbolic formulas meet the code.

All numbers are small multiples of a power of two, so that the floats that the code gets are the
very rationals of the formula; what is left is the round-off of the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....dynamics import LeastSquares

__all__ = ["CODE_ERROR", "RidgePoint", "relative_error", "ridge_point"]

CODE_ERROR = 1e-12
"""Largest relative error of the code at such points, whose matrices are well conditioned."""


@dataclass(frozen=True)
class RidgePoint:
    """A ridge problem, a theta and weights: floats for the code, exact matrices for the formula.

    Attributes
    ----------
    problem : LeastSquares
    theta, w : (p,), (n,)
        Floats that are exact.
    exact : dict of str to sympy.Matrix
        ``X, y, X_val, y_val, theta, w`` and the Rational ``ridge``.
    """

    problem: LeastSquares
    theta: np.ndarray
    w: np.ndarray
    exact: dict[str, Any]


def ridge_point(
    seed: int, n: int, p: int, *, ridge: float = 0.25, m: int = 3, solved: bool = False
) -> RidgePoint:
    """Return a random point; ``solved`` makes the gradient of F vanish at theta."""
    rng = np.random.default_rng([seed, n, p])
    X, X_val = _dyadic(rng, (n, p)), _dyadic(rng, (m, p))
    y, theta = _dyadic(rng, (n,)), _dyadic(rng, (p,))
    y_val = X_val @ theta if solved else _dyadic(rng, (m,))
    shares = 1 + rng.multinomial(64 - n, np.full(n, 1.0 / n))
    w = shares / 64
    arrays = {"X": X, "y": y, "X_val": X_val, "y_val": y_val, "theta": theta, "w": w}
    exact = {name: exact_matrix(array) for name, array in arrays.items()}
    exact["ridge"] = exact_matrix(np.array([ridge]))[0]
    return RidgePoint(LeastSquares(X, y, X_val, y_val, ridge=ridge), theta, w, exact)


def exact_matrix(array: np.ndarray) -> Any:
    """Return floats ``(k,)`` (as a column) or ``(k, l)`` as the rationals that they are."""
    import sympy

    columns = array[:, None] if array.ndim == 1 else array
    rationals = [sympy.Rational(*float(x).as_integer_ratio()) for x in columns.ravel()]
    return sympy.Matrix(*columns.shape, rationals)


def relative_error(computed: np.ndarray, exact: Any) -> float:
    """Return the largest error of an array from an exact matrix, relative to its largest entry.

    Absolute where the exact matrix is zero.
    """
    expected = np.array([float(x) for x in exact], dtype=float).reshape(np.shape(computed))
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    return float(np.abs(computed - expected).max(initial=0.0)) / scale


def _dyadic(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return multiples of 1/8 between -2 and 2, zero left out."""
    return rng.integers(1, 17, size=shape) * rng.choice([-1, 1], size=shape) / 8
