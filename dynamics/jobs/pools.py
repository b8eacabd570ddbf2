"""Who does the work: this process, processes of this machine, or a dask cluster.

All of them are ``concurrent.futures.Executor``s; a :class:`Pool` can make a new one when its
processes were killed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "Pool", "as_pool", "num_processors"]

CLUSTER_WINDOW = 1024
KINDS = ("serial", "processes", "dask")
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip


@dataclass(frozen=True)
class Pool:
    """How to get an executor.

    Parameters
    ----------
    kind : {"serial", "processes", "dask"}
    workers : int, optional
        Processes; one for each processor when left out.
    scheduler : str, optional
        Address of a dask scheduler; a cluster on this machine when left out.
    given : Executor, optional
        An executor of the caller, in place of all of these; it is not shut down.
    """

    kind: str = "serial"
    workers: int | None = None
    scheduler: str | None = None
    given: Executor | None = None

    @property
    def size(self) -> int:
        """Number of units that are done at the same time, as far as that is known."""
        if self.given is not None:
            return int(getattr(self.given, "_max_workers", num_processors()))
        return 1 if self.kind == "serial" else self.workers or num_processors()

    @property
    def window(self) -> int:
        """Number of units that are handed over and not done yet, at most.

        A cluster may have any number of workers, and more later.
        """
        if self.kind == "dask" and self.given is None:
            return max(CLUSTER_WINDOW, 2 * self.size)
        return 1 if self.size == 1 else 2 * self.size

    @property
    def is_local(self) -> bool:
        """Whether units are done in this very process."""
        return self.given is None and self.kind == "serial"

    def open(self) -> AbstractContextManager[Executor]:
        """Give an executor; inside the block its processes live."""
        if self.given is not None:
            return _given(self.given)
        if self.kind == "dask":
            return _dask(self.workers, self.scheduler)
        return _serial() if self.kind == "serial" else _processes(self.size)


def as_pool(executor: Any, workers: int | None = None) -> Pool:
    """Return the pool that an ``executor`` argument stands for.

    Raises
    ------
    ValueError, TypeError
        For what is neither a kind, a pool, nor an executor.
    """
    if executor is None:
        return Pool("serial")
    if isinstance(executor, Pool):
        return executor
    if isinstance(executor, str):
        if executor not in KINDS:
            kinds = ", ".join(repr(kind) for kind in KINDS)
            raise ValueError(f"`executor` must be one of {kinds}; got {executor!r}.")
        return Pool(executor, workers)
    if not callable(getattr(executor, "submit", None)):
        raise TypeError(f"`executor` must have a method submit; got {type(executor).__name__}.")
    return Pool(given=executor)


def num_processors() -> int:
    """Return the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every platform
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class _SerialExecutor(Executor):
    """Does what is submitted at once, in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _serial() -> Iterator[Executor]:
    yield _SerialExecutor()


@contextmanager
def _given(executor: Executor) -> Iterator[Executor]:
    yield executor


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    """Give processes with one thread each, started afresh: forks would inherit locks and CUDA."""
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_follow_parent)
    try:
        with _environment():
            _start(pool, workers)
            yield pool
    except BaseException:
        # Or an interrupted command would wait for the units of its processes.
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            with suppress(Exception):
                process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start(pool: Executor, workers: int) -> None:
    """Start all processes with interrupts ignored from their first instant.

    They inherit it; what they set themselves would come after seconds of imports.
    """
    with _interrupts_ignored():
        for _ in range(workers):
            pool.submit(_nothing)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C inside the block, where this thread may say so: processes inherit it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _follow_parent() -> None:
    """Leave Ctrl-C to the process that started this one, and end when it is killed."""
    from multiprocessing import parent_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _nothing() -> None:
    """Do nothing: a process that does it has started."""


@contextmanager
def _environment() -> Iterator[None]:
    """Set one thread in the environment that new processes read before they load BLAS."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _dask(workers: int | None, scheduler: str | None) -> Iterator[Executor]:
    """Give the executor of a dask cluster; one on this machine lives as long as the block."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ImportError(
            "`executor='dask'` needs dask.distributed; run pip install 'warmflow[dask]'."
        ) from None
    with _environment():
        if scheduler is None:
            with _interrupts_ignored():
                cluster = LocalCluster(
                    n_workers=workers or num_processors(), threads_per_worker=1, processes=True,
                    dashboard_address=None, silence_logs="ERROR",
                )  # fmt: skip
        else:
            cluster = None
        try:
            client = Client(cluster if scheduler is None else scheduler, timeout="30s")
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(
                f"`scheduler` must be the address of a running dask scheduler; got {scheduler!r} "
                f"({error})."
            ) from None
        try:
            yield client.get_executor(pure=False, retries=2)
        finally:
            client.close(timeout=5)
            if cluster is not None:
                cluster.close(timeout=10)
