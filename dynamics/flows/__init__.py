"""Right-hand sides of the flows, one file per choice of coordinates.

A flow knows its state vector, its right-hand side, its analytic Jacobian where it has one, and how
theta and the log-weights are read off a state. It does not know who integrates it.

==========================  ==========================================  ===================
coordinates                 state                                       where
==========================  ==========================================  ===================
full                        (theta, log w), or log w alone              every problem
reduced, theta moving       (theta, U) or U: theory T8                  LeastSquares
reduced, theta frozen       u in R^p: theory T4                         every problem
==========================  ==========================================  ===================
"""

from __future__ import annotations

from .base import Flow, InnerFailure
from .frozen import FrozenReduced
from .full import FullExact, FullFrozen, FullJoint
from .reduced import ReducedExact, ReducedJoint

__all__ = [
    "Flow",
    "FrozenReduced",
    "FullExact",
    "FullFrozen",
    "FullJoint",
    "InnerFailure",
    "ReducedExact",
    "ReducedJoint",
]
