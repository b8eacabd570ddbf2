"""The driver of methods: iterate, record, count, stop honestly."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from . import checks
from .backend import require_current_device
from .cells import cell_knobs
from .counting import counting
from .geometries import Geometry, Mirror
from .methods import Method
from .namespaces import to_host
from .problems import Problem
from .progress import throttled
from .simplex import uniform_log_weights
from .stepping import Cells, Single
from .trajectory import Trajectory
from .types import Array

__all__ = ["check_parts", "run_method"]


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
        independent runs ("cells"). One that breaks keeps its last good state, the others go on.
    method : Method
        Such as ``methods.Joint(rho=0.1, eta=0.01)``.
    num_steps : int
    seed : int
        Root of the method's random numbers: same seed, same numbers.
    geometry : Geometry, optional
        When left out the first of ``method.geometries``, ``geometries.Mirror()`` for most.
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
        would not be finite ends at the last good one, with its status and the cure. With leading
        axes ``status`` and ``last_step`` have one entry for each cell, and ``message`` tells the
        worst.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, a problem that lacks what the method requires, or a geometry that the
        method cannot be joined with.
    """
    began = time.perf_counter()
    geometry = check_parts(problem, method, geometry)
    num_steps = checks.integer("num_steps", num_steps, minimum=1)
    seed = checks.integer("seed", seed, minimum=0)
    num_saved = checks.integer("num_saved", num_saved, minimum=2)
    theta, log_w, lead = _start(problem, method, theta0, w0)
    counts: Counter[str] = Counter()
    counted = counting(problem, counts)
    run = Cells(counted, method, geometry, lead) if lead else Single(counted, method, geometry)
    run.start(theta, geometry.start(log_w), seed)
    kept = _Kept(run, num_steps, num_saved)
    tell = throttled(progress)
    kept.add(is_end=run.ended)
    for step in range(1, num_steps + 1):
        if run.ended:
            break
        run.advance()
        tell(step / num_steps)
        kept.add(is_end=run.ended)
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
        status=run.status,
        message=run.message or f"did {num_steps} steps.",
        problem=problem,
        settings=settings,
        num_evaluations=run.last_step,
        states=logs,
        log_weights_of=lambda rows: rows,
        oracle_counts=dict(counts),
        tail=tail,
        wall_seconds=time.perf_counter() - began,
        time_name="step",
        last_step=run.ends if isinstance(run, Cells) else None,
    )


class _Kept:
    """Evenly spaced states and the last few, as NumPy arrays with common leading axes."""

    def __init__(self, run: Single | Cells, num_steps: int, num_saved: int) -> None:
        self._run = run
        self._due = set(np.linspace(0, num_steps, num_saved).round().astype(int).tolist())
        self._steps: list[int] = []
        self._states: list[tuple[np.ndarray, np.ndarray]] = []
        self._tail: deque[tuple[int, Any]] = deque(maxlen=4)

    def add(self, *, is_end: bool) -> None:
        """Keep the present state if it is due; the end of a broken run is."""
        step, view = self._run.last_step, self._run.view()
        if not self._tail or self._tail[-1][0] != step:
            self._tail.append((step, view))
        if (is_end or step in self._due) and step not in self._steps[-1:]:
            self._steps.append(step)
            self._states.append(self._run.host(view))

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return steps (k,), theta (k, ..., p), log-weights (k, ..., n) and those of the tail."""
        thetas, logs = (np.stack(parts) for parts in zip(*self._states, strict=True))
        tail = np.stack([self._run.host(view)[1] for _, view in self._tail])
        return np.array(self._steps), thetas, logs, tail


def check_parts(problem: Any, method: Any, geometry: Any) -> Geometry:
    """Check the three parts and that they fit together; return the geometry, or the default one."""
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
    if geometry is None:
        return method.geometries[0]() if method.geometries else Mirror()
    if method.geometries and not isinstance(geometry, method.geometries):
        valid = ", ".join(f"geometries.{kind.__name__}" for kind in method.geometries)
        raise ValueError(
            f"`geometry` must be one of {valid} for methods.{type(method).__name__}; "
            f"got {geometry!r}."
        )
    return geometry


def _start(
    problem: Problem, method: Method, theta0: Array | None, w0: Array | None
) -> tuple[Array, Array, tuple[int, ...]]:
    """Return theta and log-weights at the start in the problem's namespace, and all leading axes.

    Theta and the weights carry their own leading axes only; those of the knobs count too.
    """
    n, p = problem.num_samples, problem.num_params
    log_w, theta = uniform_log_weights(n), None
    if w0 is not None:
        log_w = np.log(checks.simplex_weights("w0", to_host(w0), n, leading=True))
    if theta0 is not None:
        theta = checks.array("theta0", to_host(theta0), shape=(p,), leading=True)
    shapes = {"w0": log_w.shape[:-1], "theta0": () if theta is None else theta.shape[:-1]}
    shapes |= {name: np.shape(knob) for name, knob in cell_knobs(method).items()}
    try:
        lead = np.broadcast_shapes(*shapes.values())
    except ValueError:
        shown = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"leading axes must broadcast together; got {shown}.") from None
    native = problem.xp.asarray(log_w, dtype=problem.dtype, device=problem.device)
    if theta is None:
        return problem.initial_theta(problem.xp.exp(native)), native, lead
    return problem.xp.asarray(theta, dtype=problem.dtype, device=problem.device), native, lead
