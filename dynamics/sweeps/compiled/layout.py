"""How data, cells and results lie in memory for the compiled kernels.

Samples come in tiles of eight, a tile holding first all values of one column and then those of the
next; cells come in blocks of ``width`` lanes, every state holding the lanes of one entry side by
side. Rows that fill up the last tile are zero with weight zero, lanes that fill up the last block
are born dead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...features import num_features, quadratic_features
from ...problems import LeastSquares
from ..cells import Plan
from .lanes import WIDTH, Bytes, Doubles, Integers

__all__ = ["Block", "Data", "Grid", "Table", "aligned", "new_block", "pack_data", "pack_grid"]

FEATURE_BYTES = 2**20
"""Features beyond this size are computed anew for each tile: reading them would cost more."""


class Data(NamedTuple):
    """What all cells share.

    ``rows`` (tiles, p + 1, 8) holds x and y, ``features`` (tiles, d, 8) or nothing,
    ``log2_w0`` and ``clean`` (tiles, 8); ``largest`` (p + 1,) bounds the columns of ``rows``.
    All are stored flat.
    """

    rows: Doubles
    features: Doubles
    log2_w0: Doubles
    clean: Doubles
    largest: Doubles
    val_hessian: Doubles
    val_target: Doubles
    theta0: Doubles
    ridge: float
    num_samples: int
    num_params: int
    num_tiles: int
    has_features: bool


class Grid(NamedTuple):
    """Steps of the cells, ``(blocks, width)`` stored flat, which they are, and when to record."""

    rho: Doubles
    eta: Doubles
    cells: Integers
    num_cells: int
    num_steps: int
    save_steps: Integers
    num_saves: int
    log2_thresholds: Doubles
    num_thresholds: int
    keep_weights: bool
    num_coordinates: int


class Block(NamedTuple):
    """States and scratch of one block of cells; see the module for the layout.

    ``probe`` is theta as the pass over the samples sees it: zero in dead cells, where it may be
    beyond all bounds. ``leader`` holds the number of the sample that each cell is normalised by, as
    a double; ``matrix`` (p, p) and ``vector`` (p,) serve one cell at a time.
    """

    theta: Doubles
    next_theta: Doubles
    probe: Doubles
    scaled_v: Doubles
    shift: Doubles
    leader: Doubles
    U: Doubles
    log2_w: Doubles
    moments: Doubles
    partial: Doubles
    alive: Doubles
    features: Doubles
    H: Doubles
    v: Doubles
    slope: Doubles
    lane: Doubles
    sums: Doubles
    matrix: Doubles
    vector: Doubles


class Table(NamedTuple):
    """Results, ``(cells, saves, ...)`` in order, and the status of the cells."""

    theta: Doubles
    theta_star: Doubles
    U: Doubles
    ess: Doubles
    entropy: Doubles
    support: Integers
    clean_mass: Doubles
    w: Doubles
    status: Bytes
    last_step: Integers


def aligned(size: int) -> np.ndarray:
    """Return uninitialised numbers that start at a cache line, so that no vector straddles two."""
    raw = np.empty(size + WIDTH)
    start = (-raw.ctypes.data // 8) % WIDTH
    return raw[start : start + size]


def pack_data(problem: LeastSquares, plan: Plan) -> Data:
    """Return the samples in tiles."""
    n, p = problem.num_samples, problem.num_params
    tiles = -(-n // WIDTH)
    clean = np.zeros(n) if problem.clean is None else problem.clean.astype(float)
    rows = np.column_stack([problem.X, problem.y])
    keep = tiles * WIDTH * num_features(p) * 8 <= FEATURE_BYTES
    features = quadratic_features(problem.X, problem.y) if keep else np.empty((n, 0))
    return Data(
        _tiled(rows),
        _tiled(features),
        _tiled(plan.log_w0[:, None] / np.log(2.0), fill=-np.inf),
        _tiled(clean[:, None]),
        np.abs(rows).max(axis=0),
        np.ascontiguousarray(problem.val_hessian).ravel(),
        np.ascontiguousarray(problem.val_target),
        np.asarray(plan.theta0, dtype=float),
        problem.ridge,
        n,
        p,
        tiles,
        keep,
    )


def _tiled(columns: np.ndarray, fill: float = 0.0) -> np.ndarray:
    """Return ``(n, k)`` as ``(tiles, k, 8)``, flat."""
    n, k = columns.shape
    tiles = -(-n // WIDTH)
    out = aligned(tiles * WIDTH * k)
    padded = np.full((tiles * WIDTH, k), fill)
    padded[:n] = columns
    out[:] = padded.reshape(tiles, WIDTH, k).transpose(0, 2, 1).ravel()
    return out


def pack_grid(
    data: Data, plan: Plan, width: int, thresholds: tuple[float, ...], keep_weights: bool
) -> Grid:
    """Return the cells in blocks of ``width`` lanes, cells of equal eta side by side.

    Their log-weights jump in the same steps, so that few blocks repeat their sums.
    """
    size = plan.rho.size
    padding = (0, -size % width)
    order = np.argsort(plan.eta, kind="stable")
    with np.errstate(divide="ignore"):
        # the smallest positive double is 2**-1074: half of it and more counts as positive
        log2_thresholds = np.maximum(np.log2(np.array(thresholds)), -1075.0)
    return Grid(
        np.pad(plan.rho[order], padding),
        np.pad(plan.eta[order], padding),
        order,
        size,
        plan.num_steps,
        np.array(plan.save_steps),
        len(plan.save_steps),
        log2_thresholds,
        len(thresholds),
        keep_weights,
        d if (d := num_features(data.num_params)) < data.num_samples else 0,
    )


def new_block(data: Data, grid: Grid, width: int) -> Block:
    """Return the memory of one block."""
    p = data.num_params
    d = num_features(p)
    log2_w = data.num_tiles * WIDTH * width
    sizes = [p * width, p * width, p * width, p * width, width, width, d * width, log2_w]
    sizes += [(d + 1) * width, (d + 1) * width, width]
    sizes += [WIDTH * d, WIDTH * p * p, WIDTH * p, WIDTH * p, 2 * WIDTH * WIDTH]
    sizes += [WIDTH * (3 + grid.num_thresholds), p * p, p]
    return Block(*(aligned(size) for size in sizes))
