r"""One Euler step of a block of cells.

The adjoints and the new theta follow from the moments of the weights at hand; then one pass over
the samples (:mod:`.samples`) advances the weights and sums the moments of the next step.

Log-weights are relative to that of one sample of the cell, its leader: what it will be is known
before the pass, so that neither a maximum nor a logarithm is needed, and in a cell that collapsed
on its leader all sums are exact. Once the others weigh more than they could if the leader had half
of the mean, the largest becomes the leader. Should the sum leave the range of doubles by a jump of
hundreds of powers of two, the log-weights are still right, and the pass is repeated with their
maximum subtracted.

A cell is judged before its weights are touched, so that a dead cell keeps its last good state: its
lane goes through all passes with v = 0.
"""

from __future__ import annotations

import numba
import numpy as np

from ...compiling import INNER
from ...status import BOUND, Status
from .lanes import (
    WIDTH,
    all_above,
    fma,
    larger,
    load,
    load_rows,
    magnitude,
    store,
    where_above,
)
from .samples import clear, pass_over_samples
from .solve import SMALL_PIVOT, gather_matrix, solve_lanes, solve_one

__all__ = ["advance", "begin", "find_leaders", "load_system"]

LOG2_E = 1.4426950408889634
LARGEST_CHANGE = 1e300
"""Log-weights that could change by more in one step are called not finite."""
LARGEST_SUM = 1e250
"""Sums of weights relative to the leader from which on moments could leave the range of doubles."""
ABOVE_BOUND = float(np.nextafter(BOUND, np.inf))
UNDERFLOW, DIVERGED, NONFINITE = int(Status.underflow), int(Status.diverged), int(Status.nonfinite)


