"""Nothing is done twice, nothing that is done is lost, all that failed is told."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from warmflow.dynamics.jobs import Pool, Report, StorageFault, execute, run_tasks
from warmflow.dynamics.jobs.threads import is_single
from warmflow.dynamics.storage.atomic import write_json
from warmflow.dynamics.storage.marks import Marks


@dataclass(frozen=True, eq=False)
class Unit:
    """Writes one file; counts how often it was computed; `act` comes first."""

    name: str
    marks: Marks
    act: Callable[[], Any] = lambda: None
    calls: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"unit {self.name}"

    def compute(self) -> tuple[list[Path], Mapping[str, Any]]:
        self.calls.append(self.name)
        self.act()
        path = self.marks.base / f"{self.name}.txt"
        path.write_text(self.name)
        return [path], {"cells": 3}


def units(folder: Path, count: int, **acts: Callable[[], Any]) -> list[Unit]:
    """Return units a, b, ... that share the list of their calls."""
    marks, calls = Marks(folder / "units", folder), []
    names = [chr(ord("a") + k) for k in range(count)]
    return [Unit(name, marks, acts.get(name, lambda: None), calls) for name in names]


def raises(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


def outcomes(reports: list[Report]) -> list[tuple[str, str]]:
    return [(report.name, report.outcome) for report in reports]


def assert_all_whole(tasks: list[Unit]) -> None:
    """Every unit is done as its mark says, and nothing is left of the way there."""
    marks = tasks[0].marks
    assert [task.name for task in tasks if marks.whole(task.name) is None] == []
    assert [*marks.names("running"), *marks.names("failed")] == []


@pytest.fixture
def living() -> Iterator[int]:
    """Give the id of another process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


@pytest.fixture
def dead() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def run_elsewhere(task: Unit, pid: int, host: str | None = None) -> None:
    """Let another process say that it works on a unit."""
    facts = {"host": host or socket.gethostname(), "pid": pid, "started": time.time()}
    write_json(task.marks.root / f"{task.name}.running", facts)


# ---------------------------------------------------------------------- done and found
def test_units_are_done_in_order_and_told_in_this_thread(tmp_path: Path) -> None:
    tasks, told = units(tmp_path, 4), []

    def tell(report: Report) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(report)

    reports = run_tasks(tasks, Pool(), tell)
    assert outcomes(reports) == [(name, "done") for name in "abcd"]
    assert told == reports
    assert tasks[0].calls == [*"abcd"]
    assert [report.facts["cells"] for report in reports] == [3] * 4
    assert all(report.seconds == report.facts["wall_seconds"] for report in reports)
    assert_all_whole(tasks)


def test_what_is_done_is_found(tmp_path: Path) -> None:
    tasks = units(tmp_path, 3)
    run_tasks(tasks[1:2], Pool())
    mark = tasks[1].marks.done("b")
    reports = run_tasks(tasks, Pool())
    assert outcomes(reports) == [("a", "done"), ("b", "found"), ("c", "done")]
    assert tasks[0].calls == ["b", "a", "c"]
    assert reports[1].facts == mark == tasks[1].marks.done("b")


def test_a_unit_that_is_done_in_part_is_done_wholly(tmp_path: Path) -> None:
    [task] = units(tmp_path, 1)
    task.marks.finish("a", [], {"is_partial": True})
    assert outcomes(run_tasks([task], Pool())) == [("a", "done")]
    assert "is_partial" not in (task.marks.done("a") or {})


def test_nothing_to_do(tmp_path: Path) -> None:
    assert run_tasks([], Pool("processes", 2)) == []


def test_a_unit_runs_in_one_thread_and_says_that_it_runs(tmp_path: Path) -> None:
    seen: list[Any] = []
    [task] = units(tmp_path, 1, a=lambda: seen.append((is_single(), task.marks.running("a"))))
    execute(task)
    [(single, running)] = seen
    assert single
    assert not is_single()
    assert (running["pid"], running["alive"]) == (os.getpid(), True)
    assert task.marks.running("a") is None


