"""Spending a budget of oracle calls: one method, one problem, several outer steps side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...dynamics import Problem
from ...dynamics.counting import COUNTED, cost, counting
from ...dynamics.geometries import Geometry
from ...dynamics.methods import MAID, ConjugateGradient, Method
from ...dynamics.nesting import nested, with_knobs
from ...dynamics.problems import DENSE_LIMIT, LeastSquares
from ...dynamics.run import check_parts
from ...dynamics.simplex import uniform_log_weights
from ...dynamics.stepping import Cells
from ...dynamics.types import Array

__all__ = ["ORACLES", "Spent", "solves_directly", "spend"]

ORACLES = COUNTED
"""What is counted, in the order of the dimension ``oracle``."""
CHUNK_BYTES = 2e8
"""Largest size of the states that step together."""
COPIES = 6
"""Arrays of the size of the largest in a state that a step holds, about."""


@dataclass(frozen=True)
class Spent:
    """Runs that ended with their budget, or before it; cells are outer steps.

    Attributes
    ----------
    theta, w : (cells, marks + 1, p or n)
        At the start, and at the first step at which the calls reached each mark; NaN after a bad
        end.
    mean_w : (cells, n)
        Mean of the weights over all states, the start among them.
    steps : (cells,) int
    calls : (cells, len(ORACLES)) int
    status : (cells,) int8
        ``ok`` when the budget was spent.
    """

    theta: np.ndarray
    w: np.ndarray
    mean_w: np.ndarray
    steps: np.ndarray
    calls: np.ndarray
    status: np.ndarray


def spend(
    problem: Problem,
    method: Method,
    geometry: Geometry | None,
    eta: Any,
    marks: Sequence[int],
    seed: int,
    theta: Array,
) -> Spent:
    """Run from uniform weights until the calls of each cell reach the last of ``marks``.

    Every cell is counted for itself. Cells whose work depends on their states, by a solve that
    iterates until it is exact enough, run one by one; others step together as far as memory allows.

    Parameters
    ----------
    eta : (cells,) or None
        Outer steps; None runs the method as it is, as one cell.
    theta : (p,)
        The start.
    """
    geometry = check_parts(problem, method, geometry)
    if eta is None:
        return _spend(problem, method, geometry, 1, marks, seed, theta)
    size = cells_at_once(problem, method)
    parts = [eta[start : start + size] for start in range(0, len(eta), size)]
    runs = [
        _spend(problem, with_knobs(method, {"eta": part}), geometry, len(part), marks, seed, theta)
        for part in parts
    ]
    names = Spent.__dataclass_fields__
    return Spent(*(np.concatenate([getattr(run, name) for run in runs]) for name in names))


def solves_directly(problem: Problem) -> bool:
    """Return whether theta_star takes one dense solve, whatever the weights."""
    return isinstance(problem, LeastSquares) and problem.num_params <= DENSE_LIMIT


def cells_at_once(problem: Problem, method: Method) -> int:
    """Return how many cells may step together without a change of anybody's count."""
    *_, core = nested(method)
    if not solves_directly(problem) or isinstance(core, ConjugateGradient | MAID):
        return 1
    n, p = problem.num_samples, problem.num_params
    return max(1, int(CHUNK_BYTES / (8 * COPIES * n * p)))


def _spend(
    problem: Problem,
    method: Method,
    geometry: Geometry,
    size: int,
    marks: Sequence[int],
    seed: int,
    theta: Array,
) -> Spent:
    """Run cells together."""
    counts: Counter[str] = Counter()
    run = Cells(counting(problem, counts, 1), method, geometry, (size,), counts)
    run.start(theta, geometry.start(uniform_log_weights(problem.num_samples)), seed)
    states, live = [_state(run, np.arange(size))], np.arange(size)
    total = states[0][1].copy()
    calls = np.zeros((size, len(ORACLES)), dtype=np.int64)
    for mark in marks:
        while not run.ended and cost(counts) < mark:
            run.advance()
            left, state = run.view()
            if left.size < live.size:
                calls[np.setdiff1d(live, left)] = [counts[name] for name in ORACLES]
            live = left
            if live.size:
                total[live] += geometry.weights(state.outer)
        states.append(_state(run, live))
    calls[live] = [counts[name] for name in ORACLES]
    thetas, weights = (np.stack(parts, axis=1) for parts in zip(*states, strict=True))
    mean_w = total / (1.0 + run.ends[:, None])
    return Spent(thetas, weights, mean_w, run.ends, calls, run.status)


def _state(run: Cells, live: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return theta and the weights of all cells, NaN where they are not live."""
    theta, log_w = run.host(run.view())
    broken = np.ones((theta.shape[0], 1), dtype=bool)
    broken[live] = False
    return np.where(broken, np.nan, theta), np.where(broken, np.nan, np.exp(log_w))
