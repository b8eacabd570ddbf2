"""One process at a time: a lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: whoever starts two processes at once is not protected there
    fcntl = None  # type: ignore[assignment]

__all__ = ["exclusive", "shared"]


def exclusive(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a folder, which exists, inside the block; wait for it as long as it takes.

    It keeps processes apart that respect it, on file systems that have locks.
    """
    return _locked(folder, is_shared=False)


def shared(folder: Path) -> AbstractContextManager[None]:
    """Like :func:`exclusive`, together with others that share."""
    return _locked(folder, is_shared=True)


_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Folders whose lock this thread holds alone: it would wait for itself."""


@contextmanager
def _locked(folder: Path, *, is_shared: bool) -> Iterator[None]:
    place = folder.resolve()
    if place in _held.get():
        yield
        return
    with (folder / ".lock").open("a") as stream:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(stream, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)
        token = _held.set(_held.get() if is_shared else _held.get() | {place})
        try:
            yield
        finally:
            _held.reset(token)
