"""What moves: problems, geometries of the weights, flows, integrators, methods, sweeps.

How the pieces compose: a problem (what) x a geometry (how a step changes weights) x a method or a
flow (when theta and w move) x a driver (that iterates and records). ``LeastSquares`` with
``methods.Joint`` and ``geometries.Mirror`` under :func:`run_method` is the warm-started algorithm
of the core paper; the same problem under :func:`integrate` is its continuous time limit.
"""

from __future__ import annotations

from . import geometries, methods
from .batch import integrate_grid
from .integrate import integrate, integrate_exact, integrate_frozen
from .problems import LeastSquares, MultiProblem, Problem, SoftmaxRegression
from .run import run_method
from .status import ConvergenceError, Status
from .sweeps import Refinement, sweep, weights
from .trajectory import Trajectory

__all__ = [
    "ConvergenceError",
    "LeastSquares",
    "MultiProblem",
    "Problem",
    "Refinement",
    "SoftmaxRegression",
    "Status",
    "Trajectory",
    "geometries",
    "integrate",
    "integrate_exact",
    "integrate_frozen",
    "integrate_grid",
    "methods",
    "run_method",
    "sweep",
    "weights",
]
