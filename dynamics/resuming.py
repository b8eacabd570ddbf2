"""Long runs of methods survive: they are written down in time, and taken up where they stood."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .checkpoints import check_stored, clear_leftovers, pack, read, unpack, write
from .counting import cost
from .methods import State
from .problems import Problem
from .recording import Kept
from .stepping import Cells, Single

__all__ = ["Saver", "find"]

SHARE = 10.0
"""A checkpoint is written at the soonest this many times the seconds after that the last took."""


def find(
    path: Path | None,
    spec: dict[str, str],
    num_steps: int,
    due: Sequence[int],
    resume: bool,
    max_calls: int | None = None,
) -> dict[str, Any] | None:
    """Return the checkpoint of a run, None where there is none.

    It may have been written with other steps to do and to keep, as long as it has done no more
    steps, and has kept all that are due among those that it has done. A budget of calls may have
    been another one too, as long as its last step is within the present one.

    Raises
    ------
    ValueError
        For a checkpoint that a run cannot go on from, with the reason.
    """
    if resume and path is None:
        raise ValueError("`resume=True` needs a `checkpoint` to go on from; got None.")
    stored = None if path is None else read(path)
    if stored is None:
        return None
    check_stored(stored["spec"], spec, path, resume=resume, call="run_method")
    done, kept = stored["step"], set(stored["kept"]["steps"])
    if num_steps < done:
        raise ValueError(
            f"`num_steps` must be at least the {done} steps that `checkpoint` {path} has done; got "
            f"{num_steps}."
        )
    spent = stored.get("spent", 0)
    if max_calls is not None and max_calls <= spent:
        raise ValueError(
            f"`max_calls` must be above the {spent} calls at which `checkpoint` {path} did one "
            f"more step; got {max_calls}."
        )
    missing = [step for step in due if step <= done and step not in kept]
    if missing:
        raise ValueError(
            f"`checkpoint` {path} has done {done} steps and has not kept step {missing[0]}, which "
            f"is due now ({len(missing)} such steps); pass `save_steps` among the steps that it "
            "has kept and later ones, or delete it."
        )
    return stored


@dataclass(frozen=True, kw_only=True)
class _Moment:
    """A run between two steps; nothing in it changes when the run goes on."""

    run: dict[str, Any]
    step: int
    ended: bool
    kept: Any
    counts: dict[str, int]
    spent: int


class Saver:
    """Writes a run down: when the time has come, at the end, and when anything is raised.

    Use it as a context around the steps. What is written is the run as it stood after the last
    whole step, wherever it was interrupted. Without a path nothing is done.

    Parameters
    ----------
    path : Path or None
    seconds : float
        Time between two checkpoints, at least.
    spec : dict
        What determines the run.
    problem, run, kept, counts
        The parts of the run.
    """

    def __init__(
        self,
        path: Path | None,
        seconds: float,
        spec: dict[str, str],
        problem: Problem,
        run: Single | Cells,
        kept: Kept,
        counts: Counter[str],
    ) -> None:
        self._path, self._seconds, self._spec = path, seconds, spec
        self._problem, self._run, self._kept, self._counts = problem, run, kept, counts
        self._began, self._earlier = time.perf_counter(), 0.0
        self._spent = 0  # calls before the last step
        self._moment: _Moment | None = None
        self._written: _Moment | None = None
        self._next = -np.inf

    @property
    def wall_seconds(self) -> float:
        """Seconds that the run has taken, those before it was interrupted among them."""
        return self._earlier + time.perf_counter() - self._began

    def restore(self, stored: dict[str, Any]) -> None:
        """Go to where a checkpoint stands."""
        memory, state = dict(stored["run"]), self._run.memory()["state"]
        if state is None:  # not started: no step will follow
            memory["state"] = State(theta=None, outer=None, step=stored["step"], seed=0)
        else:
            try:
                memory["state"] = unpack(self._problem, state, memory["state"])
            except ValueError:
                raise ValueError(
                    f"`checkpoint` {self._path} holds the state of another version of "
                    f"{self._spec['method']}; delete it to start anew."
                ) from None
        self._run.restore(memory)
        self._kept.restore(stored["kept"])
        self._counts.clear()
        self._counts.update(stored["counts"])
        self._earlier, self._spent = stored["seconds"], stored.get("spent", 0)
        self._next = np.inf
        self.mark()
        self._written, self._next = self._moment, time.perf_counter() + self._seconds

    def mark(self) -> None:
        """Note that the run stands between two steps, and write it down if the time has come."""
        if self._path is None:
            return
        before, step = self._moment, self._run.last_step
        if before is not None and before.step < step:
            self._spent = cost(before.counts)
        self._moment = _Moment(
            run=self._run.memory(),
            step=step,
            ended=self._run.ended,
            kept=self._kept.mark(),
            counts=dict(self._counts),
            spent=self._spent,
        )
        if time.perf_counter() >= self._next:
            self._write()

    def __enter__(self) -> None:
        if self._path is not None:
            clear_leftovers(self._path)
        if self._moment is None:
            self.mark()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._moment is self._written:
            return
        try:
            self._write()
        except Exception as fault:
            if error is None:
                raise
            error.add_note(f"`checkpoint` {self._path} could not be written: {fault}")

    def _write(self) -> None:
        """Write the last moment down."""
        path, moment, began = self._path, self._moment, time.perf_counter()
        assert path is not None, "only a run with a path is written down"
        assert moment is not None, "only a run that stands somewhere is written down"
        content = {
            "spec": self._spec,
            "run": moment.run | {"state": pack(moment.run["state"])},
            "step": moment.step,
            "ended": moment.ended,
            "kept": self._kept.content(moment.kept),
            "counts": moment.counts,
            "spent": moment.spent,
            "seconds": self.wall_seconds,
        }
        write(path, content)
        self._written, now = moment, time.perf_counter()
        self._next = now + max(self._seconds, SHARE * (now - began))