@pytest.mark.parametrize("workers", [1, 3])
def test_an_executor_has_at_most_two_units_for_each_worker(tmp_path: Path, workers: int) -> None:
    flying, most = 0, 0

    class Counting(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            return super().submit(fn, *args, **kwargs)

    def tell(report: Report) -> None:
        nonlocal flying
        flying -= 1

    tasks = units(tmp_path, 20)
    with Counting(workers) as executor:
        reports = run_tasks(tasks, Pool(given=executor), tell)
        assert executor.submit(len, "abc").result() == 3  # it belongs to the caller
    assert most == (1 if workers == 1 else 2 * workers)
    assert sorted(outcomes(reports)) == [(task.name, "done") for task in tasks]
    assert sorted(tasks[0].calls) == [task.name for task in tasks]
    assert_all_whole(tasks)


# ---------------------------------------------------------------------- others at work
@pytest.mark.parametrize("host", [None, "another-machine"])
def test_a_unit_of_another_process_is_left_to_it(tmp_path: Path, living: int, host) -> None:
    """It is found at the end, where the other process has done it meanwhile."""
    marks = Marks(tmp_path / "units", tmp_path)
    tasks = units(tmp_path, 3, c=lambda: marks.finish("a", [], {"by": "the other"}))
    run_elsewhere(tasks[0], living, host)
    told: list[Report] = []
    reports = run_tasks(tasks, Pool(), told.append)
    assert outcomes(reports) == [("b", "done"), ("c", "done"), ("a", "found")]
    assert told == reports
    assert tasks[0].calls == ["b", "c"]
    assert reports[-1].facts["by"] == "the other"


def test_a_unit_that_another_process_does_not_end_is_done_at_the_end(
    tmp_path: Path, living: int
) -> None:
    tasks = units(tmp_path, 3)
    run_elsewhere(tasks[0], living)
    reports = run_tasks(tasks, Pool())
    assert outcomes(reports) == [("b", "done"), ("c", "done"), ("a", "done")]
    assert tasks[0].calls == ["b", "c", "a"]
    assert_all_whole(tasks)


def test_what_a_dead_process_was_at_is_not_left_to_it(tmp_path: Path, dead: int) -> None:
    tasks = units(tmp_path, 2)
    run_elsewhere(tasks[0], dead)
    assert outcomes(run_tasks(tasks, Pool())) == [("a", "done"), ("b", "done")]
    assert_all_whole(tasks)


# ---------------------------------------------------------------------- failures
def test_a_unit_that_fails_harms_no_other_and_is_tried_again(tmp_path: Path) -> None:
    tasks = units(tmp_path, 3, b=raises(RuntimeError("two\n  lines")))
    reports = run_tasks(tasks, Pool())
    assert outcomes(reports) == [("a", "done"), ("b", "failed"), ("c", "done")]
    assert reports[1].message == "RuntimeError: two lines"
    assert tasks[1].marks.failed("b") == {"label": "unit b", "message": reports[1].message}
    assert [*tasks[1].marks.names("running")] == []
    again = units(tmp_path, 3)
    assert outcomes(run_tasks(again, Pool())) == [("a", "found"), ("b", "done"), ("c", "found")]
    assert_all_whole(again)


STORAGE = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO]


@pytest.mark.parametrize("number", STORAGE, ids=errno.errorcode.get)
def test_a_storage_fault_ends_everything(tmp_path: Path, number: int) -> None:
    tasks = units(tmp_path, 4, b=raises(OSError(number, "planted", "there")))
    with pytest.raises(StorageFault, match="planted") as caught:
        run_tasks(tasks, Pool())
    assert (caught.value.errno, caught.value.filename) == (number, "there")
    assert tasks[0].calls == ["a", "b"]
    assert [*tasks[0].marks.names("done")] == ["a"]
    assert [*tasks[0].marks.names("running"), *tasks[0].marks.names("failed")] == []
    again = units(tmp_path, 4)
    run_tasks(again, Pool())
    assert again[0].calls == [*"bcd"]
    assert_all_whole(again)


def test_another_os_error_is_the_unit_s_own(tmp_path: Path) -> None:
    tasks = units(tmp_path, 2, a=raises(FileNotFoundError(errno.ENOENT, "no data", "x.npz")))
    assert outcomes(run_tasks(tasks, Pool())) == [("a", "failed"), ("b", "done")]


def test_a_storage_fault_comes_back_from_another_thread(tmp_path: Path) -> None:
    tasks = units(tmp_path, 3, a=raises(OSError(errno.ENOSPC, "planted")))
    with ThreadPoolExecutor(2) as executor, pytest.raises(StorageFault, match="planted"):
        run_tasks(tasks, Pool(given=executor))
    assert tasks[0].marks.done("a") is None


def test_an_error_on_the_way_back_is_a_failure_of_its_unit(tmp_path: Path) -> None:
    """As where a result cannot be sent, or a cluster gives a unit up."""

    class Losing(Executor):
        def submit(self, fn, /, task, **kwargs):
            future: Future[Any] = Future()
            if task.name == "a":
                future.set_exception(TypeError("cannot pickle"))
            else:
                future.set_result(fn(task, **kwargs))
            return future

    tasks = units(tmp_path, 2)
    reports = run_tasks(tasks, Pool(given=Losing()))
    assert sorted(outcomes(reports)) == [("a", "failed"), ("b", "done")]
    assert tasks[0].marks.failed("a") == {
        "label": "unit a", "message": "TypeError: cannot pickle"
    }  # fmt: skip


# ---------------------------------------------------------------------- killed processes
class Breaking(Executor):
    """Does some units, then breaks as if its process were killed; `leave` is what that leaves."""

    def __init__(self, good: int, error: type[BaseException], leave: Callable[[Unit], None]):
        self.good, self.error, self.leave = good, error, leave

    def submit(self, fn, /, task, **kwargs):
        future: Future[Any] = Future()
        if self.good == 0:
            self.leave(task)
            future.set_exception(self.error("killed"))
        else:
            self.good -= 1
            future.set_result(fn(task, **kwargs))
        return future


