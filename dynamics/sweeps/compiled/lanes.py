"""Vectors as values in Numba: eight cells side by side, one row of them or eight.

``Lanes(1)`` holds a number for each of eight cells, ``Lanes(8)`` one for each of eight samples and
eight cells. Arithmetic goes element by element; one row, or a plain float, meets eight rows by
repetition. Every operation becomes the vector instructions of one row after the other, so that a
kernel written in these types is unrolled and vectorised as it stands, whatever the compiler thinks
of its loops. Machines without 512-bit registers take two or four instructions for one.

Memory is reached through plain pointers (:func:`reader`): Numba counts the references of arrays
at every mention, which costs more than the arithmetic. Positions count numbers, not vectors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

__all__ = [
    "WIDTH",
    "Bytes",
    "Doubles",
    "Integers",
    "Lanes",
    "all_above",
    "dot_rows",
    "fma",
    "larger",
    "load",
    "load_rows",
    "magnitude",
    "reader",
    "spread",
    "store",
    "sum_rows",
    "where_above",
    "words",
]

WIDTH = 8
"""Cells side by side, and samples in a tile."""

intrinsic: Any = extending.intrinsic
"""What it decorates is called with other arguments than it is defined with."""

Doubles = Annotated[np.ndarray, "float64"]
Integers = Annotated[np.ndarray, "int64"]
Bytes = Annotated[np.ndarray, "int8"]
"""Fields of the named tuples that kernels read."""

DOUBLE, INT = ir.DoubleType(), ir.IntType(64)
VECTOR, BITS = ir.VectorType(DOUBLE, WIDTH), ir.VectorType(INT, WIDTH)


class Lanes(types.Type):
    """The Numba type of ``rows`` vectors."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(name=f"Lanes({rows})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, ir.ArrayType(VECTOR, kind.rows))


def constant(value: float) -> ir.Constant:
    """Return a vector of equal numbers."""
    return ir.Constant(VECTOR, [value] * WIDTH)


def rows_of(builder: Any, value: Any, kind: Any, rows: int) -> list[Any]:
    """Return the ``rows`` vectors of a value, repeated where it has only one or is a float."""
    if isinstance(kind, types.Float):
        start = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, INT(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return [builder.shuffle_vector(start, start, mask)] * rows
    if kind.rows == 1:
        return [builder.extract_value(value, 0)] * rows
    return [builder.extract_value(value, k) for k in range(rows)]


def pack(builder: Any, vectors: list[Any]) -> Any:
    """Return vectors as one value."""
    value = ir.Constant(ir.ArrayType(VECTOR, len(vectors)), ir.Undefined)
    for k, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, k)
    return value


def elementwise(
    emit: Callable[..., Any], builder: Any, kinds: tuple[Any, ...], args: tuple[Any, ...]
) -> Any:
    """Apply ``emit(builder, *vectors)`` row by row."""
    rows = max(kind.rows for kind in kinds if isinstance(kind, Lanes))
    columns = [rows_of(builder, a, k, rows) for a, k in zip(args, kinds, strict=True)]
    return pack(builder, [emit(builder, *vectors) for vectors in zip(*columns, strict=True)])


def result_type(kinds: tuple[Any, ...]) -> Lanes | None:
    """Return the type of an element-wise result, or None where no vector takes part."""
    sizes = [kind.rows for kind in kinds if isinstance(kind, Lanes)]
    fits = all(isinstance(kind, (Lanes, types.Float)) for kind in kinds)
    return Lanes(max(sizes)) if sizes and fits else None


def _add_operator(function: Any, emit: Callable[..., Any], arity: int) -> None:
    """Give Numba an element-wise operator."""

    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            result = result_type(args) if len(args) == arity else None
            return None if result is None else signature(result, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return elementwise(emit, builder, sig.args, args)

    pairs = [(Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)]
    for kinds in pairs if arity == 2 else [(Lanes,)]:
        lower_builtin(function, *kinds)(lower)


_add_operator(operator.add, lambda b, x, y: b.fadd(x, y), 2)
_add_operator(operator.sub, lambda b, x, y: b.fsub(x, y), 2)
_add_operator(operator.mul, lambda b, x, y: b.fmul(x, y), 2)
_add_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y), 2)
_add_operator(operator.neg, lambda b, x: b.fneg(x), 1)


def function(emit: Callable[..., Any], kinds: tuple[Any, ...]) -> Any:
    """Return the signature and code of an element-wise intrinsic."""
    result = result_type(kinds)
    if result is None:
        raise TypeError(f"expected Lanes or floats; got {kinds}.")

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return elementwise(emit, builder, sig.args, args)

    return result(*kinds), code


def emit_fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x y + z, rounded once where the machine can."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    declared = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{WIDTH}f64")
    return builder.call(declared, [x, y, z])


