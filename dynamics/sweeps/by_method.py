"""Cells run by any method and geometry: slower than the engines, with all their knobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import Backend
from ..methods import Joint
from ..namespaces import to_numpy
from ..nesting import with_knobs
from ..problems import Problem
from ..run import run_method
from ..statistics import describe
from .cells import Plan
from .engines import Table
from .settings import Settings

__all__ = ["run_by_method"]


def run_by_method(
    problem: Problem,
    plan: Plan,
    settings: Settings,
    backend: Backend,
    progress: Callable[[float], None] | None,
) -> tuple[str, Table]:
    """Run all cells by :func:`~warmflow.dynamics.run_method`; return the method and the table."""
    if backend.module is not None:
        problem = problem.to(xp=backend.module, device=backend.device)
    method: Any = settings.method or Joint()
    result = run_method(
        problem,
        with_knobs(method, {"rho": plan.rho, "eta": plan.eta}),
        plan.num_steps,
        seed=settings.seed,
        geometry=settings.geometry,
        save_steps=plan.save_steps,
        theta0=plan.theta0,
        w0=None if settings.w0 is None else np.exp(plan.log_w0),
        progress=progress,
    )
    table = _describe(problem, result, settings)
    num_saves = len(plan.save_steps)
    for name, values in table.items():
        # All cells broke before the last saves: they keep their last good states.
        missing = num_saves - values.shape[1]
        table[name] = np.concatenate([values, *[values[:, -1:]] * missing], axis=1)
    table["status"] = np.asarray(result.status, dtype=np.int8)
    table["last_step"] = np.asarray(result.last_step)
    return f"method {type(method).__name__}", table


def _describe(problem: Problem, result: Any, settings: Settings) -> Table:
    """Return the variables ``(B, saves, ...)`` of the kept states."""
    where = {"dtype": problem.dtype, "device": problem.device}
    saves: list[Table] = []
    for theta, log_w in zip(result.theta, result.log_w, strict=True):
        here, w = (problem.xp.asarray(part, **where) for part in (theta, np.exp(log_w)))
        with np.errstate(all="ignore"):
            row = describe(problem, here, w, settings.thresholds, outer_loss=True)
        row["theta"] = to_numpy(theta)
        if settings.keep_weights:
            row["w"] = np.exp(log_w)
        saves.append(row)
    return {name: np.stack([row[name] for row in saves], axis=1) for name in saves[0]}
