"""The driver of methods: iterate, record, count, stop honestly."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from . import checks
from .backend import require_current_device
from .counting import counting
from .geometries import Geometry, Mirror
from .methods import Method, State
from .namespaces import to_host, to_numpy
from .problems import Problem
from .progress import throttled
from .simplex import uniform_log_weights
from .status import BOUND, ConvergenceError, Status
from .trajectory import Trajectory
from .types import Array

__all__ = ["run_method"]


def run_method(
    problem: Problem,
    method: Method,
    num_steps: int = 2000,
    seed: int = 0,
    geometry: Geometry | None = None,
    num_saved: int = 201,
    theta0: Array | None = None,
    w0: Array | None = None,
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    """Run a method for ``num_steps`` outer steps.

    Parameters
    ----------
    problem : Problem
        Of any array library; leading axes of ``theta0``, ``w0`` and of the method's step sizes are
        independent runs, which end together: at the last step at which all of them are finite.
    method : Method
        Such as ``methods.Joint(rho=0.1, eta=0.01)``.
    num_steps : int
    seed : int
        Root of the method's random numbers: same seed, same numbers.
    geometry : Geometry, optional
        ``geometries.Mirror()`` when left out.
    num_saved : int
        At most so many states are kept, evenly spaced, the first and the last among them.
    theta0 : (..., p), optional
        ``problem.initial_theta(w0)`` when left out.
    w0 : (..., n), optional
        Positive weights; uniform when left out.
    progress : callable, optional
        Called with the share of the steps that is done, between 0 and 1, some thousand times.

    Returns
    -------
    Trajectory
        ``t`` counts steps; ``oracle_counts`` counts the calls of each oracle (and of ``hessian``
        and ``theta_star``, where exact solves are used), start included. A run whose next state
        would not be finite ends at the last good one, with its status and the cure.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, or a problem that lacks what the method requires.
    """
    began = time.perf_counter()
    geometry = _check(problem, method, geometry)
    num_steps = checks.integer("num_steps", num_steps, minimum=1)
    seed = checks.integer("seed", seed, minimum=0)
    num_saved = checks.integer("num_saved", num_saved, minimum=2)
    theta, log_w = _start(problem, method, theta0, w0)
    counts: Counter[str] = Counter()
    counted = counting(problem, counts)
    state = method.init(counted, geometry, theta, geometry.start(log_w), seed)
    kept = _Kept(geometry, num_steps, num_saved)
    tell = throttled(progress)
    status, message, last = Status.ok, "", state
    for current, outcome in _iterate(counted, method, geometry, state, num_steps):
        status, message = outcome
        tell(current.step / num_steps)
        last = current if status is Status.ok else last
        kept.add(last, is_end=status is not Status.ok)
    steps, thetas, logs, tail = kept.finish()
    settings = {
        "kind": "method",
        "method": type(method).__name__,
        "knobs": asdict(method),
        "geometry": repr(geometry),
        "num_steps": num_steps,
        "seed": seed,
    }
    return Trajectory(
        t=steps,
        theta=thetas,
        status=status,
        message=message,
        problem=problem,
        settings=settings,
        num_evaluations=last.step,
        states=logs,
        log_weights_of=lambda rows: rows,
        oracle_counts=dict(counts),
        tail=tail,
        wall_seconds=time.perf_counter() - began,
        time_name="step",
    )


class _Kept:
    """Evenly spaced states and the last few, as NumPy arrays with common leading axes."""

    def __init__(self, geometry: Geometry, num_steps: int, num_saved: int) -> None:
        self._geometry = geometry
        self._due = set(np.linspace(0, num_steps, num_saved).round().astype(int).tolist())
        self._steps: list[int] = []
        self._thetas: list[np.ndarray] = []
        self._logs: list[np.ndarray] = []
        self._tail: deque[State] = deque(maxlen=4)

    def add(self, state: State, *, is_end: bool) -> None:
        """Keep ``state`` if it is due; the end of a broken run is."""
        if not self._tail or self._tail[-1].step != state.step:
            self._tail.append(state)
        if (is_end or state.step in self._due) and state.step not in self._steps[-1:]:
            self._steps.append(state.step)
            self._thetas.append(to_numpy(state.theta))
            self._logs.append(self._log_weights(state))

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return steps (k,), theta (k, ..., p), log-weights (k, ..., n) and those of the tail."""
        lead = np.broadcast_shapes(*(part.shape[:-1] for part in (*self._thetas, *self._logs)))
        tail = [self._log_weights(state) for state in self._tail]
        stacks = [_stack(parts, lead) for parts in (self._thetas, self._logs, tail)]
        return np.array(self._steps), stacks[0], stacks[1], stacks[2]

    def _log_weights(self, state: State) -> np.ndarray:
        return to_numpy(self._geometry.log_weights(state.outer))


