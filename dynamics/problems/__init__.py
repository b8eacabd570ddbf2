"""Bilevel reweighting problems: each owns its five oracles and its exact answers."""

from __future__ import annotations

from .base import DENSE_LIMIT, ORACLES, Problem
from .hosted import Hosted
from .indefinite import indefinite_adjoint
from .least_squares import LeastSquares
from .multi import MultiProblem
from .softmax import SoftmaxRegression
from .trust_region import local_minimiser

__all__ = [
    "DENSE_LIMIT",
    "ORACLES",
    "Hosted",
    "LeastSquares",
    "MultiProblem",
    "Problem",
    "SoftmaxRegression",
    "indefinite_adjoint",
    "local_minimiser",
]
