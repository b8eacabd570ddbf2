"""Running chunks of cells in threads: NumPy lets go of the interpreter inside its kernels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np

from ..types import Array
from .cells import Cells

__all__ = ["Chunk", "march", "num_threads", "num_workers"]

MAX_WORKERS = 8
"""More threads would mostly wait for the interpreter."""


class Chunk(Protocol):
    """Some cells of a tile, at the state of the last step that was asked for."""

    cells: Cells

    def run(self, step: int) -> None:
        """Go on to ``step`` and write the states into ``cells``."""


def num_threads() -> int:
    """Return ``NUMBA_NUM_THREADS``, or the number of processors that this process may use."""
    value = os.environ.get("NUMBA_NUM_THREADS", "")
    if value.isdecimal() and int(value) > 0:
        return int(value)
    affinity = getattr(os, "sched_getaffinity", None)  # not on every platform
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def num_workers() -> int:
    """Return the number of threads for work that holds the interpreter in between."""
    return min(num_threads(), MAX_WORKERS)


def march(
    tile: Cells,
    parts: Sequence[np.ndarray],
    start: Callable[[np.ndarray], Chunk],
    save_steps: Sequence[int],
) -> Iterator[tuple[int, Cells]]:
    """Yield ``(step, tile)`` at each saved step, all chunks having come so far.

    Parameters
    ----------
    tile : Cells
        The states at the start; filled in.
    parts : sequence of (a,)
        Positions in the tile of the cells of each chunk, the most laborious first.
    start : callable
        Makes the chunk of these positions.
    save_steps : sequence of int
    """
    chunks = [start(part) for part in parts]

    def run(task: tuple[Array, Chunk, int]) -> None:
        part, chunk, step = task
        with np.errstate(all="ignore"):  # of this thread
            chunk.run(step)
        for name in ("theta", "log_w", "U", "status", "last_step"):
            values = getattr(chunk.cells, name)
            if values is not None:
                getattr(tile, name)[part] = values

    workers = min(num_workers(), len(chunks))
    with ThreadPoolExecutor(workers) as pool, _calm_blas(workers):
        for step in save_steps:
            if step > 0:
                tasks = [(part, chunk, step) for part, chunk in zip(parts, chunks, strict=True)]
                list(map(run, tasks) if workers == 1 else pool.map(run, tasks))
            yield step, tile


def _calm_blas(workers: int) -> AbstractContextManager[object]:
    """Keep the BLAS to the calling thread meanwhile, where threadpoolctl is there to ask it."""
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        return nullcontext()
    return threadpool_limits(1, user_api="blas") if workers > 1 else nullcontext()
