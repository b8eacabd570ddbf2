"""The loop: step, check, record, until the end or a reason to stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import DOP853, LSODA, OdeSolver

from ..flows import Flow
from ..progress import throttled
from ..status import Status
from ..types import Array
from .field import Field, Stop
from .record import Record, Samples
from .watch import Watch, gave_up

__all__ = ["March", "march"]

DEFAULT_EVALUATIONS = 10_000_000
RECORD_BYTES = 256e6
"""Size of the record of accepted steps, whatever `num_saved` asks for."""


@dataclass(frozen=True)
class March:
    """Saved times ``(k,)`` and states ``(k, N)``, and how the integration ended."""

    t: np.ndarray
    states: np.ndarray
    status: Status
    message: str
    num_evaluations: int


def march(
    flow: Flow,
    t_span: tuple[float, float],
    *,
    rtol: float,
    atol: float,
    t_eval: Array | None,
    num_saved: int,
    max_evaluations: int | None,
    rest_tol: float | None,
    progress: Callable[[float], None] | None = None,
) -> March:
    """Integrate ``flow`` from ``flow.initial`` over ``t_span``; the arguments of `integrate`."""
    field = Field(flow, DEFAULT_EVALUATIONS if max_evaluations is None else max_evaluations)
    z0 = flow.initial
    capacity = max(2, min(num_saved, int(RECORD_BYTES / (8 * z0.size))))
    record = Record(capacity, t_span[0], z0)
    samples = None if t_eval is None else Samples(t_eval, t_span[0], z0)
    watch = Watch(field, t_span[1], max_evaluations, rest_tol)
    tell = throttled(progress)
    status, message = Status.ok, f"reached t = {t_span[1]:g}."
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # LSODA warns of what its status says already
            solver = _solver(field, t_span, rtol, flow.tolerances(atol))
            while solver.t < t_span[1]:
                reason = solver.step()
                if solver.status == "failed":
                    raise Stop(Status.stiff, gave_up(reason))
                watch.refuse(solver)
                record.add(solver.t, solver.y)
                if samples is not None:
                    samples.add(solver)
                tell((solver.t - t_span[0]) / (t_span[1] - t_span[0]))
                watch.conclude(solver)
    except Stop as stop:
        status = stop.status
        message = f"{status.name} at t = {record.last[0]:g} of {t_span[1]:g}: {stop.message}."
    last = None if status is Status.ok else record.last
    t, states = record.finish() if samples is None else samples.finish(last)
    return March(t, states, status, message, field.count)


def _solver(field: Field, t_span: tuple[float, float], rtol: float, atol: Array) -> OdeSolver:
    """Return LSODA (Adams and BDF) where the flow has a Jacobian, else DOP853."""
    options: dict[str, Any] = {"rtol": rtol, "atol": atol}
    if field.flow.has_jacobian:
        return LSODA(field, t_span[0], field.flow.initial, t_span[1], jac=field.jacobian, **options)
    return DOP853(field, t_span[0], field.flow.initial, t_span[1], **options)
