"""One unit of work: computed wherever, stored at once, marked last."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ..storage.marks import Marks
from .threads import one_thread

__all__ = ["Report", "StorageFault", "Task", "execute"]

_STORAGE = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO,
)  # fmt: skip


class StorageFault(OSError):
    """Results cannot be written: no other unit would fare better."""


class Task(Protocol):
    """A unit of work; small, since it is sent to another process.

    Attributes
    ----------
    name : str
        Of its marks.
    label : str
        For people.
    marks : Marks
    """

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def marks(self) -> Marks: ...

    def compute(self) -> tuple[Iterable[Path], Mapping[str, Any]]:
        """Compute and write; return the outputs, and facts for the mark."""
        ...


@dataclass(frozen=True)
class Report:
    """How one unit ended.

    Attributes
    ----------
    outcome : {"done", "found", "deferred", "failed"}
        ``found``: it was there; ``deferred``: another process works on it.
    seconds : float or None
    message : str
        Why it failed.
    facts : mapping
        Of the mark.
    """

    name: str
    label: str
    outcome: Literal["done", "found", "deferred", "failed"]
    seconds: float | None = None
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def execute(task: Task, *, defers: bool = True) -> Report:
    """Do one unit in this process, with one thread, unless it is done.

    Parameters
    ----------
    defers : bool
        Whether to leave a unit to another living process that works on it.

    Raises
    ------
    StorageFault
        When the results cannot be written.
    """
    marks, name, label = task.marks, task.name, task.label
    found = marks.done(name)
    if found is not None and not found.get("is_partial"):
        return Report(name, label, "found", facts=found)
    other = marks.running(name)
    if defers and other is not None and other["alive"] is not False:
        return Report(name, label, "deferred")
    try:
        marks.start(name)
        began = time.perf_counter()
        with one_thread():
            outputs, facts = task.compute()
        seconds = time.perf_counter() - began
        facts = {**facts, "wall_seconds": seconds}
        marks.finish(name, outputs, facts)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _STORAGE:
            raise StorageFault(error.errno, error.strerror, error.filename) from error
        message = " ".join(f"{type(error).__name__}: {error}".split())
        marks.fail(name, label, message)
        return Report(name, label, "failed", message=message)
    finally:
        marks.clear(name, "running")
    return Report(name, label, "done", seconds, facts=facts)
