"""Compiled engines: kernels in Numba, imported when they are first needed.

:mod:`.lanes` gives Numba vectors as values, :mod:`.exponential` their powers of two, :mod:`.solve`
their linear systems. :mod:`.samples` is the pass over the samples in which all time is spent,
:mod:`.step` one Euler step around it, :mod:`.statistics` what is recorded, :mod:`.kernel` the loop
over blocks and steps, :mod:`.layout` the memory of it all, and :mod:`.engine` spreads it over
threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...problems import LeastSquares, Problem
from ..cells import Plan

__all__ = ["MAX_PARAMS", "has_firm_ridge", "run", "suits"]

FIRM = 64.0
"""Ridges below so many units of round-off of the largest second moment count as none."""
MAX_PARAMS = 48
"""Largest p for which the p(p+3)/2 moments of every step are worth their sums."""


def suits(problem: Problem) -> bool:
    """Return whether the compiled engine takes the problem.

    Without a firm ridge, collapsed cells end on singular Hessians, where every digit and the status
    depend on how zeros arise: those stay with the plain engine.
    """
    return (
        isinstance(problem, LeastSquares)
        and problem.num_params <= MAX_PARAMS
        and problem.X.dtype == np.float64
        and has_firm_ridge(problem)
    )


def has_firm_ridge(problem: LeastSquares) -> bool:
    """Return whether the ridge is seen beside the round-off of the second moments."""
    largest = float(np.square(problem.X, dtype=np.float64).sum(axis=1).max())
    return problem.ridge > FIRM * float(np.finfo(problem.X.dtype).eps) * largest


def run(
    problem: Problem,
    plan: Plan,
    keep_weights: bool,
    thresholds: tuple[float, ...],
    progress: Callable[[float], None] | None,
) -> dict[str, np.ndarray]:
    """Run all cells; return arrays ``(B, saves, ...)``, and ``status``, ``last_step`` ``(B,)``."""
    from .engine import run_compiled

    assert isinstance(problem, LeastSquares), "the caller asks `suits` first"
    return run_compiled(problem, plan, keep_weights, thresholds, progress)
