"""One thread per unit of work: what a unit computes must not depend on who does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

__all__ = ["is_single", "one_thread"]

_single: ContextVar[bool] = ContextVar("single", default=False)


def is_single() -> bool:
    """Return whether this context is to work in one thread."""
    return _single.get()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS, and engines whose last digits depend on it, use one thread inside the block.

    The compiled engine, whose numbers do not depend on its threads, goes on using them all.
    """
    token = _single.set(True)
    try:
        with _blas_limits():
            yield
    finally:
        _single.reset(token)


def _blas_limits() -> Any:
    controller = _controller()
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _controller() -> Any:
    """Return who limits the threads of the libraries that are loaded now; looking takes a while."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
