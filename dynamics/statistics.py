"""What is reported of any state (theta, w): the variables that runs and sweeps have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace

from . import checks
from .namespaces import to_numpy
from .problems import Problem, SoftmaxRegression
from .simplex import entropy, ess, support
from .status import ConvergenceError
from .types import Array

__all__ = ["THRESHOLDS", "describe", "describe_weights", "check_thresholds", "VARIABLES"]

THRESHOLDS = (1e-3, 1e-6, 1e-12)
"""Relative thresholds at which a support is counted."""

VARIABLES: dict[str, str] = {
    "theta": "inner parameters",
    "ess": "effective sample size, (sum w)^2 / sum w^2",
    "entropy": "entropy of the weights in nats",
    "support": "number of weights above threshold times the largest weight",
    "clean_mass": "weight on samples known to be clean",
    "val_loss": "F(theta), loss on the validation samples",
    "outer_loss": "h(w) = F(theta_star(w))",
    "test_loss": "loss of theta on the independent test set",
    "test_accuracy": "accuracy of theta on the independent test set",
    "w": "weights of the training samples",
    "log_w": "log of the weights",
    "U": "coordinates of the weights: log w = log w0 + Phi U + const",
}
"""Long names of the variables of every Dataset."""

GROUP = 8
"""States whose iterative solves share their matrix products."""


def check_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Return relative thresholds in [0, 1), at least one."""
    values = tuple(float(q) for q in checks.array("thresholds", thresholds, shape=(None,)))
    for value in values:
        if not 0 <= value < 1:
            raise ValueError(
                f"`thresholds` must lie in [0, 1), relative to the largest weight; got {value}."
            )
    return values


def describe_weights(
    problem: Problem, w: Array, thresholds: Sequence[float]
) -> dict[str, np.ndarray]:
    """Return ``ess, entropy, support`` and, where known, ``clean_mass`` of weights (..., n)."""
    xp = array_namespace(w)
    counts = [xp.sum(xp.astype(support(w, q), xp.int64), axis=-1) for q in thresholds]
    out = {"ess": ess(w), "entropy": entropy(w), "support": xp.stack(counts, axis=-1)}
    if problem.clean is not None:
        clean = xp.asarray(problem.clean, dtype=w.dtype, device=w.device)
        share = xp.sum(w * clean, axis=-1) / xp.sum(w, axis=-1)
        out["clean_mass"] = xp.where(share < 1.0, share, xp.ones_like(share))  # round-off
    return {name: to_numpy(value) for name, value in out.items()}


def describe_theta(problem: Problem, theta: Array) -> dict[str, np.ndarray]:
    """Return ``val_loss`` and, with a test set, ``test_loss`` and ``test_accuracy`` of theta."""
    out = {"val_loss": to_numpy(problem.val_loss(theta))}
    if problem.has_test:
        out["test_loss"] = to_numpy(problem.test_loss(theta))
        if problem.has_accuracy:
            out["test_accuracy"] = to_numpy(problem.test_accuracy(theta))
    return out


def describe(
    problem: Problem, theta: Array, w: Array, thresholds: Sequence[float], *, outer_loss: bool
) -> dict[str, np.ndarray]:
    """Return all variables of states theta ``(..., p)``, w ``(..., n)``, NumPy arrays ``(...)``.

    States are arrays of the problem's namespace.

    ``outer_loss`` costs one inner solve per state.
    """
    out = {**describe_weights(problem, w, thresholds), **describe_theta(problem, theta)}
    if outer_loss and "theta_star" in problem.capabilities:
        out["outer_loss"] = _outer_losses_by_groups(problem, theta, w, out["ess"])
    return out


def _outer_losses_by_groups(problem: Problem, theta: Array, w: Array, size: Array) -> np.ndarray:
    """Return h(w) of each state; iterative solves in groups of states of about the same ESS.

    A group takes as many iterations as the hardest of its states.
    """
    lead = np.shape(size)
    is_iterative = isinstance(problem, SoftmaxRegression) and isinstance(w, np.ndarray)
    if not is_iterative or size.size <= GROUP:
        return _outer_losses(problem, theta, w)
    theta, w = theta.reshape(-1, theta.shape[-1]), w.reshape(-1, w.shape[-1])
    order = np.argsort(size, axis=None, kind="stable")
    out = np.empty(len(order))
    for part in np.split(order, range(GROUP, len(order), GROUP)):
        out[part] = _outer_losses(problem, theta[part], w[part])
    return out.reshape(lead)


def _outer_losses(problem: Problem, theta: Array, w: Array) -> np.ndarray:
    """Return h(w) of each state; NaN where theta_star cannot be solved for."""
    try:
        return to_numpy(problem.val_loss(problem.theta_star(w, theta)))
    except (ConvergenceError, np.linalg.LinAlgError):
        if w.ndim == 1:
            return np.array(np.nan)
        cells = range(w.shape[0])
        return np.stack([_outer_losses(problem, theta[k, ...], w[k, ...]) for k in cells])
