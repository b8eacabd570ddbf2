r"""What is recorded of a block at a saved step, in two passes over its log-weights.

With :math:`m = \max_i \ell_i`, :math:`S = \sum_i 2^{\ell_i-m}` and :math:`\ell = \log_2 w`,

.. math::

    \mathrm{ess} = \frac{S^2}{\sum_i 4^{\ell_i-m}}, \qquad
    \mathrm{entropy} = \log S + \frac{\log 2}{S}\sum_i 2^{\ell_i-m}\,(m-\ell_i),

both sums of terms of one sign, and a sample counts as support where
:math:`\ell_i - m > \log_2(\text{threshold})`.
"""

from __future__ import annotations

import numba
import numpy as np

from ...compiling import INNER
from .exponential import FLOOR, exp2_lanes
from .lanes import WIDTH, dot_rows, larger, load, load_rows, spread, store, sum_rows, where_above
from .solve import SMALL_PIVOT, gather_matrix, solve_lanes, solve_one
from .step import find_leaders, load_system

__all__ = ["record"]

LOG_2 = 0.6931471805599453
LOWEST = -1100.0
"""Log-weights below the maximum by more stand for zero."""
ESS, ENTROPY, CLEAN, COUNTS = 0, WIDTH, 2 * WIDTH, 3 * WIDTH
"""Places of the sums of eight cells in the scratch memory."""


@numba.njit(**INNER)
def record(data, grid, block, table, width, first, save):  # type: ignore[no-untyped-def]
    """Write the variables of a block of cells to row ``save`` of the table."""
    for h in range(0, width, WIDTH):
        if first + h >= grid.num_cells:
            return
        find_leaders(data, block, width, h)
        top = load(block.lane, 0)
        _sum_statistics(data, grid, block, block.sums, width, h, top)
        _solve_optimum(data, block, width, h)
        store(block.lane, 2 * WIDTH, top)
        for k in range(min(WIDTH, grid.num_cells - first - h)):
            row = grid.cells[first + h + k] * grid.num_saves + save
            _write(data, grid, block, table, width, h, k, row)
            if grid.keep_weights:
                _write_weights(data, block, table, width, h, k, row)


@numba.njit(inline="always", **INNER)
def _sum_statistics(data, grid, block, sums, width, h, top):  # type: ignore[no-untyped-def]
    """Write ess, entropy, clean mass and the support counts of eight cells to ``sums``."""
    zero = load(block.alive, h) * 0.0
    total, squares, weighted, clean = zero, zero, zero, zero
    for k in range(COUNTS, COUNTS + WIDTH * grid.num_thresholds):
        sums[k] = 0.0
    for tile in range(data.num_tiles):
        relative = load_rows(block.log2_w, tile * WIDTH * width + h * WIDTH) - top
        relative = larger(relative, LOWEST)
        w = where_above(relative, FLOOR, exp2_lanes(relative), 0.0)
        total = total + sum_rows(w)
        squares = dot_rows(w, w, squares)
        weighted = dot_rows(w, relative, weighted)
        clean = dot_rows(w, spread(data.clean, tile * WIDTH), clean)
        for q in range(grid.num_thresholds):
            place = COUNTS + WIDTH * q
            kept = sum_rows(where_above(relative, grid.log2_thresholds[q], 1.0, 0.0))
            store(sums, place, load(sums, place) + kept)
    store(sums, ESS, total * total / squares)
    store(sums, CLEAN, clean / total)
    store(block.lane, 0, total)
    store(sums, ENTROPY, -weighted / total * LOG_2)
    for k in range(WIDTH):
        sums[ENTROPY + k] += np.log(block.lane[k])


@numba.njit(inline="always", **INNER)
def _solve_optimum(data, block, width, h):  # type: ignore[no-untyped-def]
    """Write theta_star of eight cells to ``block.v``; NaN where the system is singular."""
    p = data.num_params
    load_system(data, block, width, h)
    store(block.lane, WIDTH, solve_lanes(block.H, block.v, p))
    for k in range(WIDTH):
        if block.lane[WIDTH + k] > SMALL_PIVOT:
            continue
        gather_matrix(block.moments, width, h + k, p, data.ridge, block.matrix)
        solution, last = block.vector, p * (p + 3) // 2
        for a in range(p):
            moment = block.moments[(last - p + a) * width + h + k]
            solution[a] = moment / block.moments[last * width + h + k]
        is_solved = solve_one(block.matrix, solution, p)
        for a in range(p):
            block.v[WIDTH * a + k] = solution[a] if is_solved else np.nan


@numba.njit(inline="always", **INNER)
def _write(data, grid, block, table, width, h, k, row):  # type: ignore[no-untyped-def]
    """Write cell k of eight to a row of the table."""
    p, sums = data.num_params, block.sums
    table.ess[row] = sums[ESS + k]
    table.entropy[row] = sums[ENTROPY + k]
    table.clean_mass[row] = min(sums[CLEAN + k], 1.0)
    for q in range(grid.num_thresholds):
        table.support[row * grid.num_thresholds + q] = int(sums[COUNTS + WIDTH * q + k])
    for j in range(p):
        table.theta[row * p + j] = block.theta[j * width + h + k]
        table.theta_star[row * p + j] = block.v[WIDTH * j + k]
    for f in range(grid.num_coordinates):
        table.U[row * grid.num_coordinates + f] = block.U[f * width + h + k]


@numba.njit(inline="always", **INNER)
def _write_weights(data, block, table, width, h, k, row):  # type: ignore[no-untyped-def]
    """Write the normalised weights of cell k of eight."""
    start = row * data.num_samples
    shift = block.lane[2 * WIDTH + k] * LOG_2 + np.log(block.lane[k])
    for i in range(data.num_samples):
        place = (i // WIDTH * width + h) * WIDTH + i % WIDTH * WIDTH + k
        table.w[start + i] = np.exp(block.log2_w[place] * LOG_2 - shift)
