"""The compiled engine of least squares: blocks of cells, spread over threads.

A task is a run of blocks, done from start to end by one thread without the interpreter's lock; all
blocks of a task share one piece of memory, so that few cells of many samples, or many cells, need
little. Nothing that a cell computes depends on its neighbours, on the width of the blocks, or on
the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ...problems import LeastSquares
from ...status import Status
from ..cells import Plan
from ..losses import losses
from ..workers import num_threads, run_together
from .kernel import load_kernel
from .lanes import WIDTH, words
from .layout import Data, Grid, Table, new_block, pack_data, pack_grid

__all__ = ["choose_width", "run_compiled"]

CACHE_NUMBERS = 60_000
"""Log-weights of one block that stay in the second-level cache beside everything else."""
MEMORY_NUMBERS = 100_000_000
"""Log-weights of the blocks of all threads together (0.8 GB), where eight lanes allow it."""
MAX_WIDTH = 32
TASKS_PER_THREAD = 8


def run_compiled(
    problem: LeastSquares,
    plan: Plan,
    keep_weights: bool,
    thresholds: tuple[float, ...],
    progress: Callable[[float], None] | None,
) -> dict[str, np.ndarray]:
    """Run all cells; return arrays ``(B, saves, ...)``, and ``status``, ``last_step`` ``(B,)``."""
    n = problem.num_samples
    threads = max(1, min(num_threads(), MEMORY_NUMBERS // (WIDTH * n)))
    width = choose_width(n, plan.rho.size, threads)
    data = pack_data(problem, plan)
    grid = pack_grid(data, plan, width, thresholds, keep_weights)
    table = _new_table(data, grid)
    _run_tasks(data, grid, table, width, threads, progress)
    return _named(problem, table, keep_weights)


def choose_width(num_samples: int, num_cells: int, threads: int) -> int:
    """Return the lanes of a block: wide where samples are read from afar, narrow where not."""
    fair = -(-num_cells // (threads * WIDTH)) * WIDTH
    cached = CACHE_NUMBERS // num_samples // WIDTH * WIDTH
    room = MEMORY_NUMBERS // (threads * num_samples) // WIDTH * WIDTH
    wanted = cached if cached >= WIDTH else min(MAX_WIDTH, room)
    return max(WIDTH, min(fair, wanted, MAX_WIDTH))


def _new_table(data: Data, grid: Grid) -> Table:
    """Return the memory of the results."""
    p = data.num_params
    lead = (grid.num_cells, grid.num_saves)
    return Table(
        np.empty((*lead, p)),
        np.empty((*lead, p)),
        np.empty((*lead, grid.num_coordinates)),
        np.empty(lead),
        np.empty(lead),
        np.empty((*lead, grid.num_thresholds), dtype=np.int64),
        np.empty(lead),
        np.empty((*lead, data.num_samples) if grid.keep_weights else (0, 0, 0)),
        np.full(grid.num_cells, Status.ok, dtype=np.int8),
        np.full(grid.num_cells, grid.save_steps[-1]),
    )


def _run_tasks(
    data: Data,
    grid: Grid,
    table: Table,
    width: int,
    threads: int,
    progress: Callable[[float], None] | None,
) -> None:
    """Spread the blocks over threads; report progress and pass on interrupts meanwhile."""
    blocks = grid.rho.size // width
    edges = np.linspace(0, blocks, min(blocks, threads * TASKS_PER_THREAD) + 1).astype(int)
    steps_done = np.zeros(edges.size - 1, dtype=np.int64)
    stop = np.zeros(1, dtype=np.int64)
    kernel, shared, results = load_kernel(), (words(data), words(grid)), words(table)

    def task(k: int) -> None:
        memory = new_block(data, grid, width)
        block = int(edges[k]), int(edges[k + 1])
        kernel(*shared, words(memory), results, width, *block, steps_done, k, stop)

    def tell() -> None:
        if progress is not None:
            progress(float(steps_done.sum() / (blocks * grid.num_steps)))

    tasks = [partial(task, k) for k in range(edges.size - 1)]
    report = None if progress is None else tell
    run_together(tasks, threads, stop=lambda: stop.fill(1), report=report)


def _named(problem: LeastSquares, table: Table, keep_weights: bool) -> dict[str, np.ndarray]:
    """Return the table by the names of the Dataset, losses added."""
    names = ["ess", "entropy", "support", "theta", "status", "last_step"]
    names += ["clean_mass"] if problem.clean is not None else []
    names += ["U"] if table.U.shape[-1] else []
    names += ["w"] if keep_weights else []
    out = {name: getattr(table, name) for name in names}
    return {**out, **losses(problem, table.theta, table.theta_star)}
