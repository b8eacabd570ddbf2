"""Rows of a comparison that need no bilevel method: bounds, and a search without derivatives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ...dynamics import Problem
from ...dynamics.counting import cost, counting
from ...dynamics.methods.stationary import stationary
from ...dynamics.simplex import ess
from .rows import FAULTS, Table, risks

__all__ = ["REFERENCES", "group_search", "references", "validation_solution"]

REFERENCES = ("uniform", "validation_only", "clean_only", "derivative_free")
"""Uniform weights; F alone; uniform weights on clean samples; :func:`group_search`."""
NUM_GROUPS = 5
"""Groups of the search without derivatives."""
SPREAD = 2.0
"""Size of the first simplex of the search, in logits."""


def references(problem: Problem, budget: int) -> Table:
    """Return ``reference_test_loss, reference_val_loss, ...`` over the names of REFERENCES.

    NaN where a reference does not exist: without ``theta_star``, or clean samples.
    """
    found: dict[str, tuple[np.ndarray, np.ndarray | None, int]] = {}
    n = problem.num_samples
    found["validation_only"] = (validation_solution(problem), None, 0)
    if "theta_star" in problem.capabilities:
        w = np.full(n, 1.0 / n)
        found["uniform"] = (problem.theta_star(w), w, 0)
        if problem.clean is not None and problem.clean.any():
            w = problem.clean / problem.clean.sum()
            found["clean_only"] = (problem.theta_star(w), w, 0)
        found["derivative_free"] = group_search(problem, budget)
    rows = [_row(problem, *found[name]) if name in found else {} for name in REFERENCES]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}


def validation_solution(problem: Problem) -> np.ndarray:
    r"""Return the minimiser of :math:`F(\theta) + \tfrac\lambda2|\theta|^2`, ``(p,)``.

    Training on the validation samples alone, with the ridge of the problem.
    """
    ridge = problem.ridge

    def gradient(theta: np.ndarray) -> np.ndarray:
        return np.asarray(problem.val_grad(theta) + ridge * theta)

    return np.asarray(stationary(gradient, np.zeros(problem.num_params)))


def group_search(
    problem: Problem, budget: int, num_groups: int = NUM_GROUPS
) -> tuple[np.ndarray, np.ndarray, int]:
    r"""Minimise h over the weights of a few groups by Nelder and Mead, without derivatives.

    Groups are the quantiles of the losses of the samples under :func:`validation_solution`; inside
    a group weights are equal. A trial solves for theta_star and costs what that calls, and one for
    the validation loss. The search starts at uniform weights, and afresh at the best point when it
    has converged, until the budget is spent.

    Returns
    -------
    theta (p,), w (n,), calls
        Of the best trial.
    """
    from scipy.optimize import minimize

    losses = problem.per_sample_losses(validation_solution(problem))
    ranks = np.argsort(np.argsort(losses, kind="stable"), kind="stable")
    group = ranks * num_groups // problem.num_samples
    sizes = np.bincount(group, minlength=num_groups)
    counts: Counter[str] = Counter()
    counted, trials = counting(problem, counts), 0
    best: tuple[float, np.ndarray, np.ndarray] | None = None

    def value(logits: np.ndarray) -> float:
        nonlocal trials, best
        if best is not None and cost(counts) + trials >= budget:
            raise _Spent
        trials += 1
        shares = np.exp(np.append(logits, 0.0) - max(logits.max(), 0.0)) * (sizes > 0)
        w = (shares / np.maximum(sizes, 1) / shares.sum())[group]
        try:
            theta = counted.theta_star(w, None if best is None else best[1])
        except FAULTS:
            return float("inf")
        loss = float(problem.val_loss(theta))
        if best is None or loss < best[0]:
            best = loss, theta, w
        return loss

    start = np.log(np.maximum(sizes, 1)[:-1] / max(int(sizes[-1]), 1))
    try:
        for _ in range(budget):
            corners = np.vstack([start, start + SPREAD * np.eye(num_groups - 1)])
            options: Any = {"initial_simplex": corners, "maxiter": budget, "maxfev": budget}
            end = np.asarray(minimize(value, start, method="Nelder-Mead", options=options).x)
            if np.allclose(end, start, atol=1e-3):
                break
            start = end
    except _Spent:
        pass
    assert best is not None, "uniform weights are solved for before everything else"
    return best[1], best[2], cost(counts) + trials


class _Spent(Exception):
    """The budget is spent."""


def _row(problem: Problem, theta: np.ndarray, w: np.ndarray | None, calls: int) -> dict[str, float]:
    """Return the variables of one reference."""
    row = {"val_loss": float(problem.val_loss(theta)), "calls": float(calls)}
    row |= {name: float(value) for name, value in risks(problem, theta).items()}
    if w is not None:
        row["ess"] = float(ess(w))
        if problem.clean is not None:
            row["clean_mass"] = float(w[problem.clean].sum())
    return {f"reference_{name}": value for name, value in row.items()}
