"""The bound of this machine: multiply-adds and exponentials per second, all cores together.

Both are measured with the vector types of our own kernels, on numbers that stay in registers or in
the first-level cache: nothing that a sweep does can be faster. Peak rates are those of the best of
several short repeats, since clock rates wander.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

from warmflow.dynamics.sweeps.compiled.exponential import exp2_lanes
from warmflow.dynamics.sweeps.compiled.lanes import (
    WIDTH,
    Doubles,
    fma,
    load,
    load_rows,
    reader,
    store,
    words,
)

REPEATS = 7
ROUNDS = 400_000
TILE = WIDTH * WIDTH
NUMBERS = 16 * TILE
"""Arguments of the exponentials: 8 KB."""


class Memory(NamedTuple):
    x: Doubles


read = reader(Memory)


@numba.njit(nogil=True, error_model="numpy")
def _multiply_add(memory, rounds):
    """Sixteen independent chains of eight lanes: enough for two units of latency four."""
    data = read(memory)
    a, b = load_rows(data.x, 0), load_rows(data.x, TILE)
    factor, term = load(data.x, 2 * TILE), load(data.x, 2 * TILE + WIDTH)
    for _ in range(rounds):
        a = fma(a, factor, term)
        b = fma(b, factor, term)
    store(data.x, 0, a)
    store(data.x, TILE, b)


@numba.njit(nogil=True, error_model="numpy")
def _exponentials(memory, rounds):
    """Powers of two of numbers in the cache, summed."""
    data = read(memory)
    total = load_rows(data.x, 0)
    for _ in range(rounds):
        for k in range(0, NUMBERS, TILE):
            total = total + exp2_lanes(load_rows(data.x, k))
    store(data.x, 0, total)


def _rate(kernel, work: float, rounds: int, workers: int) -> float:
    """Return the largest work per second of ``workers`` threads over the repeats."""

    def task() -> None:
        memory = Memory(np.linspace(-1.0, 0.9, NUMBERS))
        kernel(words(memory), rounds)

    task()
    best = np.inf
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(REPEATS):
            began = time.perf_counter()
            for future in [pool.submit(task) for _ in range(workers)]:
                future.result()
            best = min(best, time.perf_counter() - began)
    return workers * work * rounds / best


def measure() -> dict[str, float]:
    """Return flops and exponentials per second of all cores of this process together."""
    workers = len(os.sched_getaffinity(0))
    return {
        "workers": workers,
        "flops": _rate(_multiply_add, 2 * 2 * TILE, ROUNDS, workers),
        "exps": _rate(_exponentials, NUMBERS, ROUNDS // 40, workers),
    }


def bound_seconds(shape: dict[str, int], rates: dict[str, float]) -> float:
    """Return the cheapest flops plus the exponentials of a sweep, at these rates.

    Per row of a cell the reduced form takes 4d + 2 flops and the hybrid form 4p + 2d + 5, with
    d = p(p+3)/2; forming H directly takes p^2 + 4p and factoring it p^3/3. (Conjugate gradients
    can do with fewer flops than any of these where p is large: it is the bound of direct methods.)
    """
    n, p = shape["n"], shape["p"]
    d = p * (p + 3) // 2
    row = min(4 * d + 2, 4 * p + 2 * d + 5, p * p + 4 * p)
    flops = n * row + p**3 / 3
    return shape["cells"] * shape["steps"] * (flops / rates["flops"] + n / rates["exps"])


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{measure()}\n")
