"""Running chunks of cells in threads: NumPy lets go of the interpreter inside its kernels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np

from ..jobs.pools import num_processors
from ..jobs.threads import is_single
from ..types import Array
from .cells import Cells, Plan

__all__ = ["Chunk", "march", "num_threads", "num_workers", "run_together"]

MAX_WORKERS = 8
"""More threads would mostly wait for the interpreter."""
SECONDS_BETWEEN_REPORTS = 0.25


class Chunk(Protocol):
    """Some cells of a tile, at the state after ``step`` steps."""

    cells: Cells
    step: int

    def advance(self) -> None:
        """Take one step."""

    def write(self, step: int) -> None:
        """Write the states of the living cells into ``cells``."""


def num_threads() -> int:
    """Return ``NUMBA_NUM_THREADS``, or the number of processors that this process may use."""
    value = os.environ.get("NUMBA_NUM_THREADS", "")
    if value.isdecimal() and int(value) > 0:
        return int(value)
    return num_processors()


def num_workers() -> int:
    """Return the number of threads for work that holds the interpreter in between."""
    return 1 if is_single() else min(num_threads(), MAX_WORKERS)


def run_together(
    tasks: Sequence[Callable[[], None]],
    workers: int,
    *,
    stop: Callable[[], None],
    report: Callable[[], None] | None,
) -> None:
    """Do the tasks in threads, in their order; report now and then; pass on what interrupts.

    The wait has a timeout so that an interrupt is never missed between two calls.

    Parameters
    ----------
    stop : callable
        Called after an error or an interrupt: lets the running tasks end soon.
    report : callable, optional
        Called in this thread four times a second, and at the end.
    """
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting: set[Future[None]] = set()
            waiting.update(pool.submit(task) for task in tasks)
            while waiting:
                done, waiting = wait(waiting, SECONDS_BETWEEN_REPORTS, FIRST_COMPLETED)
                for future in done:
                    future.result()
                if report is not None:
                    report()
        except BaseException:
            stop()
            pool.shutdown(cancel_futures=True)
            raise


def march(
    tile: Cells,
    parts: Sequence[np.ndarray],
    start: Callable[[np.ndarray], Chunk],
    plan: Plan,
    report: Callable[[float], None] | None,
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
    plan : Plan
    report : callable, optional
        Called with the share of the steps that are done.
    """
    chunks = [start(part) for part in parts]
    workers, stop = min(num_workers(), len(chunks)), threading.Event()

    def run(part: Array, chunk: Chunk, step: int) -> None:
        with np.errstate(all="ignore"):  # of this thread
            while chunk.step < step and chunk.cells.alive.size and not stop.is_set():
                chunk.advance()
                chunk.step += 1
            if chunk.cells.alive.size:
                chunk.write(step)
        for name in ("theta", "log_w", "U", "status", "last_step"):
            values = getattr(chunk.cells, name)
            if values is not None:
                getattr(tile, name)[part] = values

    def tell() -> None:
        if report is not None:
            report(sum(chunk.step for chunk in chunks) / (len(chunks) * plan.num_steps))

    tick = None if report is None else tell
    with _calm_blas(workers):
        for step in plan.save_steps:
            tasks = [partial(run, *pair, step) for pair in zip(parts, chunks, strict=True)]
            if step > 0:
                run_together(tasks, workers, stop=stop.set, report=tick)
            yield step, tile


_calm: dict[str, Any] = {"callers": 0, "limits": None}
_lock = threading.Lock()


@contextmanager
def _calm_blas(workers: int) -> Iterator[None]:
    """Keep the BLAS to the calling thread meanwhile, where threadpoolctl is there to ask it.

    The limit belongs to the whole process: the first sweep sets it, the last one lifts it.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        threadpool_limits = None
    if workers == 1 or threadpool_limits is None:
        yield
        return
    with _lock:
        _calm["callers"] += 1
        if _calm["callers"] == 1:
            _calm["limits"] = threadpool_limits(1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _calm["callers"] -= 1
            if _calm["callers"] == 0:
                _calm["limits"].restore_original_limits()
