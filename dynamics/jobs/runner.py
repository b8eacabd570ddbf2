"""Doing tasks in a pool: what is lost on the way is done again, what failed is reported."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, wait
from typing import Any

from .pools import Pool
from .task import Report, StorageFault, Task, execute

__all__ = ["run_tasks"]

MAX_DEATHS = 3
"""A unit during which so many processes died is given up."""
MAX_IDLE_DEATHS = 2
"""Pools that died one after the other, before they did anything."""
SECONDS_TO_DIE = 0.5
"""A process closes its files before it is known to be dead."""
SECONDS_BETWEEN_LOOKS = 0.25
"""A wait without an end would not notice an interrupt on every platform."""


def run_tasks(
    tasks: Sequence[Task], pool: Pool, tell: Callable[[Report], None] | None = None
) -> list[Report]:
    """Do all tasks that are not done; return how each ended, in the order of their ends.

    A unit that another process works on is left to the end, and done here if it is still missing
    then. When the processes of the pool are killed, new ones go on with what is missing.

    Parameters
    ----------
    tasks : sequence of Task
    pool : Pool
    tell : callable, optional
        Called in this thread with each report.

    Raises
    ------
    StorageFault
        When results cannot be written.
    RuntimeError
        When the processes of the pool die before they do anything, or those of a given executor
        die at all.
    """
    reports: list[Report] = []
    deferred: list[Task] = []

    def note(task: Task, report: Report) -> None:
        if report.outcome == "deferred":
            deferred.append(task)
            return
        reports.append(report)
        if tell is not None:
            tell(report)

    _run(deque(tasks), pool, note, defers=True)
    again, deferred = deferred, []
    _run(deque(again), pool, note, defers=False)
    return reports


def _run(
    left: deque[Task], pool: Pool, note: Callable[[Task, Report], None], *, defers: bool
) -> None:
    """Do the tasks that are left, with new processes where the old ones died."""
    deaths: Counter[str] = Counter()
    idle_deaths = 0
    while left:
        before = len(left)
        try:
            with pool.open() as executor:
                for task, report in _drain(executor, left, pool.window, defers):
                    note(task, report)
        except (BrokenExecutor, CancelledError) as error:
            time.sleep(SECONDS_TO_DIE)
            suspects = [task for task in left if _died_at(task)]
            idle_deaths = idle_deaths + 1 if len(left) == before and not suspects else 0
            if pool.given is not None or idle_deaths >= MAX_IDLE_DEATHS:
                raise RuntimeError(
                    "the processes of the executor died; what was done is stored. (In a script, "
                    "processes are started under `if __name__ == '__main__':` only.)"
                ) from error
            _give_up(left, suspects, deaths, note)


def _died_at(task: Task) -> bool:
    """Whether a process of this machine died while it did a task."""
    running = task.marks.running(task.name)
    return running is not None and running["alive"] is False


def _give_up(
    left: deque[Task],
    suspects: list[Task],
    deaths: Counter[str],
    note: Callable[[Task, Report], None],
) -> None:
    """Count the deaths during the suspects; report those during which too many processes died."""
    for task in suspects:
        deaths[task.name] += 1
        task.marks.clear(task.name, "running")
        if deaths[task.name] >= MAX_DEATHS:
            left.remove(task)
            message = (
                f"its process was killed {MAX_DEATHS} times (out of memory?); use fewer processes "
                "or smaller chunks"
            )
            task.marks.fail(task.name, task.label, message)
            note(task, Report(task.name, task.label, "failed", message=message))


def _drain(
    executor: Executor, left: deque[Task], window: int, defers: bool
) -> Iterator[tuple[Task, Report]]:
    """Yield each task that ended with its report; what is lost in the air goes back to ``left``."""
    flying: dict[Any, Task] = {}
    try:
        while left or flying:
            while left and len(flying) < window:
                flying[executor.submit(execute, left[0], defers=defers)] = left[0]
                left.popleft()
            ended, _ = wait(flying, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            for future in sorted(ended, key=_is_fault):  # what was done counts before what broke
                task = flying[future]
                report = _report(future, task)
                del flying[future]
                yield task, report
    finally:
        for future in flying:
            future.cancel()
        left.extendleft(reversed(flying.values()))


def _is_fault(future: Any) -> bool:
    """Whether a future that ended has no result."""
    return future.cancelled() or future.exception() is not None


def _report(future: Any, task: Task) -> Report:
    """Return how a task ended; pass on what concerns all of them."""
    try:
        report: Report = future.result()
        return report
    except (BrokenExecutor, CancelledError, StorageFault):
        raise
    except Exception as error:  # of the way there or back, or of a cluster that gave it up
        message = " ".join(f"{type(error).__name__}: {error}".split())
        task.marks.fail(task.name, task.label, message)
        return Report(task.name, task.label, "failed", message=message)