@numba.njit(inline="always", **INNER)
def begin(data, grid, block, width, first):  # type: ignore[no-untyped-def]
    """Put the cells ``first ... first + width - 1`` at their start and sum their moments."""
    p = data.num_params
    for k in range(width):
        block.alive[k] = 1.0 if first + k < grid.num_cells else 0.0
        for j in range(p):
            block.theta[j * width + k] = data.theta0[j]
            block.probe[j * width + k] = 0.0
    clear(block.U, np.int64(0), p * (p + 3) // 2 * width)
    for tile in range(data.num_tiles):
        for h in range(0, width, WIDTH):
            place = tile * WIDTH * width + h * WIDTH
            for i in range(WIDTH):
                for k in range(WIDTH):
                    block.log2_w[place + i * WIDTH + k] = data.log2_w0[tile * WIDTH + i]
    for h in range(0, width, WIDTH):
        find_leaders(data, block, width, h)
        store(block.leader, h, load(block.lane, WIDTH))
    clear(block.scaled_v, np.int64(0), p * width)
    clear(block.shift, np.int64(0), width)
    pass_over_samples(data, block, width, np.int64(0), width)


@numba.njit(**INNER)
def advance(data, grid, block, table, width, first, step):  # type: ignore[no-untyped-def]
    """Take one step; return whether any cell of the block is still alive."""
    p = data.num_params
    for h in range(0, width, WIDTH):
        _decide(data, grid, block, table, width, first, h, step)
    pass_over_samples(data, block, width, np.int64(0), width)
    for k in range(0, p * width, WIDTH):
        store(block.theta, k, load(block.next_theta, k))
    _mend_sums(data, block, width)
    living = 0.0
    for k in range(width):
        living += block.alive[k]
    return living > 0.0


@numba.njit(**INNER)
def load_system(data, block, width, h):  # type: ignore[no-untyped-def]
    """Write ``M + ridge I`` to ``block.H`` and ``E[y x]`` to ``block.v`` for eight cells."""
    p = data.num_params
    inverse = 1.0 / load(block.moments, p * (p + 3) // 2 * width + h)
    f = 0
    for a in range(p):
        for b in range(a, p):
            entry = load(block.moments, f * width + h) * inverse
            if a == b:
                entry = entry + data.ridge
            store(block.H, WIDTH * (b * p + a), entry)
            f += 1
    for a in range(p):
        store(block.v, WIDTH * a, load(block.moments, (f + a) * width + h) * inverse)


@numba.njit(inline="always", **INNER)
def _decide(data, grid, block, table, width, first, h, step):  # type: ignore[no-untyped-def]
    """Find v and the new theta of eight cells, judge them, and let the living ones go on."""
    p = data.num_params
    alive = load(block.alive, h)
    load_system(data, block, width, h)
    _load_slopes(data, block, width, h)
    ratio = solve_lanes(block.H, block.v, p)
    store(block.lane, 0, where_above(ratio, SMALL_PIVOT, ratio * 0.0 + 1.0, 0.0))
    if not all_above(where_above(alive, 0.5, ratio, 1.0), SMALL_PIVOT):
        _solve_again(data, block, width, h)
    rho, eta = load(grid.rho, first + h), load(grid.eta, first + h) * LOG2_E
    size = alive * 0.0
    left, right = size + data.largest[p], size
    for j in range(p):
        theta, v = load(block.theta, j * width + h), load(block.v, WIDTH * j)
        new = fma(-rho, load(block.slope, WIDTH * j), theta)
        store(block.next_theta, j * width + h, new)
        size = larger(size, magnitude(new))
        left = fma(magnitude(theta), data.largest[j], left)
        right = fma(magnitude(v), data.largest[j], right)
    change = left * right * eta
    store(block.lane, WIDTH, size)
    store(block.lane, 2 * WIDTH, change)
    solved = where_above(alive, 0.5, load(block.lane, 0), 1.0)
    is_bounded = all_above(ABOVE_BOUND, where_above(alive, 0.5, size, 0.0))
    is_finite = all_above(LARGEST_CHANGE, where_above(alive, 0.5, change, 0.0))
    if not (all_above(solved, 0.5) and is_bounded and is_finite):
        _bury(grid, block, table, width, first, h, p, step)
    _commit(block, width, h, p, eta)
    _follow_leaders(data, block, width, h)


@numba.njit(inline="always", **INNER)
def _load_slopes(data, block, width, h):  # type: ignore[no-untyped-def]
    """Write the slope of theta to ``block.slope`` and replace ``block.v`` by grad F."""
    p = data.num_params
    for a in range(p):
        slope = -load(block.v, WIDTH * a)
        for b in range(p):
            entry = load(block.H, WIDTH * (max(a, b) * p + min(a, b)))
            slope = fma(entry, load(block.theta, b * width + h), slope)
        store(block.slope, WIDTH * a, slope)
    for a in range(p):
        gradient = load(block.theta, h) * data.val_hessian[a * p] - data.val_target[a]
        for b in range(1, p):
            theta = load(block.theta, b * width + h)
            gradient = fma(theta, data.val_hessian[a * p + b], gradient)
        store(block.v, WIDTH * a, gradient)


@numba.njit(inline="always", **INNER)
def _solve_again(data, block, width, h):  # type: ignore[no-untyped-def]
    """Solve, with pivoting, the cells whose pivots were small; mark those that are singular."""
    p = data.num_params
    gradient = block.vector
    for k in range(WIDTH):
        if block.lane[k] > 0.5 or block.alive[h + k] < 0.5:
            continue
        for a in range(p):
            gradient[a] = block.theta[h + k] * data.val_hessian[a * p] - data.val_target[a]
            for b in range(1, p):
                theta = block.theta[b * width + h + k]
                gradient[a] = fma(theta, data.val_hessian[a * p + b], gradient[a])
        gather_matrix(block.moments, width, h + k, p, data.ridge, block.matrix)
        if solve_one(block.matrix, gradient, p):
            block.lane[k] = 1.0
            for a in range(p):
                block.v[WIDTH * a + k] = gradient[a]


@numba.njit(inline="always", **INNER)
def _bury(grid, block, table, width, first, h, p, step):  # type: ignore[no-untyped-def]
    """Give each cell its verdict, as ``judge`` does; mark the failed ones dead."""
    for k in range(WIDTH):
        if block.alive[h + k] < 0.5:
            continue
        size = 0.0
        for j in range(p):
            entry = abs(block.next_theta[j * width + h + k])
            size = entry if np.isnan(entry) or entry > size else size
        verdict = 0
        if size > BOUND:
            verdict = DIVERGED
        if np.isnan(size) or not block.lane[2 * WIDTH + k] < LARGEST_CHANGE:
            verdict = NONFINITE
        if block.lane[k] < 0.5:
            verdict = UNDERFLOW
        if verdict != 0:
            block.alive[h + k] = 0.0
            cell = grid.cells[first + h + k]
            table.status[cell] = verdict
            table.last_step[cell] = step - 1


@numba.njit(inline="always", **INNER)
def _commit(block, width, h, p, eta):  # type: ignore[no-untyped-def]
    """Hand v, the shift and U to the living cells; the dead ones stand still."""
    alive = load(block.alive, h)
    zero = alive * 0.0
    for j in range(p):
        place = j * width + h
        v, theta = load(block.v, WIDTH * j), load(block.theta, place)
        store(block.v, WIDTH * j, where_above(alive, 0.5, v, zero))
        store(block.scaled_v, place, where_above(alive, 0.5, v * eta, zero))
        store(block.probe, place, where_above(alive, 0.5, theta, zero))
        new = where_above(alive, 0.5, load(block.next_theta, place), theta)
        store(block.next_theta, place, new)
    eta = where_above(alive, 0.5, eta * (1.0 / LOG2_E), zero)
    f = 0
    for a in range(p):
        v_a, theta_a = load(block.v, WIDTH * a) * eta, load(block.probe, a * width + h)
        for b in range(a, p):
            change = theta_a * (load(block.v, WIDTH * b) * eta)
            if b > a:
                change = fma(load(block.probe, b * width + h), v_a, change)
            store(block.U, f * width + h, load(block.U, f * width + h) + change)
            f += 1
    for a in range(p):
        place = (f + a) * width + h
        store(block.U, place, load(block.U, place) - load(block.v, WIDTH * a) * eta)


@numba.njit(inline="always", **INNER)
def _follow_leaders(data, block, width, h):  # type: ignore[no-untyped-def]
    """Let the shift be what the log-weight of the leader will be: the same sums, bit for bit."""
    p, lane, rows = data.num_params, block.lane, data.rows
    for k in range(WIDTH):
        leader = int(block.leader[h + k])
        tile, i = leader // WIDTH * WIDTH, leader % WIDTH
        lane[k] = rows[tile * (p + 1) + p * WIDTH + i]
        lane[WIDTH + k] = block.log2_w[tile * width + (h + i) * WIDTH + k]
    r, log2_w, a = -load(lane, 0), load(lane, WIDTH), load(block.alive, h) * 0.0
    for j in range(p):
        for k in range(WIDTH):
            leader = int(block.leader[h + k])
            lane[k] = rows[leader // WIDTH * WIDTH * (p + 1) + j * WIDTH + leader % WIDTH]
        x = load(lane, 0)
        r = fma(x, load(block.probe, j * width + h), r)
        a = fma(x, load(block.scaled_v, j * width + h), a)
    store(block.shift, h, where_above(load(block.alive, h), 0.5, fma(r, a, log2_w), 0.0))


@numba.njit(**INNER)
def find_leaders(data, block, width, h):  # type: ignore[no-untyped-def]
    """Write the largest log-weights of eight cells, and their samples, to ``block.lane``."""
    lane, stride = block.lane, WIDTH * width
    top = load_rows(block.log2_w, h * WIDTH)
    place = where_above(top, 0.0, 0.0, load(block.alive, h) * 0.0)  # eight rows of zeros
    for tile in range(1, data.num_tiles):
        log2_w = load_rows(block.log2_w, tile * stride + h * WIDTH)
        place = where_above(log2_w, top, float(tile), place)
        top = larger(log2_w, top)
    store(lane, 0, top)
    store(lane, WIDTH * WIDTH, place)
    for k in range(WIDTH):
        best = 0
        for i in range(1, WIDTH):
            if lane[i * WIDTH + k] > lane[best * WIDTH + k]:
                best = i
        lane[k] = lane[best * WIDTH + k]
        lane[WIDTH + k] = WIDTH * lane[(WIDTH + best) * WIDTH + k] + best


@numba.njit(inline="always", **INNER)
def _mend_sums(data, block, width):  # type: ignore[no-untyped-def]
    """Find new leaders where others outgrew them; sum again where sums left the range."""
    p = data.num_params
    last, limit = p * (p + 3) // 2 * width, 2.0 * data.num_samples
    for h in range(0, width, WIDTH):
        total = where_above(load(block.alive, h), 0.5, load(block.moments, last + h), 1.0)
        if all_above(limit, total):
            continue
        find_leaders(data, block, width, h)
        kept = where_above(limit, total, load(block.leader, h), load(block.lane, WIDTH))
        store(block.leader, h, kept)
        if all_above(LARGEST_SUM, total):
            continue
        store(block.shift, h, where_above(LARGEST_SUM, total, 0.0, load(block.lane, 0)))
        for j in range(p):
            clear(block.scaled_v, j * width + h, j * width + h + WIDTH)
        pass_over_samples(data, block, width, h, h + WIDTH)
