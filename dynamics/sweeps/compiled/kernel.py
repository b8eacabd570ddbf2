"""The one function that is compiled and cached: a run of blocks from start to end.

Numba renews its cache when the file of a function changes, not when what it calls does: the
fingerprint of this folder is a constant of the kernel, and thus part of the key of its cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ... import status
from ...compiling import compile_cached, tried
from .lanes import reader
from .layout import Block, Data, Grid, Table
from .statistics import record
from .step import advance, begin

__all__ = ["load_kernel"]


@lru_cache(maxsize=1)
def load_kernel() -> Callable[..., None]:
    """Return the kernel, compiled, or from the cache of an earlier process."""
    run = compile_cached(_define(_fingerprint()), nogil=True, error_model="numpy")
    nothing = [np.zeros(len(kind._fields), dtype=np.int64) for kind in (Data, Grid, Block, Table)]
    return tried(run, *nothing, 8, 0, 0, np.zeros(1, np.int64), 0, np.zeros(1, np.int64))


def _fingerprint() -> int:
    """Return a number that changes with any source file that the kernel is made of."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(status.__file__)]:
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "big")


def _define(fingerprint: int) -> Callable[..., Any]:
    read_data, read_grid, read_block, read_table = map(reader, (Data, Grid, Block, Table))

    def run_blocks(  # type: ignore[no-untyped-def]
        shared, cells, memory, results, width, first, last, steps_done, slot, stop
    ):
        version = fingerprint
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
