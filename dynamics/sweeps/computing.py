"""Some cells of one problem: from their rates to the variables of the Dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import backend as backends
from .. import checks
from ..namespaces import to_host, to_numpy
from ..problems import Problem
from ..simplex import uniform_log_weights
from ..types import Array
from .by_method import run_by_method
from .cells import Plan
from .engines import Table, Work, run
from .settings import Settings

__all__ = ["Computed", "check_size", "compute", "in_dtype"]


class Computed(NamedTuple):
    """What came of some cells.

    Attributes
    ----------
    table : dict
        Arrays ``(B, saves, ...)`` by name; ``status`` and ``last_step`` ``(B,)``.
    engine, device, note : str
        Who computed, where, and why not elsewhere.
    theta0, log_w0 : array
        The start of all cells.
    """

    table: Table
    engine: str
    device: str
    note: str
    theta0: np.ndarray
    log_w0: np.ndarray


def compute(
    problem: Problem,
    settings: Settings,
    alpha: Array,
    beta: Array,
    progress: Callable[[float], None] | None = None,
) -> Computed:
    """Run the cells with rates ``alpha`` (B,) and ``beta`` (B,) on one problem.

    Raises
    ------
    ValueError, TypeError
        For an unavailable backend, a start that does not fit, or too large a request.
    """
    chosen = backends.resolve(settings.backend, problem)
    problem = in_dtype(problem, settings.dtype)
    plan = _plan(problem, settings, alpha, beta)
    if settings.method is not None or settings.geometry is not None:
        engine, table = run_by_method(problem, plan, settings, chosen, progress)
    else:
        work = Work(problem, plan, settings.keep_weights, settings.thresholds, progress)
        engine, table = run(work, chosen)
    return Computed(table, engine, chosen.label, chosen.note, plan.theta0, plan.log_w0)


def in_dtype(problem: Problem, dtype: str) -> Problem:
    """Return the problem in a dtype; JAX makes float32 of float64 unless told otherwise."""
    moved = problem.to(dtype=dtype)
    if not str(moved.dtype).endswith(dtype):
        raise ValueError(
            f"`dtype` must be one that the problem's library keeps; got {dtype!r} and it made "
            f"{moved.dtype} (JAX: set jax_enable_x64)."
        )
    return moved


def _plan(problem: Problem, settings: Settings, alpha: Array, beta: Array) -> Plan:
    """Return the cells with their start."""
    n = problem.num_samples
    log_w0 = uniform_log_weights(n)
    if settings.w0 is not None:
        log_w0 = np.log(checks.simplex_weights("w0", settings.w0, n))
    if settings.theta0 is None:
        where = {"dtype": problem.dtype, "device": problem.device}
        start = to_numpy(problem.initial_theta(problem.xp.asarray(np.exp(log_w0), **where)))
    else:
        start = checks.array("theta0", to_host(settings.theta0), shape=(problem.num_params,))
    dtype = str(problem.dtype).rpartition(".")[2]  # torch says torch.float64
    with np.errstate(over="ignore"):
        rho, eta = ((rate * settings.dt).astype(dtype) for rate in (alpha, beta))
    return Plan(rho, eta, settings.num_steps, settings.steps, start, log_w0)


def check_size(cells: int, problem: Problem, settings: Settings) -> None:
    """Refuse to keep more weights than ``max_bytes``."""
    bits = problem.xp.finfo(problem.dtype).bits
    size = cells * len(settings.steps) * problem.num_samples * bits // 8
    if size > settings.max_bytes:
        raise ValueError(
            f"`keep_weights` would store {size / 1e9:.3g} GB (`max_bytes`: "
            f"{settings.max_bytes / 1e9:.3g} GB): raise `max_bytes`, save fewer steps, or rebuild "
            "single cells with `weights`."
        )
