"""What theory says about the good band before any run of the algorithm with a large step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import xarray as xr

from ...analysis.rest_points import is_solvable
from ...analysis.stability import outer_limit
from ...analysis.stability.learning_rates import curvatures
from ...analysis.stability.points import SolvedPoint
from ...dynamics import integrate_exact, methods, run_method
from ...dynamics.types import Array
from ._good_band_runs import BandPart, Bench, point, run_rates

__all__ = ["EXCESS", "SLACK", "first_time", "held", "predict", "threshold"]

EXCESS = 1.1
"""A test risk within this factor of the best is good, ..."""
SLACK = 1e-3
"""... give or take this much."""
HORIZON = 5000.0
"""Time of the exact flow after which its weights count as its end."""
SLOW = 0.1
"""Outer step of slow penalised runs, in units of 2/kappa_max at the start."""
SLOW_STEPS = 800
PUSH = 1e-4
"""Share of uniform weights with which runs beside a solved point start."""


def threshold(best: float) -> float:
    """Return the largest good test risk where the best one is given."""
    return EXCESS * best + SLACK


def first_time(t: Array, risk: Array) -> float:
    """Return the first time at which a risk is good; the best is the least on the path."""
    bound = threshold(float(risk.min()))
    k = int(np.argmax(risk <= bound))
    if k == 0:
        return float(t[0])
    share = (risk[k - 1] - bound) / (risk[k - 1] - risk[k])
    return float(t[k - 1] + share * (t[k] - t[k - 1]))


def predict(part: BandPart, bench: Bench) -> xr.Dataset:
    """Both ends of the band from slow runs and from spectra.

    ``low_flow``: the first good time of the exact flow, over K. ``low_linear``: the same for its
    linearisation at its end. ``limit_end``, ``limit_start``: the outer step at which theory T7c
    loses stability with the curvatures at the end of the flow and at the start; where an explicit
    entropy penalty acts, at most its own limit 2/tau. ``turn``: 2/kappa_max at the start, where one
    outer step with theta solved for would carry theta as far beyond its goal as it was before it.
    ``ratio_one``: the outer step with R = 1. The one-step method has another field, and none of
    these but its start.
    """
    problem = bench.problem
    start = point(problem, bench.theta0, bench.w0)
    t, theta, w = _slow(bench)
    end = point(problem, theta[-1], w)
    linear = _linearised(end, bench.theta0 - theta[-1], t)
    budgets = np.array(part.budgets)
    low = {
        "low_flow": first_time(t, problem.test_loss(theta)) / budgets,
        "low_linear": first_time(t, problem.test_loss(theta[-1] + linear)) / budgets,
    }
    kappas = {"kappa_start": curvatures(start), "kappa_end": curvatures(end)}
    known = math.nan if part.method == "one_step" else 1.0
    return xr.Dataset(
        {
            **{name: ("K", known * values) for name, values in low.items()},
            **{f"{name}_max": float(values[-1]) for name, values in kappas.items()},
            **{f"{name}_min": float(values[0]) for name, values in kappas.items()},
            "limit_start": _limit(part, bench, bench.theta0, bench.w0),
            "limit_end": _limit(part, bench, theta[-1], w),
            "turn": known * bench.turn,
            "ratio_one": known * bench.removed(part) / bench.spread,
            "solvable": bool(is_solvable(problem)),
            "risk_start": float(problem.test_loss(bench.theta0)),
        }
    )


def held(part: BandPart, bench: Bench) -> xr.Dataset:
    """Start beside the solved point where the exact flow ends, at multiples of the limit there.

    ``grown`` is the distance of theta from the point, the largest in the windows of all budgets
    (a run that leaves may settle elsewhere later), over that at the start.
    """
    _, theta, w = _slow(bench)
    limit = _limit(part, bench, theta[-1], w)
    w0 = (1.0 - PUSH) * w + PUSH * bench.w0
    beside = replace(bench, theta0=bench.problem.theta_star(w0), w0=w0)
    run = run_rates(part, beside, part.rates * limit)
    first = np.linalg.norm(beside.theta0 - theta[-1])
    away = np.linalg.norm(run.theta - theta[-1], axis=-1).max(axis=0) / first
    grown = np.where(np.asarray(run.status) > 1, np.inf, away)
    return xr.Dataset({"grown": ("eta", grown), "limit_end": limit}, {"eta": part.rates})


def _slow(bench: Bench) -> tuple[Array, Array, Array]:
    """Return times, theta and the last weights of the slow flow that the runs approximate."""
    problem = bench.problem
    if bench.tau == 0:
        times = np.concatenate([[0.0], np.logspace(-4.0, math.log10(HORIZON), 500)])
        flow = integrate_exact(problem, beta=1.0, t_span=(0.0, HORIZON), t_eval=times)
        return flow.t, flow.theta, flow.w[-1]
    eta = SLOW * bench.turn
    run = run_method(
        problem, methods.Exact(eta=eta), num_steps=SLOW_STEPS, geometry=bench.geometry,
        num_saved=SLOW_STEPS + 1,
    )  # fmt: skip
    return eta * run.t, run.theta, run.w[-1]


def _linearised(end: SolvedPoint, away: Array, t: Array) -> Array:
    """Return the distance from the point, ``(t, p)``, under the linearised exact flow."""
    # A = H^-1 C H^-1 B has real eigenvalues >= 0 and a full set of eigenvectors.
    A = np.linalg.solve(end.H, end.C @ np.linalg.solve(end.H, end.B))
    rates, modes = np.linalg.eig(A)
    shares = np.linalg.solve(modes, away)
    return np.real(np.exp(-np.outer(t, rates)) * shares @ modes.T)


def _limit(part: BandPart, bench: Bench, theta: Array, w: Array) -> float:
    if part.map_order is None:
        return math.nan
    limit = outer_limit(
        bench.problem, theta, w, bench.rho, part.map_order, part.num_inner_steps, tol=math.inf
    )
    explicit = bench.tau > 0 and not part.implicit
    return min(limit, 2.0 / bench.tau) if explicit else limit
