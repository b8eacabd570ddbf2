"""The driver of the array-API kernels: stretches of steps between two looks at the device.

Inside a stretch nothing waits for the device. A cell that fails is frozen by a mask, with its
status, in the step in which it fails. After a stretch the host looks at the flags: whether any cell
still moves, and whether the inner solver had iterations enough; if not, its first step is repeated
with a larger budget, and stretches grow again from there. Arrays are never changed in place, so the
beginning is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ...namespaces import to_numpy
from ...problems import DENSE_LIMIT, LeastSquares, Problem
from ...status import Status
from ...types import Array
from ..cells import Plan, judge
from .least_squares import LeastSquaresKernel
from .oracles import OracleKernel
from .step import Kernel

__all__ = ["PortableEngine", "Snapshot", "make_kernel"]

STRETCH = 64
"""Steps between two looks at the flags, where the inner solver is direct."""
ITERATIVE_STRETCH = 16
"""The same where a stretch may have to be repeated."""
GROWTH = 4
"""Factor on a budget that was too small; what is repeated then is a single step."""
HOST_NUMBERS = 40_000
"""Numbers of the largest array of a tile on a CPU (0.3 MB): beyond the cache, page faults rule."""
MIN_TILE = 8
ARRAYS = 12
"""Arrays of the largest size that a step holds at once, at most."""
SHARE = 0.6
"""Share of the free memory of a device that a tile may take."""


class Snapshot(NamedTuple):
    """States of the T cells of a tile, in the problem's namespace; see :class:`..cells.Cells`."""

    theta: Array
    log_w: Array
    U: Array | None
    status: np.ndarray
    last_step: np.ndarray


class _State(NamedTuple):
    theta: Array
    log_w: Array
    carry: Array
    status: Array
    last_step: Array


class PortableEngine:
    """Steps cells of any problem in its own array library.

    Parameters
    ----------
    problem : Problem
        Its namespace, dtype and device are those of all arrays.
    plan : Plan
    free_bytes : int, optional
        Free memory of the device that the data are on; None on a CPU. On a device a tile is as
        large as fits, on a CPU as large as its cache.
    """

    def __init__(self, problem: Problem, plan: Plan, free_bytes: int | None = None) -> None:
        self.problem, self.plan = problem, plan
        self.kernel = make_kernel(problem)
        self.tile = _tile(self.kernel, problem, free_bytes)
        self._longest = ITERATIVE_STRETCH if self.kernel.cap else STRETCH

    def advance(
        self, index: Array, report: Callable[[float], None] | None = None
    ) -> Iterator[tuple[int, Snapshot]]:
        """Yield ``(step, snapshot)`` at each saved step of the cells ``index``."""
        state, rates = self._start(index), self._rates(index)
        kernel, step, length, moving = self.kernel, 0, 1, 1
        for save in self.plan.save_steps:
            while moving and step < save:
                stop = min(save, step + length)
                new, flags = self._stretch(state, *rates, step, stop)
                alive, unsolved, used = (int(flag) for flag in to_numpy(flags))
                if unsolved and kernel.budget < kernel.cap:
                    kernel.budget, length = min(kernel.cap, GROWTH * kernel.budget), 1
                    continue
                kernel.budget = min(kernel.cap, max(kernel.budget // 2, used + used // 4 + 2))
                state, step, moving, length = new, stop, alive, min(2 * length, self._longest)
                if report is not None:
                    report(step / self.plan.num_steps)
            yield save, self._snapshot(state)

    def _stretch(
        self, state: _State, rho: Array, eta: Array, first: int, last: int
    ) -> tuple[_State, Array]:
        """Return the state after the steps ``first + 1 ... last``, and three flags.

        The flags: how many cells move, how often one was not solved, the most iterations used.
        """
        xp = self.problem.xp
        unsolved = used = xp.zeros((), dtype=xp.int64, device=self.problem.device)
        for step in range(first + 1, last + 1):
            alive = state.status == int(Status.ok)
            move = self.kernel.step(state.theta, state.log_w, state.carry, rho, eta, alive)
            verdict = judge(move.theta, move.total, move.solved)
            goes_on = alive & (verdict == int(Status.ok))
            wide = goes_on[:, None]
            unsolved = unsolved + xp.sum(xp.astype(alive & ~move.solved, xp.int64))
            used = xp.maximum(used, xp.max(xp.where(alive, move.used, xp.zeros_like(move.used))))
            state = _State(
                xp.where(wide, move.theta, state.theta),
                xp.where(wide, move.log_w, state.log_w),
                xp.where(wide, move.carry, state.carry),
                xp.where(alive, verdict, state.status),
                xp.where(goes_on, xp.full_like(state.last_step, step), state.last_step),
            )
        moving = xp.sum(xp.astype(state.status == int(Status.ok), xp.int64))
        return state, xp.stack([moving, unsolved, used])

    def _start(self, index: Array) -> _State:
        xp, size = self.problem.xp, index.size
        theta = self._native(np.tile(self.plan.theta0, (size, 1)))
        log_w = self._native(np.tile(self.plan.log_w0, (size, 1)))
        where = {"device": self.problem.device}
        status = xp.full((size,), int(Status.ok), dtype=xp.int8, **where)
        last_step = xp.zeros((size,), dtype=xp.int64, **where)
        return _State(theta, log_w, self.kernel.start(theta, log_w), status, last_step)

    def _rates(self, index: Array) -> tuple[Array, Array]:
        return tuple(self._native(rate[index, None]) for rate in (self.plan.rho, self.plan.eta))

    def _native(self, values: np.ndarray) -> Array:
        problem = self.problem
        return problem.xp.asarray(values, dtype=problem.dtype, device=problem.device)

    def _snapshot(self, state: _State) -> Snapshot:
        coordinates = self.kernel.coordinates(state.carry)
        status, last_step = to_numpy(state.status), to_numpy(state.last_step)
        return Snapshot(state.theta, state.log_w, coordinates, status, last_step)


def make_kernel(problem: Problem) -> Kernel:
    """Return the kernel for a problem: direct for least squares, else through the oracles."""
    if isinstance(problem, LeastSquares) and problem.num_params <= DENSE_LIMIT:
        return LeastSquaresKernel(problem)
    return OracleKernel(problem)


def _tile(kernel: Kernel, problem: Problem, free_bytes: int | None) -> int:
    """Return how many cells a tile holds."""
    if free_bytes is None:
        return max(MIN_TILE, HOST_NUMBERS // kernel.numbers_per_cell)
    cell = ARRAYS * kernel.numbers_per_cell * problem.xp.finfo(problem.dtype).bits // 8
    return max(1, int(SHARE * free_bytes) // cell)
