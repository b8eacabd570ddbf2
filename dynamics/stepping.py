"""Stepping a method with honest ends: one run, or many cells of which each ends for itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .cells import flatten_knobs, join_cells, take_cells, take_knobs
from .geometries import Geometry
from .methods import Method, State
from .namespaces import to_numpy
from .problems import Problem
from .status import BOUND, ConvergenceError, Status
from .types import Array

__all__ = ["Cells", "Single"]

FAULTS = (np.linalg.LinAlgError, ConvergenceError, OverflowError, ZeroDivisionError)
"""What a step may raise: unsolved systems, and numbers of Python beyond all bounds."""
Fault = tuple[Status, str]


class Single:
    """One run without leading axes: it ends at its last good state.

    Attributes
    ----------
    state : State
        The last good one.
    status : Status
    message : str
    """

    def __init__(self, problem: Problem, method: Method, geometry: Geometry) -> None:
        self._problem, self._method, self._geometry = problem, method, geometry
        self.state: Any = None
        self.status: Any = Status.ok
        self.message = ""

    def start(self, theta: Array, outer: Array, seed: int) -> None:
        """Do what the method does before its first step, or end at the given state."""
        self.state = State(theta=theta, outer=outer, step=0, seed=seed)
        problem, geometry = self._problem, self._geometry
        self._do(lambda: self._method.init(problem, geometry, theta, outer, seed), 0)

    @property
    def last_step(self) -> int:
        """Steps done."""
        return self.state.step

    @property
    def ended(self) -> bool:
        """Whether no further step is possible."""
        return self.status is not Status.ok

    def advance(self) -> None:
        """Do one step, or end."""
        problem, geometry = self._problem, self._geometry
        self._do(lambda: self._method.step(problem, geometry, self.state), self.state.step + 1)

    def _do(self, act: Callable[[], State], step: int) -> None:
        """Go to the state that ``act`` returns, or end."""
        try:
            with np.errstate(all="ignore"):
                state = act()
                finite, bounded = _inspect(self._problem, self._geometry, state)
                fault = None if bool(bounded) else _not_sound(bool(finite), step)
        except FAULTS as error:
            fault = _unsolved(error, step)
        if fault is None:
            self.state = state
        else:
            self.status, self.message = fault

    def memory(self) -> dict[str, Any]:
        """Return all that the next steps depend on; it does not change when the run goes on."""
        return {"state": self.state, "status": int(self.status), "message": self.message}

    def restore(self, memory: dict[str, Any]) -> None:
        """Go to where :meth:`memory` was taken, in a run of the same parts."""
        self.state, self.message = memory["state"], memory["message"]
        self.status = Status(memory["status"])

    def view(self) -> Any:
        """Return a handle of the present state, for :meth:`host`."""
        return self.state

    def host(self, view: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return theta ``(p,)`` and log-weights ``(n,)`` of a view as NumPy arrays."""
        return to_numpy(view.theta), to_numpy(self._geometry.log_weights(view.outer))


