"""All certificates, one after the other or by an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any

from ...dynamics import checks
from .certificate import Certificate, failed
from .registry import NAMES, find, missing_library, statement

__all__ = ["verify_all"]


def verify_all(
    quick: bool = True,
    executor: Any = None,
    *,
    names: Iterable[str] | None = None,
    progress: Callable[[Certificate], None] | None = None,
) -> list[Certificate]:
    """Verify the statements of the theory numerically, symbolically and by interval arithmetic.

    Parameters
    ----------
    quick : bool
        Small instances, about three minutes of one core in all; False takes the full studies.
    executor : optional
        Anything with ``submit(function, *args)`` that returns futures, such as
        ``concurrent.futures.ProcessPoolExecutor`` or a Dask client; this process when left out.
    names : iterable of str, optional
        Only these statements (``theorems.NAMES``). Left out, all that the installed libraries
        allow: those for which ``theorems.missing_library(name)`` is None.
    progress : callable, optional
        Called with every certificate as it is done.

    Returns
    -------
    list of Certificate
        In the order of ``theorems.NAMES``. A computation that raises is a failed certificate, with
        the error in its details.

    Raises
    ------
    ValueError, TypeError
        For an unknown name, or an argument of the wrong kind.
    """
    quick = checks.flag("quick", quick)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(f"`executor` must have a method submit; got {type(executor).__name__}.")
    chosen = _chosen(names)
    results = _here(chosen, quick) if executor is None else _elsewhere(executor, chosen, quick)
    done: dict[str, Certificate] = {}
    for certificate in results:
        done[certificate.name] = certificate
        if progress is not None:
            progress(certificate)
    return [done[name] for name in chosen]


def _here(names: list[str], quick: bool) -> Iterator[Certificate]:
    return (certify(name, quick) for name in names)


def _elsewhere(executor: Any, names: list[str], quick: bool) -> Iterator[Certificate]:
    """Yield certificates as they come; what an executor loses is a failed certificate."""
    finished: SimpleQueue[str] = SimpleQueue()
    futures = {}
    for name in names:
        try:
            futures[name] = executor.submit(certify, name, quick)
        except RuntimeError as error:  # the executor is broken, or was shut down
            yield failed(name, error, statement(name))
        else:
            futures[name].add_done_callback(lambda _, name=name: finished.put(name))
    for _ in range(len(futures)):
        name = finished.get()
        try:
            yield futures[name].result()
        except Exception as error:
            yield failed(name, error, statement(name))


def certify(name: str, quick: bool) -> Certificate:
    """Return the certificate of one statement; a module-level function, so that it pickles."""
    return statement(name)(quick)


def _chosen(names: Iterable[str] | None) -> list[str]:
    if names is None:
        return [name for name in NAMES if missing_library(name) is None]
    if isinstance(names, str):
        raise TypeError(f"`names` must be a list of names; got {names!r}.")
    wanted = {find(name, "names") for name in names}
    return [name for name in NAMES if name in wanted]
