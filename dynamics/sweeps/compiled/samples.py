r"""One pass over the samples: advance the log-weights of a block and sum their moments.

.. math::

    \ell_i \leftarrow \ell_i + r_i\,(x_i\cdot v) - c, \qquad
    Z = \sum_i 2^{\ell_i}, \qquad m = \sum_i 2^{\ell_i}\,\phi_i, \qquad
    r_i = x_i\cdot\theta - y_i,

with :math:`\ell = \log_2 w` and v in units of :math:`\eta/\log 2`. Eight samples and eight cells
stay in registers from the residuals to the moments, so that a log-weight is read and written once.
The sums are collected over 1024 samples at a time, which keeps their round-off small for large n.
"""

from __future__ import annotations

import numba

from ...compiling import INNER
from .exponential import exp2_lanes
from .lanes import WIDTH, dot_rows, fma, load, load_rows, spread, store, sum_rows

__all__ = ["clear", "pass_over_samples"]

TILE = WIDTH * WIDTH
TILES_PER_SUM = 128


@numba.njit(**INNER)
def pass_over_samples(data, block, width, first, last):  # type: ignore[no-untyped-def]
    """Advance ``block.log2_w`` by ``block.scaled_v``, ``block.shift``; write ``block.moments``.

    Only the lanes ``first ... last - 1`` of the block take part.
    """
    p = data.num_params
    d = p * (p + 3) // 2
    moments, partial = block.moments, block.partial
    for f in range(d + 1):
        clear(moments, f * width + first, f * width + last)
        clear(partial, f * width + first, f * width + last)
    features = data.features if data.has_features else block.features
    stride = d * WIDTH if data.has_features else 0
    for tile in range(data.num_tiles):
        if not data.has_features:
            _make_features(data.rows, tile * (p + 1) * WIDTH, features, p)
        for h in range(first, last, WIDTH):
            w = _advance(data, block, width, tile, h)
            _collect(partial, w, features, tile * stride, d, width, h)
        if tile % TILES_PER_SUM == TILES_PER_SUM - 1 or tile == data.num_tiles - 1:
            _flush(moments, partial, d, width, first, last)


@numba.njit(inline="always", **INNER)
def _advance(data, block, width, tile, h):  # type: ignore[no-untyped-def]
    """Advance a tile of log-weights; return the weights."""
    p = data.num_params
    row = tile * (p + 1) * WIDTH
    x = spread(data.rows, row)
    r = fma(x, load(block.probe, h), -spread(data.rows, row + p * WIDTH))
    a = x * load(block.scaled_v, h)
    for j in range(1, p):
        x = spread(data.rows, row + j * WIDTH)
        r = fma(x, load(block.probe, j * width + h), r)
        a = fma(x, load(block.scaled_v, j * width + h), a)
    place = tile * WIDTH * width + h * WIDTH
    log2_w = fma(r, a, load_rows(block.log2_w, place)) - load(block.shift, h)
    store(block.log2_w, place, log2_w)
    return exp2_lanes(log2_w)


@numba.njit(inline="always", **INNER)
def _collect(sums, w, features, start, d, width, h):  # type: ignore[no-untyped-def]
    """Add the moments of a tile."""
    for f in range(d):
        place = f * width + h
        column = spread(features, start + f * WIDTH)
        store(sums, place, dot_rows(column, w, load(sums, place)))
    place = d * width + h
    store(sums, place, load(sums, place) + sum_rows(w))


@numba.njit(inline="always", **INNER)
def _make_features(rows, start, features, p):  # type: ignore[no-untyped-def]
    """Write the quadratic features of one tile of samples."""
    y = load(rows, start + p * WIDTH)
    f = 0
    for a in range(p):
        x = load(rows, start + a * WIDTH)
        for b in range(a, p):
            store(features, f * WIDTH, x * load(rows, start + b * WIDTH))
            f += 1
    for a in range(p):
        store(features, (f + a) * WIDTH, y * load(rows, start + a * WIDTH))


@numba.njit(inline="always", **INNER)
def _flush(moments, partial, d, width, first, last):  # type: ignore[no-untyped-def]
    """Add the partial sums to the moments and start them anew."""
    for f in range(d + 1):
        for place in range(f * width + first, f * width + last, WIDTH):
            store(moments, place, load(moments, place) + load(partial, place))
        clear(partial, f * width + first, f * width + last)


@numba.njit(**INNER)
def clear(array, first, last):  # type: ignore[no-untyped-def]
    """Set numbers to zero."""
    for k in range(first, last):
        array[k] = 0.0
