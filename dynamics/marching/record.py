"""What is kept of an integration: accepted steps, thinned, or the solution at asked times."""

from __future__ import annotations

import numpy as np
from scipy.integrate import OdeSolver

from ..types import Array

__all__ = ["Record", "Samples"]


class Record:
    """At most ``capacity`` accepted steps, thinned evenly as the run grows; both ends are kept."""

    def __init__(self, capacity: int, t: float, z: Array) -> None:
        self.capacity = capacity
        self.stride = 1
        self.seen = 0
        self.times = [t]
        self.states = [z.copy()]
        self.last = (t, z)

    def add(self, t: float, z: Array) -> None:
        self.seen += 1
        self.last = (t, z)
        if self.seen % self.stride:
            return
        self.times.append(t)
        self.states.append(z.copy())
        if len(self.times) >= self.capacity:
            self.times, self.states = self.times[::2], self.states[::2]
            self.stride *= 2

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        if self.times[-1] != self.last[0]:
            self.times.append(self.last[0])
            self.states.append(self.last[1].copy())
        return np.array(self.times), np.array(self.states)


class Samples:
    """The solution at requested times, by the dense output of each accepted step."""

    def __init__(self, t_eval: Array, t: float, z: Array) -> None:
        self.t_eval = t_eval
        self.done = int(np.searchsorted(t_eval, t, side="right"))
        self.states = [z.copy() for _ in range(self.done)]

    def add(self, solver: OdeSolver) -> None:
        end = int(np.searchsorted(self.t_eval, solver.t, side="right"))
        if end > self.done:
            self.states.extend(solver.dense_output()(self.t_eval[self.done : end]).T)
            self.done = end

    def finish(self, last: tuple[float, Array] | None) -> tuple[np.ndarray, np.ndarray]:
        """Return times and states; a run that ended early adds its ``last`` state."""
        times = self.t_eval[: self.done]
        if last is not None and (self.done == 0 or times[-1] < last[0]):
            return np.append(times, last[0]), np.array([*self.states, last[1]])
        return times, np.array(self.states)
