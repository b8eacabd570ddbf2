"""From a problem to the kernel and back: packing, coordinates, threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..features import feature_positions, num_features, quadratic_features
from ..flows.base import scaled_tolerance
from ..problems import LeastSquares
from ..status import Status
from ..sweeps.workers import num_workers, run_together
from ..tilting import pack
from ..types import Array
from .field import Data
from .kernel import Goal, Outcome, integrate_cells

__all__ = ["run_cells"]

TASKS_PER_THREAD = 16
"""Cells differ in their cost: many small tasks keep all threads busy to the end."""


def run_cells(
    problem: LeastSquares,
    alpha: Array,
    beta: Array,
    theta0: Array,
    log_w0: Array,
    options: dict[str, Any],
    progress: Callable[[float], None] | None,
) -> dict[str, np.ndarray]:
    """Integrate the flow for each pair of speeds alpha, beta ``(B,)``.

    Returns
    -------
    dict
        ``theta`` (B, T, p), ``U`` (B, T, d), ``status``, ``last_time``, ``num_evaluations`` (B,).
    """
    basis = _basis(problem)
    if basis.shape[1] == 0:
        return _at_rest(problem, alpha.size, theta0, options)
    X = problem.X @ basis
    num_params, start = basis.shape[1], theta0 @ basis
    still = theta0 - basis @ start
    features = quadratic_features(X, problem.y)
    rows, log2_w0 = pack(features, log_w0)
    data = Data(
        rows,
        log2_w0,
        feature_positions(num_params),
        basis.T @ problem.val_hessian @ basis,
        basis.T @ (problem.val_target - problem.val_hessian @ still),
        problem.ridge,
    )
    atol = options["atol"]
    goal = Goal(
        np.concatenate([start, np.zeros(features.shape[1])]),
        options["t_span"][0],
        options["t_span"][1],
        options["t_eval"],
        options["rtol"],
        np.concatenate([np.full(num_params, atol), atol * scaled_tolerance(1.0, features)]),
        options["max_evaluations"],
    )
    outcome = _in_threads(data, goal, alpha, beta, progress)
    theta = outcome.states[..., :num_params] @ basis.T + still
    U = _lift(outcome.states[..., num_params:], basis)
    return {
        "theta": theta,
        "U": U,
        "status": outcome.status,
        "last_time": outcome.last_time,
        "num_evaluations": outcome.num_evaluations,
    }


def _basis(problem: LeastSquares) -> np.ndarray:
    """Return an orthonormal basis ``(p, r)`` of the directions that move.

    With ridge 0 and rows that do not span, nothing leaves the row space of X.
    """
    Q = problem.row_space
    return np.eye(problem.num_params) if Q is None else Q


def _at_rest(
    problem: LeastSquares, num_cells: int, theta0: Array, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Return the table where every x is 0 and there is no ridge: nothing moves."""
    shape = (num_cells, options["t_eval"].size)
    return {
        "theta": np.broadcast_to(theta0, (*shape, theta0.size)).copy(),
        "U": np.zeros((*shape, num_features(problem.num_params))),
        "status": np.full(num_cells, Status.ok, dtype=np.int8),
        "last_time": np.full(num_cells, options["t_span"][1]),
        "num_evaluations": np.zeros(num_cells, dtype=np.int64),
    }


def _lift(U: Array, basis: Array) -> np.ndarray:
    """Return coordinates ``(..., d)`` with the same logits as U in the basis."""
    p, r = basis.shape
    if p == r:
        return U
    position = feature_positions(r)
    S = U[..., position] * np.where(np.eye(r, dtype=bool), 1.0, 0.5)
    whole = basis @ S @ basis.T
    rows, columns = np.triu_indices(p)
    pairs = whole[..., rows, columns] * np.where(rows == columns, 1.0, 2.0)
    return np.concatenate([pairs, U[..., num_features(r) - r :] @ basis.T], axis=-1)


def _in_threads(
    data: Data,
    goal: Goal,
    alpha: Array,
    beta: Array,
    progress: Callable[[float], None] | None,
) -> Outcome:
    """Run all cells, some at a time in each thread; a cell does not depend on its neighbours."""
    num_cells = alpha.size
    outcome = Outcome(
        np.empty((num_cells, goal.times.size, goal.start.size)),
        np.empty(num_cells, dtype=np.int8),
        np.empty(num_cells),
        np.empty(num_cells, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
    )
    threads = num_workers()
    edges = np.unique(np.linspace(0, num_cells, threads * TASKS_PER_THREAD + 1).astype(int))
    order = np.argsort(-beta[edges[:-1]], kind="stable")  # the most laborious first
    done: list[int] = []

    def integrate_some(k: int) -> None:
        integrate_cells(data, goal, alpha, beta, edges[k], edges[k + 1], outcome)
        done.append(k)

    def tell() -> None:
        if progress is not None:
            progress(len(done) / order.size)

    tasks = [partial(integrate_some, int(k)) for k in order]
    report = None if progress is None else tell
    run_together(tasks, threads, stop=lambda: outcome.stop.fill(1), report=report)
    return outcome
