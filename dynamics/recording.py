"""What a run of a method keeps: the states at the steps that are due, and the last few."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from . import checks
from .stepping import Cells, Single

__all__ = ["Kept", "due_steps"]

TAIL = 4
"""Number of last consecutive states."""


def due_steps(num_steps: int, num_saved: Any, save_steps: Any) -> list[int]:
    """Return the steps to keep: the given ones, else at most ``num_saved``, evenly spaced."""
    num_saved = checks.integer("num_saved", num_saved, minimum=2)
    if save_steps is None:
        return sorted(set(np.linspace(0, num_steps, num_saved).round().astype(int).tolist()))
    if isinstance(save_steps, str) or not isinstance(save_steps, Iterable):
        raise TypeError(f"`save_steps` must be a sequence of steps; got {save_steps!r}.")
    steps = [checks.integer("save_steps", step, minimum=0) for step in save_steps]
    if not steps:
        raise ValueError("`save_steps` must name at least one step; got none.")
    if steps[-1] > num_steps:
        raise ValueError(
            f"`save_steps` must be at most `num_steps` ({num_steps}); got {steps[-1]}."
        )
    for before, after in pairwise(steps):
        if after <= before:
            raise ValueError(f"`save_steps` must increase; got {after} after {before}.")
    return steps


class Kept:
    """The states of a run at the steps that are due and the last few, as NumPy arrays.

    Parameters
    ----------
    run : Single or Cells
    due : iterable of int
        Steps to keep, beside the end of a run that breaks.
    """

    def __init__(self, run: Single | Cells, due: Iterable[int]) -> None:
        self._run, self._due = run, frozenset(due)
        self._steps: list[int] = []
        self._states: list[tuple[np.ndarray, np.ndarray]] = []
        self._tail: tuple[tuple[int, Any], ...] = ()

    def add(self, *, is_end: bool) -> None:
        """Keep the present state if it is due; the end of a broken run is."""
        step, view = self._run.last_step, self._run.view()
        if not self._tail or self._tail[-1][0] != step:
            self._tail = (*self._tail[1 - TAIL :], (step, view))
        if (is_end or step in self._due) and step not in self._steps[-1:]:
            self._states.append(self._run.host(view))
            self._steps.append(step)

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return steps (k,), theta (k, ..., p), log-weights (k, ..., n) and those of the tail."""
        thetas, logs = (np.stack(parts) for parts in zip(*self._states, strict=True))
        tail = np.stack([self._log_weights(view) for _, view in self._tail])
        return np.array(self._steps), thetas, logs, tail

    def mark(self) -> tuple[int, Any]:
        """Return a handle of what is kept now, for :meth:`content`."""
        return len(self._steps), self._tail

    def content(self, mark: tuple[int, Any]) -> dict[str, Any]:
        """Return what was kept at a mark, as a checkpoint holds it."""
        count, tail = mark
        states = list(zip(*self._states[:count], strict=True)) or [(), ()]
        return {
            "steps": self._steps[:count],
            "states": [np.stack(parts) if parts else None for parts in states],
            "tail_steps": [step for step, _ in tail],
            "tail": np.stack([self._log_weights(view) for _, view in tail]),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Keep what a checkpoint holds, as far as it is due or the end of a broken run."""
        states = [] if not content["steps"] else list(zip(*content["states"], strict=True))
        end = self._run.last_step if self._run.ended else None
        for step, state in zip(content["steps"], states, strict=True):
            if step in self._due or step == end:
                self._steps.append(step)
                self._states.append(state)
        self._tail = tuple(zip(content["tail_steps"], content["tail"], strict=True))

    def _log_weights(self, view: Any) -> np.ndarray:
        """Return the log-weights of a view; what came from a checkpoint has them already."""
        return view if isinstance(view, np.ndarray) else self._run.host(view)[1]