def _emit_larger(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


def _emit_magnitude(builder: Any, x: Any) -> Any:
    bits = builder.and_(builder.bitcast(x, BITS), ir.Constant(BITS, [2**63 - 1] * WIDTH))
    return builder.bitcast(bits, VECTOR)


@intrinsic
def fma(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """Return ``x y + z``, of floats too."""
    if all(isinstance(kind, types.Float) for kind in (x, y, z)):
        return _scalar_fma(x, y, z)
    return function(emit_fma, (x, y, z))


def _scalar_fma(x: Any, y: Any, z: Any) -> Any:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(DOUBLE, [DOUBLE] * 3)
        declared = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.f64")
        return builder.call(declared, args)

    return types.float64(x, y, z), code


@intrinsic
def larger(typing_context: Any, x: Any, y: Any) -> Any:
    """Return x where ``x > y``, else y: NaN in x is lost, NaN in y is kept."""
    return function(_emit_larger, (x, y))


@intrinsic
def magnitude(typing_context: Any, x: Any) -> Any:
    """Return ``|x|``."""
    return function(_emit_magnitude, (x,))


@intrinsic
def where_above(typing_context: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """Return ``yes`` where ``x > y``, else (and where a comparison is impossible) ``no``."""

    def emit(builder: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", x, y), yes, no)

    return function(emit, (x, y, yes, no))


@intrinsic
def all_above(typing_context: Any, x: Any, bound: Any) -> Any:
    """Return whether ``x > bound`` in all lanes of one row; NaN is not above."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (left,), (right,) = (rows_of(builder, a, k, 1) for a, k in zip(args, sig.args, strict=True))
        mask = builder.bitcast(builder.fcmp_ordered(">", left, right), ir.IntType(WIDTH))
        return builder.icmp_unsigned("==", mask, ir.Constant(ir.IntType(WIDTH), 2**WIDTH - 1))

    return types.boolean(x, bound), code


# ---------------------------------------------------------------------- memory
def _place(builder: Any, array: Any, start: Any, shift: int) -> Any:
    """Return the address of ``array[start + shift]``."""
    return builder.gep(array, [builder.add(start, INT(shift))])


def words(record: Any) -> np.ndarray:
    """Return the fields of a named tuple as 64-bit words: addresses, integers, bits of floats."""
    out = np.empty(len(record), dtype=np.int64)
    for k, field in enumerate(record):
        if isinstance(field, np.ndarray):
            out[k] = field.ctypes.data
        elif isinstance(field, float):
            out[k] = np.float64(field).view(np.int64)
        else:
            out[k] = field
    return out


def reader(record_type: type) -> Any:
    """Return a function for kernels that turns :func:`words` back into a named tuple.

    Arrays become pointers to what their annotation says: the kernel sees one argument, where named
    tuples of arrays would have to be unpacked by code that takes seconds to compile. Whoever calls
    keeps the arrays alive.
    """
    hints = get_type_hints(record_type, include_extras=True)
    kinds = [_field_kind(annotation) for annotation in hints.values()]
    result = types.NamedTuple(kinds, record_type)

    @intrinsic
    def read(typing_context: Any, table: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
            loaded = [builder.load(builder.gep(data, [INT(k)])) for k in range(len(kinds))]
            values = [
                _from_word(context, builder, word, kind)
                for word, kind in zip(loaded, kinds, strict=True)
            ]
            return context.make_tuple(builder, result, values)

        return result(table), code

    return read


def _field_kind(annotation: Any) -> Any:
    """Return the Numba type of a field."""
    if get_origin(annotation) is Annotated:
        return types.CPointer(getattr(types, get_args(annotation)[1]))
    return {float: types.float64, int: types.int64, bool: types.boolean}[annotation]


def _from_word(context: Any, builder: Any, word: Any, kind: Any) -> Any:
    """Return the value that a word stands for."""
    if isinstance(kind, types.CPointer):
        return builder.inttoptr(word, context.get_value_type(kind))
    if isinstance(kind, types.Float):
        return builder.bitcast(word, DOUBLE)
    return builder.trunc(word, ir.IntType(1)) if kind == types.boolean else word


def _read(rows: int) -> Callable[..., Any]:
    def typing(array: Any, start: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vectors = []
            for k in range(rows):
                place = _place(builder, args[0], args[1], k * WIDTH)
                place = builder.bitcast(place, VECTOR.as_pointer())
                vectors.append(builder.load(place, align=8))
            return pack(builder, vectors)

        return Lanes(rows)(array, types.int64), code

    return typing


def _write(array: Any, start: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for k in range(value.rows):
            place = _place(builder, args[0], args[1], k * WIDTH)
            vector = builder.extract_value(args[2], k)
            builder.store(vector, builder.bitcast(place, VECTOR.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), code


@intrinsic
def load(typing_context: Any, array: Any, start: Any) -> Any:
    """Return ``array[start : start + 8]`` as one row."""
    return _read(1)(array, start)


@intrinsic
def load_rows(typing_context: Any, array: Any, start: Any) -> Any:
    """Return ``array[start : start + 64]`` as eight rows."""
    return _read(WIDTH)(array, start)


@intrinsic
def store(typing_context: Any, array: Any, start: Any, value: Any) -> Any:
    """Write a value to ``array`` from ``start`` on."""
    return _write(array, start, value)


@intrinsic
def spread(typing_context: Any, array: Any, start: Any) -> Any:
    """Return eight rows, the k-th one filled with ``array[start + k]``: a number per sample."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = []
        for k in range(WIDTH):
            number = builder.load(_place(builder, args[0], args[1], k))
            vectors += rows_of(builder, number, types.float64, 1)
        return pack(builder, vectors)

    return Lanes(WIDTH)(array, types.int64), code


# ---------------------------------------------------------------------- sums over samples
@intrinsic
def dot_rows(typing_context: Any, x: Any, y: Any, start: Any) -> Any:
    """Return ``start + sum_k x[k] y[k]`` over the eight rows, one row."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = (
            rows_of(builder, a, k, WIDTH) for a, k in zip(args, sig.args[:2], strict=False)
        )
        total = builder.extract_value(args[2], 0)
        for a, b in zip(left, right, strict=True):
            total = emit_fma(builder, a, b, total)
        return pack(builder, [total])

    return Lanes(1)(x, y, start), code


@intrinsic
def sum_rows(typing_context: Any, x: Any) -> Any:
    """Return the sum of the eight rows, pairwise, one row."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = rows_of(builder, args[0], sig.args[0], WIDTH)
        while len(vectors) > 1:
            vectors = [builder.fadd(*vectors[k : k + 2]) for k in range(0, len(vectors), 2)]
        return pack(builder, vectors)

    return Lanes(1)(x), code
