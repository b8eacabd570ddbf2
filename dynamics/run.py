"""The driver of methods: iterate, record, count, stop honestly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from os import PathLike
from typing import Any

import numpy as np

from . import checks
from .backend import require_current_device
from .cells import cell_knobs
from .checkpoints import path_of
from .counting import cost, counting
from .geometries import Geometry, Mirror
from .methods import Method
from .namespaces import to_host
from .nesting import nested
from .problems import Problem
from .progress import throttled
from .recording import Kept, due_steps
from .resuming import Saver, find
from .simplex import uniform_log_weights
from .specifying import specification
from .status import Status
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
    save_steps: Sequence[int] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 30.0,
    max_calls: int | None = None,
) -> Trajectory:
    """Run a method for ``num_steps`` outer steps, or until a budget of oracle calls is spent.

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
        Called with the share of the steps that is done, between 0 and 1, some thousand times. A
        resumed run begins at its share.
    save_steps : sequence of int, optional
        Exactly these states are kept, in place of ``num_saved``: increasing steps from 0 to
        ``num_steps``, at least one.
    checkpoint : path, optional
        A file that holds the whole run: written at the start, then every ``checkpoint_seconds``, at
        the end, and when anything is raised (Ctrl-C too). It appears whole or not at all; reading
        it executes nothing. A kill costs the steps since it was last written.
    resume : bool
        Go on from the checkpoint; start where there is none. The result is bit for bit that of a
        run with the present arguments that was never interrupted, on the same kind of device with
        the same libraries. A finished run is only read.
    checkpoint_seconds : float
        Time between two checkpoints. It becomes longer where writing takes more than a tenth of it.
    max_calls : int, optional
        The run ends after the first step at which the oracle calls of a cell, start included, reach
        this number; a call with k vectors counts k, a dense Hessian p. The status is then
        ``max_evaluations``, which is no failure here, and the state that it ends at is kept.

    Returns
    -------
    Trajectory
        ``t`` counts steps; ``oracle_counts`` counts the calls of each oracle, with k vectors as k
        (and of ``hessian``, as p, and ``theta_star``, where exact solves are used), start included.
        A run whose next state
        would not be finite ends at the last good one, with its status and the cure: the last of
        ``t`` then, due or not, and steps that were due later are missing. With leading axes that
        holds where all cells broke; ``status`` and ``last_step`` have one entry for each cell, and
        ``message`` tells the worst.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, a problem that lacks what the method requires, or a geometry that the
        method cannot be joined with. For a checkpoint that exists without ``resume``, is damaged,
        belongs to another run (other problem, array library, method, knobs, geometry, seed or
        start), or that the run cannot go on from: ``num_steps``, ``max_calls`` and the steps to
        keep may change, as long as the checkpoint has done no more steps than they allow, and has
        kept all that are due among those that it has done. So a run can be made longer with
        ``save_steps``, and with ``num_saved`` where the steps that it has kept hold the new ones.
    """
    geometry = check_parts(problem, method, geometry)
    num_steps = checks.integer("num_steps", num_steps, minimum=1)
    seed = checks.integer("seed", seed, minimum=0)
    due = due_steps(num_steps, num_saved, save_steps)
    path, resume = path_of(checkpoint), checks.flag("resume", resume)
    seconds = checks.nonnegative("checkpoint_seconds", checkpoint_seconds)
    theta, log_w, lead = _start(problem, method, theta0, w0)
    spec = specification(problem, method, geometry, seed, theta, log_w) if path else {}
    limit = None if max_calls is None else checks.integer("max_calls", max_calls, minimum=1)
    stored = find(path, spec, num_steps, due, resume, limit)

    counts: Counter[str] = Counter()
    run = _runner(problem, method, geometry, lead, counts)
    kept = Kept(run, due)
    saver = Saver(path, seconds, spec, problem, run, kept, counts)
    if stored is None or not (stored["ended"] or stored["step"] == num_steps):
        first = problem.initial_theta(problem.xp.exp(log_w)) if theta is None else theta
        run.start(first, geometry.start(log_w), seed)
    if stored is None:
        kept.add(is_end=run.ended)
    else:
        saver.restore(stored)
    _march(
        run, num_steps, kept, saver, progress, lambda: limit is not None and cost(counts) >= limit
    )
    steps, thetas, logs, tail = kept.finish()
    return Trajectory(
        t=steps,
        theta=thetas,
        status=_status(run, num_steps),
        message=_message(run, num_steps, limit),
        problem=problem,
        settings=_settings(method, geometry, num_steps, seed),
        num_evaluations=run.last_step,
        states=logs,
        log_weights_of=lambda rows: rows,
        oracle_counts=dict(counts),
        tail=tail,
        wall_seconds=saver.wall_seconds,
        time_name="step",
        last_step=run.ends if isinstance(run, Cells) else None,
    )


def _march(
    run: Single | Cells,
    num_steps: int,
    kept: Kept,
    saver: Saver,
    progress: Callable[[float], None] | None,
    is_spent: Callable[[], bool],
) -> None:
    """Do the steps that are left, or that a budget allows; keep, save and tell."""
    tell = throttled(progress)
    with saver:
        tell(run.last_step / num_steps)
        for step in range(run.last_step + 1, num_steps + 1):
            if run.ended:
                break
            if is_spent():
                kept.add(is_end=True)
                break
            run.advance()
            kept.add(is_end=run.ended)
            saver.mark()
            tell(step / num_steps)


def _runner(
    problem: Problem,
    method: Method,
    geometry: Geometry,
    lead: tuple[int, ...],
    counts: Counter[str],
) -> Single | Cells:
    """Return what steps, its oracle calls counted."""
    if not lead:
        return Single(counting(problem, counts), method, geometry)
    return Cells(counting(problem, counts, 1), method, geometry, lead, counts)


def _status(run: Single | Cells, num_steps: int) -> Any:
    """Return how a run ended: ``max_evaluations`` for what was well when its budget was spent."""
    if run.ended or run.last_step == num_steps:
        return run.status
    spent = np.where(np.equal(run.status, Status.ok), Status.max_evaluations, run.status)
    return spent.astype(np.int8) if isinstance(run, Cells) else Status(int(spent))


def _message(run: Single | Cells, num_steps: int, limit: int | None) -> str:
    """Return how a run ended, in words."""
    if run.message:
        return run.message
    if run.last_step == num_steps:
        return f"did {num_steps} steps."
    return f"did {run.last_step} steps; their oracle calls reached `max_calls` ({limit})."


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
    for part in nested(method):
        part.check_geometry(geometry)
    return geometry


def _settings(method: Method, geometry: Geometry, num_steps: int, seed: int) -> dict[str, Any]:
    """Return what determined a run, as a trajectory tells it."""
    return {
        "kind": "method",
        "method": type(method).__name__,
        "knobs": _knobs(method),
        "geometry": repr(geometry),
        "num_steps": num_steps,
        "seed": seed,
    }


def _knobs(part: Any) -> dict[str, Any]:
    """Return the knobs of a method; those of a part within tell its ``kind`` too."""
    found = {f.name: getattr(part, f.name) for f in fields(part)}
    return {
        name: {"kind": type(value).__name__} | _knobs(value) if is_dataclass(value) else value
        for name, value in found.items()
    }


def _start(
    problem: Problem, method: Method, theta0: Array | None, w0: Array | None
) -> tuple[Array | None, Array, tuple[int, ...]]:
    """Return theta, None for the problem's own, log-weights in its namespace, and all leading axes.

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
        return None, native, lead
    return problem.xp.asarray(theta, dtype=problem.dtype, device=problem.device), native, lead
