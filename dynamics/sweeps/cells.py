"""A tile of sweep cells: their states, which of them are alive, and what happened to the others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from array_api_compat import array_namespace

from ..status import BOUND, Status
from ..types import Array

__all__ = ["Cells", "Plan", "judge"]


@dataclass(frozen=True)
class Plan:
    """What an engine has to do: B cells, all from the same start.

    Attributes
    ----------
    rho, eta : (B,)
        Inner and outer step of each cell, ``alpha dt`` and ``beta dt``.
    num_steps : int
    save_steps : tuple of int
        Increasing steps after which states are recorded; 0 is the start.
    theta0 : (p,)
    log_w0 : (n,)
    """

    rho: np.ndarray
    eta: np.ndarray
    num_steps: int
    save_steps: tuple[int, ...]
    theta0: np.ndarray
    log_w0: np.ndarray


@dataclass
class Cells:
    """States of the T cells of a tile; a cell that fails keeps its last good state.

    Attributes
    ----------
    index : (T,)
        Which cells of the grid they are.
    theta : (T, p)
    log_w : (T, n)
    U : (T, d) or None
        Reduced coordinates, where the engine follows them.
    status : (T,) int8
    last_step : (T,)
        Steps done when the cell failed, or so far.
    alive : (A,)
        Positions, in the tile, of the cells that still move.
    """

    index: np.ndarray
    theta: np.ndarray
    log_w: np.ndarray
    U: np.ndarray | None
    status: np.ndarray = field(init=False)
    last_step: np.ndarray = field(init=False)
    alive: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        size = self.index.size
        self.status = np.full(size, Status.ok, dtype=np.int8)
        self.last_step = np.zeros(size, dtype=np.int64)
        self.alive = np.arange(size)

    def write(self, step: int, **states: Array) -> None:
        """Store the states of the living cells."""
        for name, values in states.items():
            getattr(self, name)[self.alive] = values
        self.last_step[self.alive] = step

    def bury(self, verdict: Array) -> np.ndarray:
        """Mark the living cells whose verdict is not ok as ended; return the mask of the others."""
        good = verdict == Status.ok
        self.status[self.alive[~good]] = verdict[~good]
        self.alive = self.alive[good]
        return good


def judge(theta: Array, total: Array, solved: Array) -> Array:
    """Return the status ``(A,)``, int8, of new states; nothing waits for the device.

    Parameters
    ----------
    theta : (A, p)
    total : (A,)
        Sum of the unnormalised weights; not finite when any of them is not.
    solved : (A,) bool
        Whether the inner system could be solved.
    """
    xp = array_namespace(theta, total, solved)
    size = xp.max(xp.abs(theta), axis=-1)
    verdict = xp.full(size.shape, int(Status.ok), dtype=xp.int8, device=theta.device)
    for status, holds in (
        (Status.diverged, size > BOUND),
        (Status.nonfinite, xp.isnan(size) | ~xp.isfinite(total)),
        (Status.underflow, ~solved),
    ):
        verdict = xp.where(holds, xp.full_like(verdict, int(status)), verdict)
    return verdict
