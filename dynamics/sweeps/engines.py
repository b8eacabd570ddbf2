"""Which engine steps a tile of cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from ..problems import LeastSquares, Problem, SoftmaxRegression
from ..types import Array
from .cells import Cells, Plan
from .compiled import MAX_PARAMS, has_firm_ridge
from .least_squares import LeastSquaresEngine
from .oracles import OracleEngine

__all__ = ["Engine", "make_engine"]


class Engine(Protocol):
    """Steps all cells of a tile; ``advance`` yields after every step that is to be saved."""

    tile: int

    def advance(
        self, index: Array, report: Callable[[float], None] | None = None
    ) -> Iterator[tuple[int, Cells]]:
        """Yield ``(step, cells)`` at each saved step of the cells ``index``.

        ``report`` is called with the share of their steps that is done.
        """
        ...


def make_engine(problem: Problem, plan: Plan, *, is_plain: bool) -> tuple[str, Engine]:
    """Return the engine for this problem with its name: the reference where ``is_plain``."""
    is_plain = is_plain or problem.dtype != np.float64
    if isinstance(problem, LeastSquares):
        if is_plain or problem.num_params <= MAX_PARAMS or not has_firm_ridge(problem):
            return "numpy", LeastSquaresEngine(problem, plan)
        from .iterative import IterativeEngine

        return "iterative", IterativeEngine(problem, plan)
    if isinstance(problem, SoftmaxRegression) and not is_plain:
        from .softmax import SoftmaxEngine

        return "iterative", SoftmaxEngine(problem, plan)
    return "numpy", OracleEngine(problem, plan)