class BreakingPool(Pool):
    """Opens executors that do so many units each, then ones that do not break."""

    def plan(self, goods: list[int], error=BrokenExecutor, leave=lambda task: None) -> Pool:
        vars(self).update(goods=goods, error=error, leave=leave, opened=0)
        return self

    @contextmanager
    def open(self) -> Iterator[Executor]:
        vars(self)["opened"] += 1
        yield Breaking(self.goods.pop(0) if self.goods else -1, self.error, self.leave)


@pytest.mark.parametrize("error", [BrokenExecutor, CancelledError])
@pytest.mark.parametrize("workers", [1, 2])
def test_new_processes_go_on_with_what_is_missing(tmp_path: Path, error, workers: int) -> None:
    tasks = units(tmp_path, 7)
    pool = BreakingPool("processes", workers).plan([2, 3], error)
    reports = run_tasks(tasks, pool)
    assert pool.opened == 3
    assert tasks[0].calls == [task.name for task in tasks]  # each once, in order
    assert {report.name for report in reports} == {task.name for task in tasks}
    assert {report.outcome for report in reports} <= {"done", "found"}
    assert_all_whole(tasks)


def test_a_unit_during_which_three_processes_died_is_given_up(tmp_path: Path, dead: int) -> None:
    tasks = units(tmp_path, 3)
    pool = BreakingPool("processes", 1).plan(
        [1, 0, 0], leave=lambda task: run_elsewhere(task, dead)
    )
    reports = run_tasks(tasks, pool)
    assert outcomes(reports) == [("a", "done"), ("b", "failed"), ("c", "done")]
    assert "killed 3 times (out of memory?); use fewer processes" in reports[1].message
    assert tasks[0].calls == ["a", "c"]
    assert [*tasks[0].marks.names("failed")] == ["b"]
    assert [*tasks[0].marks.names("running")] == []


def test_two_deaths_are_forgiven(tmp_path: Path, dead: int) -> None:
    tasks = units(tmp_path, 3)
    pool = BreakingPool("processes", 1).plan([1, 0], leave=lambda task: run_elsewhere(task, dead))
    assert outcomes(run_tasks(tasks, pool)) == [(name, "done") for name in "abc"]
    assert_all_whole(tasks)


def test_processes_that_die_before_they_do_anything_are_reported(tmp_path: Path) -> None:
    pool = BreakingPool("processes", 1).plan([0] * 9)
    with pytest.raises(RuntimeError, match=r"processes of the executor died; .* __name__"):
        run_tasks(units(tmp_path, 2), pool)
    assert pool.opened == 2
    pool = BreakingPool("processes", 1).plan([0, 1, 0, 1, 0])  # what is done counts anew
    assert len(run_tasks(units(tmp_path, 4), pool)) == 4


def test_a_broken_executor_of_the_caller_cannot_be_made_anew(tmp_path: Path) -> None:
    tasks, lost = units(tmp_path, 3), []
    executor = Breaking(1, BrokenExecutor, lost.append)
    with pytest.raises(RuntimeError, match="what was done is stored"):
        run_tasks(tasks, Pool(given=executor))
    assert len(lost) == len({*lost})  # nothing was tried again
    assert [*tasks[0].marks.names("done")] == ["a"]


# ---------------------------------------------------------------------- Ctrl-C
def test_an_interrupt_between_units_loses_nothing(tmp_path: Path) -> None:
    tasks, told = units(tmp_path, 5), []

    def tell(report: Report) -> None:
        told.append(report.name)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, Pool(), tell)
    assert tasks[0].calls == ["a", "b"]
    again = units(tmp_path, 5)
    reports = run_tasks(again, Pool())
    assert [outcome for _, outcome in outcomes(reports)] == [*["found"] * 2, *["done"] * 3]
    assert again[0].calls == [*"cde"]
    assert_all_whole(again)


def test_an_interrupt_inside_a_unit_leaves_no_mark(tmp_path: Path) -> None:
    tasks = units(tmp_path, 3, b=raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, Pool())
    marks = tasks[0].marks
    assert [*marks.names("done")] == ["a"]
    assert [*marks.names("running"), *marks.names("failed")] == []


def test_an_interrupt_cancels_what_has_not_begun(tmp_path: Path) -> None:
    """An executor of the caller would go on with it, and keep the caller waiting."""
    gate, futures = threading.Event(), []

    class Recording(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            futures.append(super().submit(fn, *args, **kwargs))
            return futures[-1]

    waits = {name: lambda: gate.wait(30) for name in "bcdefg"}
    tasks = units(tmp_path, 7, **waits)
    with Recording(2) as executor:
        with pytest.raises(KeyboardInterrupt):
            run_tasks(tasks, Pool(given=executor), lambda report: raises(KeyboardInterrupt())())
        cancelled = [future.cancelled() for future in futures]
        gate.set()
    assert len(futures) == 4
    assert cancelled[-1]
    assert len(tasks[0].calls) == 4 - sum(cancelled)
    done = [*tasks[0].marks.names("done")]
    assert sorted(tasks[0].calls) == done  # what had begun was stored
    again = units(tmp_path, 7)
    run_tasks(again, Pool())
    assert sorted([*done, *again[0].calls]) == [*"abcdefg"]
    assert_all_whole(again)
