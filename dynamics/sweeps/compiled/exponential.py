r"""A branch-free :math:`2^x` that the compiler vectorises.

.. math:: 2^x = 2^k\, 2^f, \qquad k = \mathrm{round}(x), \quad |f| \le 1/2,

with a polynomial of degree 11 for :math:`2^f` (interpolation at Chebyshev nodes, truncation error
8.4e-18) and the factor :math:`2^k` added to the exponent bits. In base 2 the reduction is exact, so
that no two-term constant (Cody and Waite) is needed. Logits are carried in base 2 for that reason.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import types

from .lanes import BITS, VECTOR, WIDTH, constant, emit_fma, intrinsic, pack, rows_of

__all__ = ["COEFFICIENTS", "FLOOR", "exp2", "exp2_lanes"]

ROUND = 6755399441055744.0
"""1.5 * 2**52: adding it leaves the nearest integer in the low bits of the mantissa."""
LOWEST = -1021.0
"""Below it, 2**x is called 0: no denormal numbers."""
COEFFICIENTS = (
    4.4549605981865186e-10,
    7.072585949269223e-09,
    1.0178062445845774e-07,
    1.321544258792169e-06,
    1.525273382983612e-05,
    0.0001540353044173605,
    0.0013333558146416936,
    0.009618129107606888,
    0.0555041086648216,
    0.24022650695910097,
    0.6931471805599453,
    1.0,
)
"""Of 2**f, highest power first."""


@intrinsic
def bits(typing_context: Any, x: Any) -> Any:
    """Return the bits of a double as an int64."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), code


@intrinsic
def from_bits(typing_context: Any, k: Any) -> Any:
    """Return the double that has these bits."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), code


@numba.njit(inline="always", fastmath={"contract"}, error_model="numpy")
def exp2(x: float) -> float:
    """Return 2**x to about one unit in the last place for x <= 1023.

    It is 0 for x < -1021 and NaN for x = NaN; x above 1023 is not supported.
    """
    clipped = LOWEST if x < LOWEST else x
    shifted = clipped + ROUND
    f = clipped - (shifted - ROUND)
    q = COEFFICIENTS[0]
    q = q * f + COEFFICIENTS[1]
    q = q * f + COEFFICIENTS[2]
    q = q * f + COEFFICIENTS[3]
    q = q * f + COEFFICIENTS[4]
    q = q * f + COEFFICIENTS[5]
    q = q * f + COEFFICIENTS[6]
    q = q * f + COEFFICIENTS[7]
    q = q * f + COEFFICIENTS[8]
    q = q * f + COEFFICIENTS[9]
    q = q * f + COEFFICIENTS[10]
    q = q * f + COEFFICIENTS[11]
    value = from_bits(bits(q) + (bits(shifted) << 52))
    return 0.0 if x < LOWEST else value


FLOOR = -960.0
"""Least power of two of :func:`exp2_lanes`: products with it are still no denormal
numbers, at which processors stumble."""
INTERLEAVED = 8
"""Rows whose polynomials advance together: enough to hide the latency of one chain."""


def _emit_exp2(builder: Any, rows: list[Any]) -> list[Any]:
    """Emit 2**x for some vectors, step by step side by side; NaN becomes 2**1023."""
    low, high, magic = constant(FLOOR), constant(1023.0), constant(ROUND)
    xs = [builder.select(builder.fcmp_ordered(">", low, x), low, x) for x in rows]
    xs = [builder.select(builder.fcmp_ordered("<", x, high), x, high) for x in xs]
    shifted = [builder.fadd(x, magic) for x in xs]
    fs = [builder.fsub(x, builder.fsub(s, magic)) for x, s in zip(xs, shifted, strict=True)]
    qs = [constant(COEFFICIENTS[0])] * len(rows)
    for coefficient in COEFFICIENTS[1:]:
        c = constant(coefficient)
        qs = [emit_fma(builder, q, f, c) for q, f in zip(qs, fs, strict=True)]
    out = []
    for q, s in zip(qs, shifted, strict=True):
        power = builder.shl(builder.bitcast(s, BITS), ir.Constant(BITS, [52] * WIDTH))
        out.append(builder.bitcast(builder.add(builder.bitcast(q, BITS), power), VECTOR))
    return out


@intrinsic
def exp2_lanes(typing_context: Any, x: Any) -> Any:
    """Return 2**x of Lanes, at least 2**-960 and at most 2**1023 (which stands for NaN too)."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows = rows_of(builder, args[0], x, x.rows)
        groups = [rows[k : k + INTERLEAVED] for k in range(0, x.rows, INTERLEAVED)]
        return pack(builder, [y for group in groups for y in _emit_exp2(builder, group)])

    return x(x), code
