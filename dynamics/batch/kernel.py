"""The compiled loop: cells one after the other, each with its own steps."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from .. import status as verdicts
from ..compiling import INNER, compile_cached, fingerprint
from ..status import BOUND, Status
from ..tilting import SOURCES
from ..types import Array
from .controller import error_norm, first_step, next_factor, refused_factor
from .field import Data, field, jacobian, make_work
from .step import OK, UNSOLVED, attempt, between, make_steps
from .tableau import STAGES

__all__ = ["Goal", "Outcome", "integrate_cells"]

REACHED = int(Status.ok)
CAPPED = int(Status.max_evaluations)
DIVERGED = int(Status.diverged)
NONFINITE = int(Status.nonfinite)
UNDERFLOW = int(Status.underflow)
STALLED = int(Status.stiff)
SMALLEST_STEP = 16 * 2.220446049250313e-16
"""Relative to the time: a shorter step is lost in it."""


class Goal(NamedTuple):
    """What every cell has to do.

    Attributes
    ----------
    start : (N,)
        (theta, U) at the first time.
    t0, t1 : float
    times : (T,)
        Increasing times in [t0, t1] to save at.
    rtol : float
    atol : (N,)
    max_evaluations : int
    """

    start: np.ndarray
    t0: float
    t1: float
    times: np.ndarray
    rtol: float
    atol: np.ndarray
    max_evaluations: int


class Outcome(NamedTuple):
    """What came out, filled in cell by cell.

    Attributes
    ----------
    states : (B, T, N)
        From the end of a cell on, its last state.
    status : (B,) int8
    last_time : (B,)
    num_evaluations : (B,)
    stop : (1,)
        Cells end early, unfinished, once it is not 0.
    """

    states: np.ndarray
    status: np.ndarray
    last_time: np.ndarray
    num_evaluations: np.ndarray
    stop: np.ndarray


def integrate_cells(
    data: Data, goal: Goal, alpha: Array, beta: Array, first: int, last: int, outcome: Outcome
) -> None:
    """Integrate the cells ``first`` to ``last`` of the speeds alpha, beta ``(B,)``."""
    steps, work = make_steps(goal.start.size), make_work(data)
    _load_kernel()(data, goal, alpha, beta, first, last, outcome, steps, work)


@lru_cache(maxsize=1)
def _load_kernel() -> Any:
    places = (*SOURCES, Path(str(verdicts.__file__)), Path(__file__).parent)
    return compile_cached(_define(fingerprint(*places)))


def _define(key: int) -> Any:
    """Return the function to compile; ``key`` is there for its cache."""

    def run(data, goal, alpha, beta, first, last, outcome, steps, work):  # type: ignore[no-untyped-def]
        for cell in range(first if key > 0 else last, last):
            _cell(data, goal, alpha[cell], beta[cell], cell, outcome, steps, work)

    return run


@numba.njit(inline="always", **INNER)
def _cell(data, goal, alpha, beta, cell, outcome, steps, work):  # type: ignore[no-untyped-def]
    """Integrate one cell and write down what came out."""
    saved = outcome.states[cell]
    _copy(goal.start, steps.z)
    t, h, previous, done, count = goal.t0, -1.0, 1.0, 0, 0
    status = REACHED
    if goal.times[0] <= t:
        _copy(steps.z, saved[0])
        done = 1
    while t < goal.t1 and outcome.stop[0] == 0:
        solved = field(data, alpha, beta, steps.z, steps.slope, work)
        count += 1
        status = _judge_slope(solved, steps.slope)
        if status != REACHED:
            break
        jacobian(data, alpha, beta, steps.z, steps.J, work)
        if h < 0.0:
            h = _start(goal, steps)
        status, h, used, error = _advance(data, goal, alpha, beta, t, h, count, steps, work)
        count = used
        if status != REACHED:
            break
        if _size(steps.z_new, data.val_target.size) > BOUND:
            status = DIVERGED
            break
        t_new = goal.t1 if t + h >= goal.t1 else t + h
        while done < goal.times.size and goal.times[done] <= t_new:
            between((goal.times[done] - t) / (t_new - t), steps, saved[done])
            done += 1
        t = t_new
        _copy(steps.z_new, steps.z)
        h *= next_factor(error, previous)
        previous = error
    for k in range(done, goal.times.size):
        _copy(steps.z, saved[k])
    outcome.status[cell] = status
    outcome.last_time[cell] = t
    outcome.num_evaluations[cell] = count


@numba.njit(inline="always", **INNER)
def _copy(x, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = x[i]


@numba.njit(inline="always", **INNER)
def _size(x, count):  # type: ignore[no-untyped-def]
    """Return the largest of the first entries, in size."""
    largest = 0.0
    for i in range(count):
        largest = max(largest, abs(x[i]))
    return largest


@numba.njit(inline="always", **INNER)
def _judge_slope(solved, slope):  # type: ignore[no-untyped-def]
    if not solved:
        return UNDERFLOW
    for value in slope:
        if not np.isfinite(value):
            return NONFINITE
    return REACHED


@numba.njit(inline="always", **INNER)
def _start(goal, steps):  # type: ignore[no-untyped-def]
    """Return the first step, with z'' = J z' at hand."""
    z, rtol, atol = steps.z, goal.rtol, goal.atol
    for i in range(z.size):
        steps.u[i] = 0.0
        for j in range(z.size):
            steps.u[i] += steps.J[i, j] * steps.slope[j]
    size = error_norm(z, z, z, atol, rtol)
    slope = error_norm(steps.slope, z, z, atol, rtol)
    curvature = error_norm(steps.u, z, z, atol, rtol) ** 0.5
    return first_step(size, slope, curvature, goal.t1 - goal.t0)


@numba.njit(inline="always", **INNER)
def _advance(data, goal, alpha, beta, t, h, count, steps, work):  # type: ignore[no-untyped-def]
    """Try shorter and shorter steps until one is accepted.

    Returns
    -------
    status, h, count, error
        h is the accepted step.
    """
    trouble = STALLED
    limited = False
    while True:
        if 1.0001 * h >= goal.t1 - t:
            h = goal.t1 - t
            limited = True
        if h <= SMALLEST_STEP * abs(t) and not limited:
            return trouble, h, count, 0.0
        if h < 1e-300:
            return trouble, h, count, 0.0
        if count + 7 > goal.max_evaluations:
            return CAPPED, h, count, 0.0
        limited = False
        count += 7
        done = attempt(data, alpha, beta, h, steps, work)
        error = np.inf
        if done == OK:
            error = error_norm(steps.k[STAGES - 1], steps.z, steps.z_new, goal.atol, goal.rtol)
        if error <= 1.0:
            return REACHED, h, count, error
        if np.isfinite(error):
            trouble = STALLED
            h *= refused_factor(error)
        else:
            trouble = UNDERFLOW if done == UNSOLVED else NONFINITE
            h *= 0.2
