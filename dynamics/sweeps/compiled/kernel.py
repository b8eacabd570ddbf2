"""The one function that is compiled and cached: a run of blocks from start to end."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ... import status
from ...compiling import compile_cached, fingerprint
from .lanes import WIDTH, reader
from .layout import Block, Data, Grid, Table
from .statistics import record
from .step import advance, begin

__all__ = ["load_kernel"]

read_data, read_grid, read_block, read_table = map(reader, (Data, Grid, Block, Table))


@lru_cache(maxsize=1)
def load_kernel() -> Callable[..., None]:
    """Return the kernel, compiled, or from the cache of an earlier process.

    One call without blocks compiles it in this thread, where an interrupt reaches it.
    """
    places = Path(__file__).parent, Path(str(status.__file__))
    run = compile_cached(_define(fingerprint(*places)))
    nothing = [np.zeros(len(kind._fields), dtype=np.int64) for kind in (Data, Grid, Block, Table)]
    run(*nothing, WIDTH, 0, 0, np.zeros(1, np.int64), 0, np.zeros(1, np.int64))
    return run


def _define(key: int) -> Callable[..., Any]:
    """Return the function to compile; ``key``, its only closure, is part of that of its cache."""

    def run_blocks(  # type: ignore[no-untyped-def]
        shared, cells, memory, results, width, first, last, steps_done, slot, stop
    ):
        version = key
        data, grid = read_data(shared), read_grid(cells)
        block, table = read_block(memory), read_table(results)
        for number in range(first, last):
            start = number * width
            begin(data, grid, block, width, start)
            step, is_alive = 0, True
            for save in range(grid.num_saves):
                while step < grid.save_steps[save]:
                    step += 1
                    if is_alive:
                        is_alive = advance(data, grid, block, table, width, start, step)
                    steps_done[slot] += 1
                    if stop[0] != 0:
                        return version
                record(data, grid, block, table, width, start, save)
            steps_done[slot] += grid.num_steps - step
        return version

    return run_blocks
