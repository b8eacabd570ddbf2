"""What is reported of runs: the variables of one entry on one draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...dynamics import Problem
from ...dynamics.methods import Method
from ...dynamics.simplex import entropy, ess, support
from ...dynamics.status import ConvergenceError
from ...dynamics.types import Array
from ..optimality import metric_cosine
from .entries import Entry
from .rates import speed_of
from .runs import Spent, solves_directly, spend

__all__ = ["ALONG_BUDGET", "AT_END", "FAULTS", "Plan", "Table", "risks", "rows", "start_of"]

Table = dict[str, np.ndarray]
FAULTS = (ConvergenceError, np.linalg.LinAlgError)
TOLERANCE = 1e-8
"""Relative residual of the adjoint that a field is compared to."""
ALONG_BUDGET = ("val_loss", "test_loss", "test_accuracy", "ess", "clean_mass")
AT_END = (
    "outer_loss", "entropy", "support", "test_loss_star", "test_accuracy_star",
    "test_loss_averaged", "test_accuracy_averaged", "cosine_start", "cosine_end", "cosine_min",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What all runs of a comparison have in common."""

    ratios: tuple[float, ...]
    marks: tuple[int, ...]
    thresholds: tuple[float, ...]


def rows(problem: Problem, entry: Entry, plan: Plan, seed: int) -> Table:
    """Return all variables over ``(ratio, ...)``.

    Raises
    ------
    ValueError
        Where the method cannot be run on the problem, or has no ratio R.
    """
    theta, count = start_of(problem), len(plan.ratios)
    eta = rate = np.full(count, np.nan)
    if entry.is_scaled:
        spread, q = speed_of(problem, entry.method, entry.geometry, theta)
        eta, rate = np.array(plan.ratios) * q / spread, np.full(count, q)
    given = eta if entry.is_scaled else None
    spent = spend(problem, entry.method, entry.geometry, given, plan.marks, seed, theta)
    table = _along(problem, spent) | _at_end(problem, entry, spent, plan.thresholds)
    table |= {"steps": spent.steps, "calls": spent.calls, "status": spent.status}
    if not entry.is_scaled:  # one run stands at every ratio
        table = {name: np.repeat(values, count, axis=0) for name, values in table.items()}
    return table | {"eta": eta, "inner_rate": rate}


def start_of(problem: Problem) -> Array:
    """Return where all runs start: theta_star of uniform weights, where it exists."""
    n = problem.num_samples
    return problem.initial_theta(np.full(n, 1.0 / n))


def risks(problem: Problem, theta: Array, suffix: str = "") -> Table:
    """Return ``test_loss`` and ``test_accuracy``, as far as the problem has them; NaN for NaN."""
    found = {}
    if problem.has_test:
        found["test_loss" + suffix] = np.asarray(problem.test_loss(theta))
        if problem.has_accuracy:
            known = np.isfinite(theta).all(-1)
            accuracy = problem.test_accuracy(np.where(known[..., None], theta, 0.0))
            found["test_accuracy" + suffix] = np.where(known, accuracy, np.nan)
    return found


def retrained(problem: Problem, w: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Return theta_star of the weights ``(cells, n)``; NaN where there is none."""
    out = np.full(guess.shape, np.nan)
    if "theta_star" in problem.capabilities:
        for cell in np.flatnonzero(np.isfinite(w).all(-1)):
            try:
                out[cell] = problem.theta_star(w[cell], guess[cell])
            except FAULTS:
                continue
    return out


def _along(problem: Problem, spent: Spent) -> Table:
    """Return the variables over (cell, mark)."""
    theta, w = spent.theta[:, 1:], spent.w[:, 1:]
    table = {"val_loss": np.asarray(problem.val_loss(theta)), **risks(problem, theta)}
    known = np.isfinite(w).all(-1)
    safe = np.where(known[..., None], w, 1.0)
    table["ess"] = np.where(known, ess(safe), np.nan)
    if problem.clean is not None:
        share = (safe * problem.clean).sum(-1) / safe.sum(-1)
        table["clean_mass"] = np.where(known, np.minimum(share, 1.0), np.nan)
    return table


def _at_end(problem: Problem, entry: Entry, spent: Spent, thresholds: Sequence[float]) -> Table:
    """Return the variables of the last state."""
    theta, w = spent.theta[:, -1], spent.w[:, -1]
    known = np.isfinite(w).all(-1)
    safe = np.where(known[:, None], w, 1.0)
    star = retrained(problem, w, theta)
    mean_w = np.where(known[:, None], spent.mean_w, np.nan)
    averaged = retrained(problem, mean_w, theta)
    counts = np.stack([support(safe, q).sum(-1) for q in thresholds], axis=-1)
    table = {
        "outer_loss": np.asarray(problem.val_loss(star)),
        "entropy": np.where(known, entropy(safe), np.nan),
        "support": np.where(known[:, None], counts, np.nan),
        **risks(problem, star, "_star"),
        **risks(problem, averaged, "_averaged"),
    }
    cosines = _cosines(problem, entry.method, spent)
    least = np.min(np.where(np.isnan(cosines), np.inf, cosines), axis=-1)
    table["cosine_start"], table["cosine_end"] = cosines[:, 0], cosines[:, -1]
    table["cosine_min"] = np.where(np.isfinite(least), least, np.nan)
    return table


def _cosines(problem: Problem, method: Method, spent: Spent) -> np.ndarray:
    """Return the cosine of the used field to grad h over (cell, 1 + mark), in the metric P(w).

    NaN after a bad end, where a field is constant on the support, and where one cannot be found.
    Where inner solves iterate, so that a field may cost more than the run did, only the start,
    which all cells have in common, and the ends are asked for; the rest is NaN.
    """
    lead = spent.w.shape[:-1]
    theta, w = (a.reshape(-1, a.shape[-1]) for a in (spent.theta, spent.w))
    out = np.full(len(w), np.nan)
    wanted = np.full(lead, solves_directly(problem))
    wanted[:, -1] = wanted[0, 0] = True
    if "theta_star" in problem.capabilities:
        known = np.flatnonzero(np.isfinite(w).all(-1) & wanted.ravel())
        together = _fields(problem, method, theta[known], w[known])
        if together is not None:
            out[known] = metric_cosine(w[known], *together)
        else:
            for state in known:
                alone = _fields(problem, method, theta[state], w[state])
                out[state] = np.nan if alone is None else metric_cosine(w[state], *alone)
    cosines = out.reshape(lead)
    cosines[:, 0] = cosines[0, 0]
    return cosines


def _fields(
    problem: Problem, method: Method, theta: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the field of the method and grad h at states; None where a solve fails."""
    try:
        exact = problem.hypergradient(problem.theta_star(w, theta), w, tol=TOLERANCE)
        return method.direction(problem, theta, w), exact
    except FAULTS:
        return None
