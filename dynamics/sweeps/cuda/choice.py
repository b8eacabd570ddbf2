"""Which form of the kernels serves which shape: a table, read from the top."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np

from ...problems import LeastSquares, Problem
from ..compiled import has_firm_ridge
from .source import MAX_THREADS, WARP

__all__ = ["MAX_PARAMS", "TABLE", "Choice", "Row", "choose", "suits"]

MAX_PARAMS = 8
"""Largest p whose p(p+3)/2 moments fit into the registers of a thread."""
MAX_SAMPLES = 2**30
LARGEST_FLOAT = 1e8
"""Largest entry of float32 data: its fourth power, times n, must stay finite."""
BLOCKS_PER_PROCESSOR = 4
ROWS_PER_THREAD = 8
MAX_SLICES = 1024


class Row(NamedTuple):
    """A form, and the shapes that it is for.

    ``march`` takes all steps of a cell in one block and one launch; ``slices`` spreads the samples
    of a cell over blocks, with two launches a step.
    """

    form: str
    threads: int
    max_samples: float
    min_cells_per_processor: float
    why: str


INFINITY = float("inf")
TABLE = (
    Row("march", WARP, 768, 0, "a warp is busy with so few samples, and needs no barrier"),
    Row("march", WARP, INFINITY, 32, "there are warps enough: the fewest sums across threads"),
    Row("march", 128, INFINITY, 8, "four warps a cell fill the processors"),
    Row("march", MAX_THREADS, 8192, 0, "launches would cost more than idle processors"),
    Row("march", MAX_THREADS, INFINITY, 2, "sixteen warps a processor hide most latencies"),
    Row("slices", MAX_THREADS, INFINITY, 0, "few cells of many samples: spread the samples"),
)


class Choice(NamedTuple):
    """How the kernels are launched: threads a block, and slices (blocks) of the samples a cell."""

    form: str
    threads: int
    slices: int
    why: str


def suits(problem: Problem) -> bool:
    """Return whether the kernels take the problem: least squares, a firm ridge, p <= 8."""
    if not isinstance(problem, LeastSquares) or problem.num_params > MAX_PARAMS:
        return False
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    if problem.num_samples > MAX_SAMPLES or not has_firm_ridge(problem):
        return False
    if X.dtype == np.float64:
        return True
    largest = max(float(np.abs(X).max()), float(np.abs(y).max()))
    return X.dtype == np.float32 and largest < LARGEST_FLOAT


def choose(problem: Problem, num_cells: int, num_multiprocessors: int) -> Choice | None:
    """Return how to run a sweep; None where the kernels do not take the problem.

    Parameters
    ----------
    problem : Problem
        With NumPy arrays.
    num_cells : int
    num_multiprocessors : int
        Of the device.
    """
    if not suits(problem):
        return None
    n = cast(LeastSquares, problem).num_samples
    per_processor = num_cells / num_multiprocessors
    row = next(
        row
        for row in TABLE
        if n <= row.max_samples and per_processor >= row.min_cells_per_processor
    )
    slices = 1 if row.form == "march" else _num_slices(n, num_cells, num_multiprocessors)
    return Choice(row.form, row.threads, slices, row.why)


def _num_slices(num_samples: int, num_cells: int, num_multiprocessors: int) -> int:
    """Return slices enough to fill the device, each with work enough for its threads."""
    wanted = -(-BLOCKS_PER_PROCESSOR * num_multiprocessors // num_cells)
    return max(1, min(wanted, num_samples // (ROWS_PER_THREAD * MAX_THREADS), MAX_SLICES))
