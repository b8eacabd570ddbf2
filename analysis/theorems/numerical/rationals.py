"""The gradient of h for ridge regression in rational arithmetic: no step, no rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ....dynamics import LeastSquares
from ....dynamics.types import Array

__all__ = ["ridge_gradient"]

Vector = list[Fraction]
Matrix = list[list[Fraction]]


def ridge_gradient(problem: LeastSquares, w: Array) -> np.ndarray:
    r"""Return :math:`\partial h/\partial w_i`, shape ``(n,)``, exact up to its final rounding.

    Forward: :math:`H\,\partial_i\theta = x_i y_i - x_i x_i^\top\theta` by Gaussian elimination over
    the rationals, then the chain rule through F. Floats are rationals, so the data are exact.
    """
    X, X_val = _matrix(problem.X), _matrix(problem.X_val)
    y, y_val, weights = _vector(problem.y), _vector(problem.y_val), _vector(w)
    p = len(X[0])
    H = [
        [
            sum((wi * x[a] * x[b] for wi, x in zip(weights, X, strict=True)), Fraction(0))
            + (Fraction(problem.ridge) if a == b else 0)
            for b in range(p)
        ]
        for a in range(p)
    ]
    target = [
        sum((wi * yi * x[a] for wi, yi, x in zip(weights, y, X, strict=True)), Fraction(0))
        for a in range(p)
    ]
    theta = _solve(H, target)
    outer = [
        sum((x[a] * (_dot(x, theta) - t) for x, t in zip(X_val, y_val, strict=True)), Fraction(0))
        / len(y_val)
        for a in range(p)
    ]
    moves = ([xa * (yi - _dot(x, theta)) for xa in x] for x, yi in zip(X, y, strict=True))
    return np.array([float(_dot(outer, _solve(H, move))) for move in moves])


def _solve(A: Matrix, b: Vector) -> Vector:
    """Solve A x = b by Gauss-Jordan elimination."""
    rows = [[*row, value] for row, value in zip(A, b, strict=True)]
    for k in range(len(rows)):
        pivot = next(i for i in range(k, len(rows)) if rows[i][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i, row in enumerate(rows):
            if i != k and row[k] != 0:
                rows[i] = [a - row[k] * b for a, b in zip(row, rows[k], strict=True)]
    return [row[-1] for row in rows]


def _dot(a: Vector, b: Vector) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _vector(values: Array) -> Vector:
    return [Fraction(float(value)) for value in values]


def _matrix(values: Array) -> Matrix:
    return [_vector(row) for row in values]
