"""The tilted moments of a large sample: the compiled pass over its blocks, in threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .compiling import compile_cached, fingerprint
from .sweeps.workers import num_workers
from .tilting import (
    LOG2E,
    SOURCES,
    add_shares,
    block_sums,
    combine,
    covariance_sums,
    pack,
)
from .types import Array

__all__ = ["FusedMoments"]

BLOCKS_PER_THREAD = 32
"""With fewer, handing the work over takes longer than doing it."""


class FusedMoments:
    """Mean and covariance of features ``(n, d)`` under weights tilted by U; reads them once.

    Blocks are summed in their order: the number of threads changes no bit of the result.
    """

    def __init__(self, features: Array, log_w0: Array) -> None:
        self._rows, self._log2_w0 = pack(features, log_w0)
        self._num_blocks, self._num_features, _ = self._rows.shape
        self._kernels = _load_kernels()

    def moments(self, U: Array) -> np.ndarray:
        """Return ``E_w[phi]``, shape ``(d,)``."""
        return self._tilt(U)[0]

    def moments_and_covariance(self, U: Array) -> tuple[np.ndarray, np.ndarray]:
        """Return ``E_w[phi]`` and ``Cov_w(phi)``, shapes ``(d,)`` and ``(d, d)``."""
        mean, w, scale = self._tilt(U)
        d = self._num_features
        shares = np.empty((self._num_blocks * d, d))

        def run(begin: int, end: int) -> None:
            part = np.empty((1, w.shape[1]))
            own = shares[begin * d : end * d]
            self._kernels.covariance_sums(self._rows, w, scale, mean, begin, end, part, own)

        self._in_threads(run)
        out = np.zeros((d, d))
        self._kernels.add_shares(shares, out)
        return mean, out

    def _tilt(self, U: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the mean, the weights by blocks, and the factor of each block."""
        U2 = np.ascontiguousarray(U) * LOG2E
        w, top = np.empty_like(self._log2_w0), np.empty(self._num_blocks)
        sums = np.empty((self._num_blocks, self._num_features + 1))

        def run(begin: int, end: int) -> None:
            self._kernels.block_sums(self._rows, self._log2_w0, U2, begin, end, w, top, sums)

        self._in_threads(run)
        scale, mean = np.empty(self._num_blocks), np.empty(self._num_features)
        self._kernels.combine(top, sums, scale, mean)
        return mean, w, scale

    def _in_threads(self, run: Any) -> None:
        """Call ``run(begin, end)`` on parts of the blocks."""
        workers = min(num_workers(), self._num_blocks // BLOCKS_PER_THREAD)
        if workers < 2:
            run(0, self._num_blocks)
            return
        edges = np.linspace(0, self._num_blocks, workers + 1).astype(int)
        others = [_pool(os.getpid()).submit(run, int(a), int(b)) for a, b in pairwise(edges[1:])]
        run(0, int(edges[1]))
        for other in others:
            other.result()


class _Kernels(NamedTuple):
    """The functions of :mod:`.tilting`, to be called from Python."""

    block_sums: Any
    combine: Any
    covariance_sums: Any
    add_shares: Any


@lru_cache(maxsize=1)
def _load_kernels() -> _Kernels:
    return _Kernels(*(compile_cached(function) for function in _define(fingerprint(*SOURCES))))


def _define(key: int) -> tuple[Any, ...]:
    """Return the functions to compile; ``key`` is there for their cache."""

    def sums_of_blocks(rows, log2_w0, U2, begin, end, w, top, sums):  # type: ignore[no-untyped-def]
        if key > 0:
            block_sums(rows, log2_w0, U2, begin, end, w, top, sums)

    def combine_blocks(top, sums, scale, mean):  # type: ignore[no-untyped-def]
        if key > 0:
            combine(top, sums, scale, mean)

    def shares_of_blocks(rows, w, scale, mean, begin, end, part, sums):  # type: ignore[no-untyped-def]
        if key > 0:
            covariance_sums(rows, w, scale, mean, begin, end, part, sums)

    def total_of_shares(sums, out):  # type: ignore[no-untyped-def]
        if key > 0:
            add_shares(sums, out)

    return sums_of_blocks, combine_blocks, shares_of_blocks, total_of_shares


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads of this process; a forked one must not wait for those of its parent."""
    return ThreadPoolExecutor(num_workers())
