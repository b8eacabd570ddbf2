"""How many cells a unit of work holds: some seconds of work, and enough units to share them out."""

from __future__ import annotations

import numpy as np

from ...problems import LeastSquares, Problem
from ..axes import Grid
from ..compiled import MAX_PARAMS
from ..settings import Settings

__all__ = ["choose_block", "seconds_of"]

SPEED = 2e9
"""Operations of one core in a second, about."""
WORK = 2 * SPEED
"""Operations of a unit at most."""
BYTES = 2e8
"""Size of the results of a unit at most."""
UNITS = 16
"""Units of a sweep, at least, where there are so many cells."""


def choose_block(
    grid: Grid, settings: Settings, problem: Problem, cells: int | None
) -> tuple[int, int]:
    """Return the cells of a unit along alpha and beta: a function of the specification alone.

    Parameters
    ----------
    cells : int or None
        The number wished for; chosen by the work of a cell when left out.
    """
    total = int(np.prod(grid.shape))
    if cells is None:
        cells = int(min(WORK / _work(settings, problem), BYTES / _bytes(settings, problem)))
        cells = min(cells, -(-total // UNITS))
    a, b = grid.shape[:2]
    wide = max(1, min(b, cells))
    return max(1, min(a, cells // wide)), wide


def seconds_of(grid: Grid, settings: Settings, problem: Problem) -> float:
    """Return about how long one core takes for all cells."""
    own = grid.settings(settings, grid.point((0,) * len(grid.extra)))
    return float(np.prod(grid.shape)) * _work(own, problem) / SPEED


def _work(settings: Settings, problem: Problem) -> float:
    """Return about how many operations one cell takes."""
    n, p = problem.num_samples, problem.num_params
    is_reduced = isinstance(problem, LeastSquares) and p <= MAX_PARAMS
    by_method = settings.method is not None or settings.geometry is not None
    per_row = p * (p + 7) + 5 if is_reduced and not by_method else 100 * p
    return float(settings.num_steps) * n * per_row


def _bytes(settings: Settings, problem: Problem) -> float:
    """Return about how large the results of one cell are."""
    p = problem.num_params
    features = p * (p + 3) // 2 if isinstance(problem, LeastSquares) and p <= MAX_PARAMS else 0
    weights = problem.num_samples if settings.keep_weights or settings.method else 0
    return 8.0 * len(settings.steps) * (p + features + weights + 20)
