r"""Products of many cells with one tall matrix X, in pieces that suit the BLAS.

The rows of X are cut into k blocks of r rows, and everything of length n is kept as ``(k, b, r)``
for b cells. Each piece of a product is then small enough that OpenBLAS runs it in the calling
thread (it starts threads above 2^18 multiply-adds): worker threads of ours, each with its own
cells, never wait for those of the BLAS, whatever its number of threads. At these shapes its kernel
for small matrices is also the faster one.
"""

from __future__ import annotations

import numpy as np

__all__ = ["RowBlocks"]

SINGLE_THREADED = 2**18
"""Multiply-adds up to which OpenBLAS does not start threads."""
LEAST_ROWS = 4


class RowBlocks:
    """The rows of a matrix ``(n, p)`` in blocks for products with about ``width`` vectors."""

    def __init__(self, X: np.ndarray, width: int) -> None:
        self.num_rows, p = X.shape
        rows = max(LEAST_ROWS, SINGLE_THREADED // max(1, p * width))
        self.num_blocks = -(-self.num_rows // min(rows, self.num_rows))
        self.rows = -(-self.num_rows // self.num_blocks)
        self.blocks = self.cut_rows(X)
        self.columns = np.ascontiguousarray(np.swapaxes(self.blocks, 1, 2))

    def cut_rows(self, X: np.ndarray) -> np.ndarray:
        """Return ``(k, r, p)``; rows that fill the last block up are zero."""
        out = np.zeros((self.num_blocks * self.rows, X.shape[1]), X.dtype)
        out[: self.num_rows] = X
        return out.reshape(self.num_blocks, self.rows, -1)

    def cut(self, a: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Return vectors ``(b, n)`` as ``(k, b, r)``."""
        out = np.full((len(a), self.num_blocks * self.rows), fill, a.dtype)
        out[:, : self.num_rows] = a
        return np.ascontiguousarray(out.reshape(len(a), self.num_blocks, -1).swapaxes(0, 1))

    def join(self, a: np.ndarray) -> np.ndarray:
        """Return ``(k, b, r)`` as vectors ``(b, n)``."""
        return a.swapaxes(0, 1).reshape(a.shape[1], -1)[:, : self.num_rows]

    def forward(self, v: np.ndarray) -> np.ndarray:
        """Return ``X v`` of the rows of v ``(b, p)``, shape ``(k, b, r)``."""
        return v @ self.columns

    def backward(self, a: np.ndarray) -> np.ndarray:
        """Return ``X^T a`` of ``(k, b, r)``, shape ``(b, p)``."""
        return (a @ self.blocks).sum(axis=0)

    def gram(self, w: np.ndarray) -> np.ndarray:
        """Return ``X^T diag(w) X`` of one cell, w ``(k, r)``."""
        return ((self.columns * w[:, None, :]) @ self.blocks).sum(axis=0)
