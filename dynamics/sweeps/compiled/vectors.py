"""Vectors of the full width of the machine.

LLVM keeps to 256 bits on many processors with AVX-512, from fear of lower clock rates; on current
ones, loops of fused multiply-adds run up to twice as fast at 512. The attribute acts on the
function whose body calls :func:`use_wide_vectors`, and on what is inlined there; elsewhere, and on
machines without such registers, it changes nothing.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

__all__ = ["use_wide_vectors"]

ATTRIBUTE = '"prefer-vector-width"="512"'


@intrinsic
def _mark(typing_context: Any) -> Any:

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        set.add(builder.function.attributes, ATTRIBUTE)  # llvmlite knows no such name; LLVM does
        return context.get_dummy_value()

    return types.void(), code


use_wide_vectors: Any = _mark
"""Called without arguments: lets the compiler use 512-bit registers in the calling function."""
