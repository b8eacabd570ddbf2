"""A job sent to other processes once, as a file; each unit of it then is a path and a number."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..storage.atomic import atomic_file
from ..storage.marks import Marks

__all__ = ["UNITS", "JobFile", "OfJob", "publish"]

UNITS = "units"
"""The folder of marks, published jobs and outputs inside the root of a job."""


@dataclass(frozen=True)
class JobFile:
    """A job in a file, for other processes; its content is checked before it is unpickled."""

    root: Path
    sha256: str

    def load(self) -> Any:
        """Return the job."""
        return _load(self.root, self.sha256)


class OfJob:
    """What the units of a job have in common.

    Attributes
    ----------
    job
        A dataclass with its ``root``, or the file that it was published as.
    """

    job: Any

    @property
    def marks(self) -> Marks:
        """Where the marks of the job lie."""
        return Marks(self.job.root / UNITS, self.job.root)

    def loaded(self) -> Any:
        """Return the job itself."""
        return self.job.load() if isinstance(self.job, JobFile) else self.job


def publish(job: Any) -> JobFile:
    """Write a job, a dataclass with its ``root``, for other processes.

    Raises
    ------
    ValueError
        When the problem, or what makes it, cannot be sent.
    """
    try:
        content = _pickler().dumps(replace(job, root=job.root.resolve()))
    except Exception as error:
        raise ValueError(
            f"`problem` must be picklable to be sent to other processes ({error}); use "
            "`executor='serial'`, or a callable at the top of a module that makes it."
        ) from error
    name = hashlib.sha256(content).hexdigest()
    path = _path(job.root.resolve(), name)
    if not path.exists():
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    return JobFile(job.root.resolve(), name)


def _pickler() -> Any:
    """Return cloudpickle where dask brought it: it also sends what a script defines."""
    try:
        import cloudpickle
    except ImportError:
        return pickle
    return cloudpickle


def _path(root: Path, sha256: str) -> Path:
    return root / UNITS / f"job-{sha256[:16]}.pickle"


@lru_cache(maxsize=2)
def _load(root: Path, sha256: str) -> Any:
    content = _path(root, sha256).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{_path(root, sha256)} was changed meanwhile; resume the run.")
    return pickle.loads(content)
