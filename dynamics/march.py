"""The loop around SciPy's integrators: thinning, a cap on the work, and an honest end.

``scipy.integrate.solve_ivp`` is such a loop; this one drives the same ``OdeSolver`` objects and
adds what it lacks: a bound on the evaluations, a bounded record of the accepted steps, a rest-point
test, detection of stiffness for explicit methods, and a status instead of an exception.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import DOP853, LSODA, OdeSolver

from .flows import Flow, InnerFailure
from .status import ConvergenceError, Status
from .types import Array

__all__ = ["March", "march"]

DEFAULT_EVALUATIONS = 10_000_000
STIFF_EVALUATIONS = 200_000
"""An explicit run held back by stability is given up when it needs more evaluations than this."""
STIFF_PRODUCT = 3.0
"""Step times spectral radius from which a step of DOP853 (limit 6.1) counts as held back."""
STIFF_EVERY = 50
BOUND = 1e12
"""Largest entry of theta, in size, that is still called a solution."""
RECORD_BYTES = 256e6
STALLED_STEPS = 20
"""Consecutive steps at the spacing of floating-point times after which LSODA is given up."""
BAD_EVALUATIONS = 100


@dataclass(frozen=True)
class March:
    """Saved times ``(k,)`` and states ``(k, N)``, and how the integration ended."""

    t: np.ndarray
    states: np.ndarray
    status: Status
    message: str
    num_evaluations: int


class _Stop(Exception):
    """Ends the integration from inside a right-hand side."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Field:
    """The right-hand side, counted, with every failure turned into a status."""

    def __init__(self, flow: Flow, cap: int) -> None:
        self.flow = flow
        self.cap = cap
        self.count = 0
        self.bad = 0

    def __call__(self, t: float, z: Array) -> np.ndarray:
        if self.count >= self.cap:
            raise _Stop(
                Status.max_evaluations,
                f"the cap of {self.cap} evaluations was reached; raise `max_evaluations`, shorten "
                "`t_span`, loosen `rtol`, or lower beta/alpha",
            )
        self.count += 1
        try:
            with np.errstate(all="ignore"):
                dz = self.flow.field(z)
        except InnerFailure as failure:
            raise _Stop(
                Status.underflow,
                f"{failure} (weights underflowed, or data lack rank); raise `ridge` or lower beta",
            ) from None
        except ConvergenceError as failure:
            raise _Stop(Status.nonfinite, f"an inner solve failed: {failure}") from None
        self.bad = 0 if np.isfinite(dz).all() else self.bad + 1
        if self.bad > BAD_EVALUATIONS:
            raise _Stop(
                Status.nonfinite, "the field is not finite here; lower beta or raise `ridge`"
            )
        return dz

    def jacobian(self, t: float, z: Array) -> np.ndarray:
        try:
            with np.errstate(all="ignore"):
                return self.flow.jacobian(z)
        except (InnerFailure, np.linalg.LinAlgError):
            raise _Stop(Status.underflow, "the inner Hessian is singular; raise `ridge`") from None


class _Record:
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


class _Samples:
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

    def finish(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        return self.t_eval[: self.done], np.array(self.states).reshape(self.done, size)


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
) -> March:
    """Integrate ``flow`` from ``flow.initial`` over ``t_span``; see :func:`integrate`."""
    field = _Field(flow, DEFAULT_EVALUATIONS if max_evaluations is None else max_evaluations)
    z0 = flow.initial
    capacity = max(2, min(num_saved, int(RECORD_BYTES / (8 * z0.size))))
    record = _Record(capacity, t_span[0], z0)
    samples = None if t_eval is None else _Samples(t_eval, t_span[0], z0)
    stiffness = None if flow.has_jacobian else _Stiffness(field, t_span[1], max_evaluations)
    end, stalled = (Status.ok, ""), 0
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            solver = _solver(field, t_span, rtol, flow.tolerances(atol))
            while solver.t < t_span[1]:
                reason = solver.step()
                if solver.status == "failed":
                    raise _Stop(Status.stiff, _gave_up(reason))
                _inspect(flow, solver.y)
                stalled = stalled + 1 if solver.t - solver.t_old <= 4 * np.spacing(solver.t) else 0
                if stalled > STALLED_STEPS:
                    raise _Stop(Status.stiff, _gave_up("the step size fell to round-off"))
                record.add(solver.t, solver.y)
                if samples is not None:
                    samples.add(solver)
                if stiffness is not None:
                    stiffness.inspect(solver)
                if rest_tol is not None and flow.rest_residual(solver.y) <= rest_tol:
                    raise _Stop(Status.converged, f"rest point: residual at most {rest_tol:g}")
    except _Stop as stop:
        end = (stop.status, stop.message)
    t, states = record.finish() if samples is None else samples.finish(z0.size)
    return March(t, states, end[0], _message(end, record.last[0], t_span[1]), field.count)


