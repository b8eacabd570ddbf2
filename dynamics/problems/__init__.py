"""Bilevel reweighting problems: each owns its five oracles and its exact answers."""

from __future__ import annotations

from .base import DENSE_LIMIT, ORACLES, Problem
from .least_squares import LeastSquares
from .multi import MultiProblem
from .softmax import SoftmaxRegression

__all__ = ["DENSE_LIMIT", "ORACLES", "LeastSquares", "MultiProblem", "Problem", "SoftmaxRegression"]