def _iterate(
    problem: Problem, method: Method, geometry: Geometry, state: State, num_steps: int
) -> Iterator[tuple[State, tuple[Status, str]]]:
    """Yield every state with its status; stop after the first that is not ok."""
    fine = (Status.ok, f"did {num_steps} steps.")
    yield state, fine
    for _ in range(num_steps):
        try:
            with np.errstate(all="ignore"):
                state = method.step(problem, geometry, state)
                outcome = _inspect(problem, geometry, state) or fine
        except np.linalg.LinAlgError:
            outcome = (
                Status.underflow,
                f"underflow at step {state.step + 1} of {num_steps}: the inner Hessian is "
                "singular; raise `ridge` or lower `eta`.",
            )
        except ConvergenceError as failure:
            outcome = (Status.nonfinite, f"nonfinite at step {state.step + 1}: {failure}")
        yield state, outcome
        if outcome[0] is not Status.ok:
            return


def _inspect(problem: Problem, geometry: Geometry, state: State) -> tuple[Status, str] | None:
    """Return the failure of a state, or None."""
    xp = problem.xp
    weights = geometry.weights(state.outer)
    finite = bool(xp.all(xp.isfinite(state.theta))) and bool(xp.all(xp.isfinite(weights)))
    if not finite:
        text = f"nonfinite at step {state.step}: theta or w is not finite; lower `eta` or `rho`."
        return Status.nonfinite, text
    if float(xp.max(xp.abs(state.theta))) > BOUND:
        text = f"diverged at step {state.step}: |theta| exceeds {BOUND:g}; lower `rho` or `eta`."
        return Status.diverged, text
    return None


def _check(problem: Any, method: Any, geometry: Any) -> Geometry:
    """Check the three parts and that they fit together."""
    if not isinstance(problem, Problem):
        raise TypeError(f"`problem` must be a Problem; got {type(problem).__name__}.")
    if not isinstance(method, Method):
        shown = method.__name__ if isinstance(method, type) else type(method).__name__
        raise TypeError(f"`method` must be a method such as methods.Joint(); got {shown}.")
    if geometry is not None and not isinstance(geometry, Geometry):
        raise TypeError(
            f"`geometry` must be a geometry such as geometries.Mirror(); got {geometry!r}."
        )
    require_current_device(problem)
    problem.require(method.requires, type(method).__name__)
    return Mirror() if geometry is None else geometry


def _start(
    problem: Problem, method: Method, theta0: Array | None, w0: Array | None
) -> tuple[Array, Array]:
    """Return theta and log-weights at the start, in the problem's namespace."""
    n, p = problem.num_samples, problem.num_params
    log_w, theta = uniform_log_weights(n), None
    if w0 is not None:
        log_w = np.log(checks.simplex_weights("w0", to_host(w0), n, leading=True))
    if theta0 is not None:
        theta = checks.array("theta0", to_host(theta0), shape=(p,), leading=True)
    shapes = {"w0": log_w.shape[:-1], "theta0": () if theta is None else theta.shape[:-1]}
    shapes |= {name: np.shape(knob) for name, knob in vars(method).items() if np.ndim(knob)}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        shown = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"leading axes must broadcast together; got {shown}.") from None
    native = problem.xp.asarray(log_w, dtype=problem.dtype, device=problem.device)
    if theta is None:
        return problem.initial_theta(problem.xp.exp(native)), native
    return problem.xp.asarray(theta, dtype=problem.dtype, device=problem.device), native


def _stack(parts: list[np.ndarray], lead: tuple[int, ...]) -> np.ndarray:
    """Stack states, giving each the leading axes of all."""
    return np.stack([np.broadcast_to(part, (*lead, part.shape[-1])) for part in parts])
