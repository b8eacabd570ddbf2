"""Euler steps through the oracles, for a tile of cells of any problem.

The batched oracles do the work; adjoints start from those of the step before, so that conjugate
gradients need few iterations once the cells move slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..problems import DENSE_LIMIT, Problem
from ..status import ConvergenceError
from ..types import Array
from .cells import Cells, Plan, judge

__all__ = ["OracleEngine"]

TILE_NUMBERS = 2_000_000
"""Numbers per tile: n times the classes per cell, or the entries of its Hessian where dense."""


class OracleEngine:
    """Steps cells of any problem; ``advance`` yields after every step that is to be saved."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem = problem
        self.plan = plan
        width = problem.num_samples * getattr(problem, "num_classes", 1)
        dense = problem.num_params**2 if problem.num_params <= DENSE_LIMIT else 0
        self.tile = max(1, TILE_NUMBERS // max(width, dense))

    def advance(
        self, index: Array, report: Callable[[float], None] | None = None
    ) -> Iterator[tuple[int, Cells]]:
        """Yield ``(step, cells)`` at each saved step of the cells ``index``."""
        dtype = self.problem.dtype
        theta = np.tile(self.plan.theta0.astype(dtype), (index.size, 1))
        log_w = np.tile(self.plan.log_w0.astype(dtype), (index.size, 1))
        cells = Cells(index, theta.copy(), log_w.copy(), None)
        rho, eta = self.plan.rho[index, None], self.plan.eta[index, None]
        v = np.zeros_like(theta)
        if 0 in self.plan.save_steps:
            yield 0, cells
        for step in range(1, self.plan.num_steps + 1):
            if cells.alive.size:
                w = np.exp(log_w)
                v, solved = self._adjoint(theta, w, v)
                shifted = log_w + eta * self.problem.per_sample_jvp(theta, v)
                shifted -= shifted.max(axis=-1, keepdims=True)
                total = np.exp(shifted).sum(axis=-1, keepdims=True)
                new_log_w = shifted - np.log(total)
                new_theta = theta - rho * self.problem.train_grad(theta, w)
                verdict = judge(new_theta, total[:, 0], solved)
                if verdict.any():
                    cells.write(step - 1, theta=theta, log_w=log_w)
                    good = cells.bury(verdict)
                    new_theta, new_log_w, v = new_theta[good], new_log_w[good], v[good]
                    rho, eta = rho[good], eta[good]
                theta, log_w = new_theta, new_log_w
            if report is not None:
                report(step / self.plan.num_steps)
            if step in self.plan.save_steps:
                cells.write(step, theta=theta, log_w=log_w)
                yield step, cells

    def _adjoint(self, theta: Array, w: Array, guess: Array) -> tuple[np.ndarray, np.ndarray]:
        """Return the adjoints of all cells; if one of them fails, cell by cell."""
        try:
            return self.problem.adjoint(theta, w, guess=guess), np.ones(len(w), dtype=bool)
        except (ConvergenceError, np.linalg.LinAlgError):
            v, solved = np.zeros_like(theta), np.ones(len(w), dtype=bool)
        for k in range(len(w)):
            try:
                v[k] = self.problem.adjoint(theta[k], w[k], guess=guess[k])
            except (ConvergenceError, np.linalg.LinAlgError):
                solved[k] = False
        return v, solved