def _solver(field: _Field, t_span: tuple[float, float], rtol: float, atol: Array) -> OdeSolver:
    """Return LSODA (Adams and BDF) where the flow has a Jacobian, else DOP853."""
    options: dict[str, Any] = {"rtol": rtol, "atol": atol}
    if field.flow.has_jacobian:
        return LSODA(field, t_span[0], field.flow.initial, t_span[1], jac=field.jacobian, **options)
    return DOP853(field, t_span[0], field.flow.initial, t_span[1], **options)


def _inspect(flow: Flow, z: Array) -> None:
    """Stop on a state that is no longer a solution."""
    if not np.isfinite(z).all():
        raise _Stop(Status.nonfinite, "the state is not finite; lower beta/alpha or raise `ridge`")
    if flow.parameter_size(z) > BOUND:
        raise _Stop(
            Status.diverged, f"|theta| exceeds {BOUND:g}; lower beta/alpha or raise `ridge`"
        )


class _Stiffness:
    """Tells an explicit run that is held back by stability, and too long because of it.

    The spectral radius of the Jacobian is followed by a nonlinear power iteration (one evaluation
    of the field each), as in the RKC code of Sommeijer, Shampine and Verwer (1998).
    """

    def __init__(self, field: _Field, t_end: float, cap: int | None) -> None:
        self.field = field
        self.t_end = t_end
        self.cap = STIFF_EVALUATIONS if cap is None else cap
        self.steps = 0
        self.vector = np.random.default_rng(0).standard_normal(field.flow.initial.size)

    def inspect(self, solver: OdeSolver) -> None:
        self.steps += 1
        if self.steps % STIFF_EVERY:
            return
        step = solver.t - solver.t_old
        projected = self.field.count + 12 * (self.t_end - solver.t) / step
        if projected <= self.cap or step * self._spectral_radius(solver.y) < STIFF_PRODUCT:
            return
        raise _Stop(
            Status.stiff,
            f"steps of {step:.1e} are limited by stability and {projected:.0e} evaluations would "
            "be needed; lower beta/alpha, shorten `t_span`, raise `max_evaluations`, or use "
            "`run_method`",
        )

    def _spectral_radius(self, z: Array, iterations: int = 8) -> float:
        base = self.field(0.0, z)
        radius = 0.0
        for _ in range(iterations):
            delta = 1e-7 * (1.0 + np.linalg.norm(z)) / np.linalg.norm(self.vector)
            change = (self.field(0.0, z + delta * self.vector) - base) / delta
            radius = float(np.linalg.norm(change) / np.linalg.norm(self.vector))
            if not radius > 0:
                return 0.0
            self.vector = change / np.linalg.norm(change)
        return radius


def _gave_up(reason: str | None) -> str:
    detail = (reason or "no reason given").rstrip(".")
    return f"the integrator gave up ({detail}); raise `ridge`, lower beta/alpha, or loosen `rtol`"


def _message(end: tuple[Status, str], t: float, t_end: float) -> str:
    """Return what happened, and where."""
    status, text = end
    if status is Status.ok:
        return f"reached t = {t_end:g}."
    return f"{status.name} at t = {t:g} of {t_end:g}: {text}."
