r"""The entry point ``sweep``: check, let an engine run, label."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend as backends
from .. import checks, provenance
from ..namespaces import to_host, to_numpy
from ..problems import Problem
from ..simplex import uniform_log_weights
from ..statistics import THRESHOLDS, check_thresholds
from ..types import Array
from .cells import Plan
from .engines import Work, run
from .labels import label

if TYPE_CHECKING:
    import xarray

__all__ = ["check_rates", "sweep"]


def sweep(
    problem: Problem,
    *,
    alpha: Any,
    beta: Any,
    dt: float = 1.0,
    num_steps: int = 3000,
    theta0: Array | None = None,
    w0: Array | None = None,
    backend: str = "auto",
    dtype: str = "float64",
    save_steps: int | Sequence[int] | None = None,
    keep_weights: bool = False,
    thresholds: Sequence[float] = THRESHOLDS,
    max_bytes: float = 2e9,
    progress: Callable[[float], None] | None = None,
) -> xarray.Dataset:
    r"""Run the warm-started algorithm on a grid of rates.

    .. math::

        \theta^+ = \theta - \rho\,\nabla_\theta G(\theta, w), \qquad
        \log w^+ = \log w - \eta\,\Psi(\theta, w) + \mathrm{const}, \qquad
        \rho = \alpha\,dt,\ \eta = \beta\,dt,

    both right-hand sides at the old state, for every cell (alpha, beta) from the same start.

    Parameters
    ----------
    problem : Problem
        Of any array library.
    alpha, beta : float or (a,), (b,)
        Speeds of theta and of the weights, >= 0, per unit of time.
    dt : float
        Length of one Euler step in units of time.
    num_steps : int
    theta0 : (p,), optional
        ``problem.initial_theta(w0)`` when left out.
    w0 : (n,), optional
        Positive weights; uniform when left out.
    backend : {"auto", "numpy", "cupy", "torch"}
        ``"auto"`` takes a GPU if a probe of CuPy succeeds, else the fastest engine for the problem
        on the CPU, and leaves a problem on torch, CuPy or JAX arrays where it is; ``"numpy"`` is
        the plain reference; ``"torch"`` takes a CUDA device that works, else the CPU. The problem
        is moved where it has to be; ``engine`` in the provenance says who computed, and where.
    dtype : {"float64", "float32"}
    save_steps : int or sequence of int, optional
        Adds the dimension ``step``: every so many steps, start and end included, or exactly the
        given ones. Left out, only the end is kept.
    keep_weights : bool
        Whether to store the weights of every cell; see also :func:`weights`.
    thresholds : sequence of float
        Relative thresholds at which ``support`` is counted.
    max_bytes : float
        Largest size of the stored weights; more is refused.
    progress : callable, optional
        Called with the share of the work that is done, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        Over ``(alpha, beta[, step])``: ``theta, ess, entropy, support, val_loss, outer_loss,
        [test_loss], [test_accuracy], [clean_mass], [w], [U], status, last_step``. A cell that
        diverges keeps its last good state, carries its status, and harms no other.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, an unavailable backend, or too large a request.
    """
    began = time.perf_counter()
    if not isinstance(problem, Problem):
        raise TypeError(f"`problem` must be a Problem; got {type(problem).__name__}.")
    alpha, beta = check_rates("alpha", alpha), check_rates("beta", beta)
    steps = _save_steps(save_steps, checks.integer("num_steps", num_steps, minimum=1))
    dtype = checks.choice("dtype", dtype, ("float64", "float32"))
    chosen = backends.resolve(backend, problem)
    problem = _in_dtype(problem, dtype)
    thresholds, dt = check_thresholds(thresholds), checks.positive("dt", dt)
    max_bytes = checks.positive("max_bytes", max_bytes)
    if checks.flag("keep_weights", keep_weights):
        _check_size(alpha.size * beta.size, len(steps), problem, max_bytes)
    plan = _plan(problem, alpha, beta, dt, num_steps, steps, theta0, w0)
    work = Work(problem, plan, keep_weights, thresholds, progress)
    engine, table = run(work, chosen)
    config = {
        "problem": repr(problem),
        "data": problem.fingerprint(),
        "alpha": alpha,
        "beta": beta,
        "dt": dt,
        "num_steps": num_steps,
        "save_steps": list(steps),
        "theta0": plan.theta0,
        "w0": None if w0 is None else np.exp(plan.log_w0),
        "backend": engine,
        "dtype": dtype,
    }
    seconds = time.perf_counter() - began
    record = provenance.record(config, dtype=dtype, device=chosen.label, wall_seconds=seconds)
    record["engine"] = "; ".join(
        part for part in (f"{engine} on {chosen.label}", chosen.note) if part
    )
    log_w0 = None if w0 is None else plan.log_w0
    has_steps = save_steps is not None
    return label(table, alpha, beta, dt, steps if has_steps else None, thresholds, log_w0, record)


def _in_dtype(problem: Problem, dtype: str) -> Problem:
    """Return the problem in a dtype; JAX makes float32 of float64 unless told otherwise."""
    moved = problem.to(dtype=dtype)
    if not str(moved.dtype).endswith(dtype):
        raise ValueError(
            f"`dtype` must be one that the problem's library keeps; got {dtype!r} and it made "
            f"{moved.dtype} (JAX: set jax_enable_x64)."
        )
    return moved


def check_rates(name: str, value: Any) -> np.ndarray:
    """Return distinct rates >= 0 as a vector."""
    value = to_host(value)
    if _is_scalar(value):
        value = [checks.real(name, value)]
    rates = checks.array(name, value, shape=(None,))
    if rates.min() < 0:
        raise ValueError(f"`{name}` must be >= 0; got {rates.min()}.")
    if np.unique(rates).size < rates.size:
        raise ValueError(f"`{name}` must hold distinct rates; got one twice.")
    return rates


def _is_scalar(value: Any) -> bool:
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    return not is_sequence and getattr(value, "ndim", 0) == 0


def _save_steps(value: Any, num_steps: int) -> tuple[int, ...]:
    """Return the increasing steps to record."""
    if value is None:
        return (num_steps,)
    if _is_scalar(value):
        every = checks.integer("save_steps", value, minimum=1)
        return tuple(sorted({*range(0, num_steps + 1, every), num_steps}))
    steps = sorted({checks.integer("save_steps", item, minimum=0) for item in value})
    if not steps or steps[-1] > num_steps:
        shown = steps[-1] if steps else "none"
        raise ValueError(f"`save_steps` must hold steps in 0 ... {num_steps}; got {shown}.")
    return tuple(steps)


def _plan(
    problem: Problem,
    alpha: Array,
    beta: Array,
    dt: float,
    num_steps: int,
    steps: tuple[int, ...],
    theta0: Array | None,
    w0: Array | None,
) -> Plan:
    """Return the flattened grid with its start."""
    n = problem.num_samples
    log_w0 = uniform_log_weights(n)
    if w0 is not None:
        log_w0 = np.log(checks.simplex_weights("w0", to_host(w0), n))
    if theta0 is None:
        where = {"dtype": problem.dtype, "device": problem.device}
        start = to_numpy(problem.initial_theta(problem.xp.asarray(np.exp(log_w0), **where)))
    else:
        start = checks.array("theta0", to_host(theta0), shape=(problem.num_params,))
    rho, eta = np.meshgrid(alpha * dt, beta * dt, indexing="ij")
    dtype = str(problem.dtype).rpartition(".")[2]  # torch says torch.float64
    with np.errstate(over="ignore"):
        rho, eta = (rate.ravel().astype(dtype) for rate in (rho, eta))
    return Plan(rho, eta, num_steps, steps, start, log_w0)


def _check_size(cells: int, saves: int, problem: Problem, max_bytes: float) -> None:
    """Refuse to keep more weights than ``max_bytes``."""
    size = cells * saves * problem.num_samples * problem.xp.finfo(problem.dtype).bits // 8
    if size > max_bytes:
        raise ValueError(
            f"`keep_weights` would store {size / 1e9:.3g} GB (`max_bytes`: {max_bytes / 1e9:.3g} "
            "GB): raise `max_bytes`, save fewer steps, or rebuild single cells with `weights`."
        )
