"""Bilevel reweighting problems: each owns its five oracles and its exact answers."""

from __future__ import annotations

from .base import ORACLES, Problem
from .least_squares import LeastSquares
from .multi import MultiProblem
from .softmax import SoftmaxRegression

__all__ = ["ORACLES", "LeastSquares", "MultiProblem", "Problem", "SoftmaxRegression"]
