"""The source of the kernels and the options that it is compiled with."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ...problems import LeastSquares
from ...status import BOUND, Status

__all__ = ["FILES", "LEVELS", "MAX_THREADS", "WARP", "num_parts", "options_for", "read_source"]

FILES = ("sums.cu", "step.cu", "kernels.cu")
WARP = 32
MAX_THREADS = 256
LEVELS = 4
"""Thresholds that one launch of ``partial_sums`` counts."""


@lru_cache(maxsize=1)
def read_source() -> str:
    """Return the source: the files in their order."""
    return "\n".join((Path(__file__).parent / name).read_text("utf-8") for name in FILES)


def options_for(problem: LeastSquares) -> tuple[str, ...]:
    """Return the options of the compiler for the parameters and the dtype of a problem.

    ``--fmad=false``: error-free sums and products must be compiled as they are written.
    """
    return (
        "-std=c++17",
        "--fmad=false",
        f"-DP={problem.num_params}",
        f"-DREAL={'double' if problem.X.dtype == np.float64 else 'float'}",
        f"-DBOUND={BOUND!r}",
        f"-DDIVERGED={int(Status.diverged)}",
        f"-DNONFINITE={int(Status.nonfinite)}",
        f"-DUNDERFLOW={int(Status.underflow)}",
    )


def num_parts(num_features: int) -> int:
    """Return how many numbers the sums of a slice are: reference (two), weights, moments."""
    return num_features + 3
