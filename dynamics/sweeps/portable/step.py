"""What a kernel of the array-API engine is asked for: one Euler step of all cells of a tile.

Kernels use functions of the array-API standard alone, with arrays of the problem's namespace, dtype
and device. Nothing in a step waits for the device: no truth value, no number on the host, no shape
that depends on data. Cells that ended stay in the arrays; what a kernel computes for them is thrown
away, and it must be finite or at least harm nobody.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ...types import Array

__all__ = ["Kernel", "Move", "advance_log_weights"]


class Move(NamedTuple):
    """One proposed step of T cells."""

    theta: Array
    """(T, p)"""
    log_w: Array
    """(T, n), normalised."""
    carry: Array
    """(T, ...), what the kernel carries from step to step beside theta and log w."""
    total: Array
    """(T,), sum of the unnormalised weights; not finite when any of them is not."""
    solved: Array
    """(T,) bool, whether the inner system could be solved."""
    used: Array
    """Integer (T,), iterations of the inner solver; all zero where it is direct."""


class Kernel(Protocol):
    """Steps the cells of one problem.

    Attributes
    ----------
    numbers_per_cell : int
        Size of the largest array of a step, per cell: what tiles are cut by.
    budget, cap : int
        Iterations that the inner solver may take, now and at most; both 0 where it is direct.
    """

    numbers_per_cell: int
    budget: int
    cap: int

    def start(self, theta: Array, log_w: Array) -> Array:
        """Return the carry (T, ...) before the first step; the budget is the first one again."""
        ...

    def step(
        self, theta: Array, log_w: Array, carry: Array, rho: Array, eta: Array, alive: Array
    ) -> Move:
        """Return the next states; ``rho`` and ``eta`` are (T, 1), ``alive`` is bool (T,)."""
        ...

    def coordinates(self, carry: Array) -> Array | None:
        """Return the reduced coordinates U (T, d) where the kernel follows them."""
        ...


def advance_log_weights(xp, log_w: Array, change: Array) -> tuple[Array, Array]:  # type: ignore[no-untyped-def]
    """Return ``log w + change`` normalised (T, n), and the sums of the unnormalised weights."""
    moved = log_w + change
    moved = moved - xp.max(moved, axis=-1, keepdims=True)
    total = xp.sum(xp.exp(moved), axis=-1, keepdims=True)
    return moved - xp.log(total), total[:, 0]
