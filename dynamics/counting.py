"""Counting the calls of a problem's oracles."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

from .problems import ORACLES, MultiProblem, Problem
from .types import Array

__all__ = ["counting"]

COUNTED = (*ORACLES, "hessian", "theta_star")


def counting(problem: Problem, counts: Counter[str]) -> Problem:
    """Return the same problem, whose oracles add to ``counts`` at every call.

    Inside ``theta_star`` and ``adjoint`` the oracles count too; a MultiProblem counts its blocks.
    """
    counted: Any = copy.copy(problem)
    if isinstance(problem, MultiProblem):
        counted.problems = tuple(counting(part, counts) for part in problem.problems)
        return counted

    def wrap(name: str, call: Callable[..., Array]) -> Callable[..., Array]:
        def wrapped(*args: Any, **kwargs: Any) -> Array:
            counts[name] += 1
            return call(*args, **kwargs)

        return wrapped

    for name in COUNTED:
        owner = counted if name == "theta_star" else problem
        setattr(counted, name, wrap(name, getattr(owner, name)))
    counted.hvp_at = lambda theta, w: wrap("hvp", problem.hvp_at(theta, w))
    counted.batch = lambda train=None, val=None: counting(problem.batch(train, val), counts)
    return counted