class Cells:
    """Runs over leading axes: live cells step together, the others keep their last good state.

    Leading axes are flattened into one. A cell that fails is taken out of the state and out of the
    method's knobs. Where a whole step raises, it is repeated cell by cell to find the culprits.

    Parameters
    ----------
    lead : tuple of int
        The leading axes of theta, weights and knobs together.
    counts : Counter, optional
        Where ``problem`` counts its calls: what is repeated to find culprits counts once.

    Attributes
    ----------
    ends : (cells,) int
        Steps that each cell has done.
    """

    def __init__(
        self,
        problem: Problem,
        method: Method,
        geometry: Geometry,
        lead: tuple[int, ...],
        counts: Counter[str] | None = None,
    ) -> None:
        self._counts: Counter[str] = Counter() if counts is None else counts
        self._problem, self._geometry, self._lead = problem, geometry, lead
        self._whole = self._method = flatten_knobs(method, lead)
        self._state: Any = None
        self._theta = self._log_w = np.empty((0, 0))
        size = int(np.prod(lead))
        self._live = np.arange(size)
        self._status = np.zeros(size, dtype=np.int8)
        self._texts: dict[int, str] = {}
        self._ends = np.zeros(size, dtype=np.int64)

    def start(self, theta: Array, outer: Array, seed: int) -> None:
        """Do what the method does before its first step; cells that fail keep the given state."""
        theta, outer = (self._flat(a) for a in (theta, outer))
        self._state = State(theta=theta, outer=outer, step=0, seed=seed)
        self._theta = to_numpy(theta).copy()
        self._log_w = to_numpy(self._geometry.log_weights(outer)).copy()
        problem, geometry = self._problem, self._geometry
        self._do(lambda method, s: method.init(problem, geometry, s.theta, s.outer, seed), 0)

    @property
    def last_step(self) -> int:
        """Steps done by the cell that came furthest."""
        return self._state.step if self._live.size else int(self._ends.max())

    @property
    def ends(self) -> np.ndarray:
        """Steps done by each cell, over the leading axes."""
        ends = self._ends.copy()
        ends[self._live] = self._state.step
        return ends.reshape(self._lead)

    @property
    def ended(self) -> bool:
        """Whether no cell is left."""
        return self._live.size == 0

    @property
    def status(self) -> np.ndarray:
        """The status of each cell, int8 over the leading axes."""
        return self._status.reshape(self._lead)

    @property
    def message(self) -> str:
        """The worst end, and how many cells ended early; empty when none did."""
        if not self._texts:
            return ""
        worst = min(self._texts, key=lambda cell: (-self._status[cell], self._ends[cell], cell))
        where = ", ".join(str(int(k)) for k in np.unravel_index(worst, self._lead))
        return (
            f"{len(self._texts)} of {self._status.size} cells ended early; the worst, cell "
            f"({where}): {self._texts[worst]}"
        )

    def advance(self) -> None:
        """Do one step in all live cells; those that fail end."""
        problem, geometry = self._problem, self._geometry
        step = self._state.step + 1
        self._do(lambda method, s: method.step(problem, geometry, s), step)

    def _do(self, act: Callable[[Method, State], State], step: int) -> None:
        """Take live cells to the state that ``act`` returns for them, or end them."""
        problem = self._problem
        with np.errstate(all="ignore"):
            state = self._all_or_each(act, step)
            if not self._live.size:
                return
            finite, bounded = _inspect(problem, self._geometry, state)
            if not bool(problem.xp.all(bounded)):
                sound = to_numpy(bounded)
                marks = zip(to_numpy(finite), sound, strict=True)
                self._retire([None if ok else _not_sound(f, step) for f, ok in marks])
                state = take_cells(problem, state, np.flatnonzero(sound))
        if self._live.size:
            self._state = state

    def memory(self) -> dict[str, Any]:
        """Return all that the next steps depend on; it does not change when the run goes on."""
        return {
            "state": self._state,
            "live": self._live,
            "status": self._status,
            "texts": list(self._texts.items()),
            "ends": self._ends,
            "theta": self._theta,
            "log_w": self._log_w,
        }

    def restore(self, memory: dict[str, Any]) -> None:
        """Go to where :meth:`memory` was taken, in a run of the same parts."""
        self._state, self._live = memory["state"], memory["live"]
        self._status, self._ends = memory["status"], memory["ends"]
        self._theta, self._log_w = memory["theta"], memory["log_w"]
        self._texts = dict(memory["texts"])
        self._method = take_knobs(self._whole, self._live)

    def view(self) -> Any:
        """Return a handle of the present state, for :meth:`host`."""
        return self._live, self._state

    def host(self, view: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return theta ``(..., p)`` and log-weights ``(..., n)`` of a view as NumPy arrays."""
        live, state = view
        theta, log_w = self._theta.copy(), self._log_w.copy()
        if live.size:
            theta[live] = to_numpy(state.theta)
            log_w[live] = to_numpy(self._geometry.log_weights(state.outer))
        return tuple(a.reshape(*self._lead, a.shape[-1]) for a in (theta, log_w))  # type: ignore

    def _all_or_each(self, act: Callable[[Method, State], State], step: int) -> State:
        """Return the new state of all cells; where that raises, find out and retire culprits."""
        before = Counter(self._counts)
        try:
            return act(self._method, self._state)
        except FAULTS:
            pass
        parts: list[State] = []
        faults: list[Fault | None] = []
        dearest = Counter(before)
        for cell in range(self._live.size):
            alone = np.array([cell])
            self._set_counts(before)
            try:
                part = act(
                    take_knobs(self._method, alone), take_cells(self._problem, self._state, alone)
                )
                parts.append(part)
                faults.append(None)
            except FAULTS as error:
                faults.append(_unsolved(error, step))
            dearest |= self._counts
        self._set_counts(dearest)
        self._retire(faults)
        return join_cells(self._problem, parts) if parts else self._state

    def _set_counts(self, counts: Counter[str]) -> None:
        """Set the numbers of calls."""
        self._counts.clear()
        self._counts.update(counts)

    def _retire(self, faults: list[Fault | None]) -> None:
        """End the cells with a fault, with their present state.

        Arrays are replaced, not written into: :meth:`memory` has handed them out.
        """
        ended = np.array([fault is not None for fault in faults])
        theta, log_w = self._state.theta, self._geometry.log_weights(self._state.outer)
        cells = self._live[ended]
        self._theta = _with_rows(self._theta, cells, to_numpy(theta)[ended])
        self._log_w = _with_rows(self._log_w, cells, to_numpy(log_w)[ended])
        self._ends = _with_rows(self._ends, cells, self._state.step)
        self._status = self._status.copy()
        for cell, fault in zip(self._live, faults, strict=True):
            if fault is not None:
                self._status[cell], self._texts[int(cell)] = fault
        left = np.flatnonzero(~ended)
        self._live = self._live[left]
        if left.size:
            self._state = take_cells(self._problem, self._state, left)
            self._method = take_knobs(self._method, left)

    def _flat(self, a: Array) -> Array:
        """Return ``a`` with all leading axes, as one."""
        xp, last = self._problem.xp, a.shape[-1]
        return xp.reshape(xp.broadcast_to(a, (*self._lead, last)), (-1, last))


def _with_rows(a: np.ndarray, rows: np.ndarray, values: Any) -> np.ndarray:
    """Return a copy of ``a`` with other values in some rows."""
    copy = a.copy()
    copy[rows] = values
    return copy


def _inspect(problem: Problem, geometry: Geometry, state: State) -> tuple[Array, Array]:
    """Return where a state is finite, and where it is finite and bounded; both ``(...)``."""
    xp = problem.xp
    weights = geometry.weights(state.outer)
    finite = xp.all(xp.isfinite(state.theta), axis=-1) & xp.all(xp.isfinite(weights), axis=-1)
    return finite, finite & (xp.max(xp.abs(state.theta), axis=-1) <= BOUND)


def _not_sound(finite: bool, step: int) -> Fault:
    """Return the fault of a state that is not finite, or finite but not bounded."""
    if not finite:
        text = f"nonfinite at step {step}: theta or w is not finite; lower `eta` or `rho`."
        return Status.nonfinite, text
    text = f"diverged at step {step}: |theta| exceeds {BOUND:g}; lower `rho` or `eta`."
    return Status.diverged, text


def _unsolved(error: Exception, step: int) -> Fault:
    """Return the fault of a step that raised."""
    if isinstance(error, np.linalg.LinAlgError):
        text = f"underflow at step {step}: the inner Hessian is singular"
        return Status.underflow, f"{text}; raise `ridge` or lower `eta`."
    return Status.nonfinite, f"nonfinite at step {step}: {error}"
