"""Locks of folders: one process at a time, and none for ever."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from warmflow.dynamics.storage import locks
from warmflow.dynamics.storage.locks import exclusive


def test_one_thread_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    inside, most, turns = 0, 0, []

    def work(k: int) -> None:
        nonlocal inside, most
        for _ in range(20):
            with exclusive(tmp_path):
                inside += 1
                most = max(most, inside)
                turns.append(k)
                os.sched_yield()
                inside -= 1

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert len(turns) == 80


HOLDER = """
import sys
from pathlib import Path
from warmflow.dynamics.storage.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@pytest.mark.parametrize("end", ["leaves", "killed"])
def test_a_lock_ends_with_its_process_however_it_ends(tmp_path: Path, end: str) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    held = threading.Event()

    def wait() -> None:
        with exclusive(tmp_path):
            held.set()

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert not held.wait(0.3)
    (tmp_path / "other").mkdir()
    with exclusive(tmp_path / "other"):  # another folder has a lock of its own
        pass
    if end == "killed":
        holder.send_signal(signal.SIGKILL)
    holder.communicate(b"\n" if end == "leaves" else None)
    assert held.wait(10)


def test_a_lock_ends_with_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="planted"), exclusive(tmp_path):
            raise ValueError("planted")


@pytest.mark.parametrize("missing", ["module", "locks"])
def test_without_locks_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    class Fcntl:
        LOCK_EX = 2

        @staticmethod
        def flock(*args: Any) -> None:
            raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks, "fcntl", None if missing == "module" else Fcntl)
    assert _enters_beside(tmp_path, exclusive)


def _enters_beside(folder: Path, lock: Callable[[Path], Any]) -> bool:
    """Whether another thread gets in while this one is in."""
    entered = threading.Event()

    def enter() -> None:
        with lock(folder):
            entered.set()

    thread = threading.Thread(target=enter)
    with lock(folder):
        thread.start()
        is_in = entered.wait(0.5)
    thread.join()
    return is_in


def test_sharers_share_and_one_thread_does_not_wait_for_itself(tmp_path: Path) -> None:
    assert _enters_beside(tmp_path, locks.shared)
    assert not _enters_beside(tmp_path, exclusive)
    with exclusive(tmp_path), exclusive(tmp_path), locks.shared(tmp_path):
        assert (tmp_path / ".lock").exists()
