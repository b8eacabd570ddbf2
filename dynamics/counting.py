"""What a run costs: passes over the data with one vector, by oracle.

A call with k vectors beside the leading axes of the run, such as n tangents at once, counts k; a
dense Hessian counts p. Leading axes of a run are cells that step together: a call for all of them
counts once, as it does for a cell alone.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from .problems import ORACLES, MultiProblem, Problem
from .types import Array

__all__ = ["COUNTED", "cost", "counting"]

COUNTED = (*ORACLES, "hessian", "theta_star")


def counting(problem: Problem, counts: Counter[str], num_axes: int = 0) -> Problem:
    """Return the same problem, whose oracles add to ``counts`` at every call.

    Inside ``theta_star`` and ``adjoint`` the oracles count too; a MultiProblem counts its blocks. A
    mini-batch counts like everything.

    Parameters
    ----------
    num_axes : int
        Leading axes of the run: further axes of a call are vectors.
    """
    counted: Any = copy.copy(problem)
    if isinstance(problem, MultiProblem):
        counted.problems = tuple(counting(part, counts, num_axes) for part in problem.problems)
        return counted

    def wrap(name: str, call: Callable[..., Array]) -> Callable[..., Array]:
        def wrapped(*args: Any, **kwargs: Any) -> Array:
            result = call(*args, **kwargs)
            counts[name] += math.prod(result.shape[num_axes:-1])
            return result

        return wrapped

    for name in COUNTED:
        owner = counted if name == "theta_star" else problem
        setattr(counted, name, wrap(name, getattr(owner, name)))
    counted.hvp_at = lambda theta, w: wrap("hvp", problem.hvp_at(theta, w))
    counted.batch = lambda train=None, val=None: counting(
        problem.batch(train, val), counts, num_axes
    )
    return counted


def cost(counts: Mapping[str, int]) -> int:
    """Return the calls of all oracles together: what a budget is spent on.

    ``theta_star`` is no part of it: what it calls is.
    """
    return sum(number for name, number in counts.items() if name != "theta_star")
