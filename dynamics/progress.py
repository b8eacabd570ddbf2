"""Telling how far a run is, often enough to look alive and rarely enough to cost nothing."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["throttled"]

SMALLEST_CHANGE = 1e-3


def throttled(progress: Callable[[float], None] | None) -> Callable[[float], None]:
    """Return a function that passes a growing share on to ``progress`` when it grew by 0.1 %.

    The end, 1, is always passed on; without a ``progress`` nothing happens.
    """
    last = 0.0

    def tell(share: float) -> None:
        nonlocal last
        if progress is not None and (share - last >= SMALLEST_CHANGE or share >= 1.0 > last):
            last = share
            progress(share)

    return tell
