r"""The entry point ``sweep``: check, run the engine tile by tile, label."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend as backends
from .. import checks, provenance
from ..namespaces import require_numpy
from ..problems import Problem
from ..simplex import uniform_log_weights
from ..statistics import THRESHOLDS, check_thresholds, describe
from ..types import Array
from . import compiled
from .cells import Cells, Plan
from .engines import Engine, make_engine
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
        With NumPy arrays.
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
        ``"auto"`` takes the fastest engine for the problem, ``"numpy"`` the plain reference; the
        provenance names the one that ran.
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
    require_numpy(problem.xp, "sweep")
    alpha, beta = check_rates("alpha", alpha), check_rates("beta", beta)
    steps = _save_steps(save_steps, checks.integer("num_steps", num_steps, minimum=1))
    chosen = backends.resolve(backend)
    problem = problem.to(dtype=checks.choice("dtype", dtype, ("float64", "float32")))
    thresholds, dt = check_thresholds(thresholds), checks.positive("dt", dt)
    max_bytes = checks.positive("max_bytes", max_bytes)
    if checks.flag("keep_weights", keep_weights):
        _check_size(alpha.size * beta.size, len(steps), problem, max_bytes)
    plan = _plan(problem, alpha, beta, dt, num_steps, steps, theta0, w0)
    if chosen == "compiled" and compiled.suits(problem):
        table = compiled.run(problem, plan, keep_weights, thresholds, progress)
    else:
        chosen, engine = make_engine(problem, plan, is_plain=chosen == "numpy")
        table = _run(engine, problem, plan, keep_weights, thresholds, progress)
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
        "backend": chosen,
        "dtype": dtype,
    }
    record = provenance.record(config, dtype=dtype, wall_seconds=time.perf_counter() - began)
    log_w0 = None if w0 is None else plan.log_w0
    has_steps = save_steps is not None
    return label(table, alpha, beta, dt, steps if has_steps else None, thresholds, log_w0, record)


def check_rates(name: str, value: Any) -> np.ndarray:
    """Return distinct rates >= 0 as a vector."""
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
    log_w0 = uniform_log_weights(n) if w0 is None else np.log(checks.simplex_weights("w0", w0, n))
    if theta0 is None:
        start = np.asarray(problem.initial_theta(np.exp(log_w0).astype(problem.dtype)))
    else:
        start = checks.array("theta0", theta0, shape=(problem.num_params,))
    rho, eta = np.meshgrid(alpha * dt, beta * dt, indexing="ij")
    dtype = problem.dtype
    return Plan(
        rho.ravel().astype(dtype), eta.ravel().astype(dtype), num_steps, steps, start, log_w0
    )


def _check_size(cells: int, saves: int, problem: Problem, max_bytes: float) -> None:
    """Refuse to keep more weights than ``max_bytes``."""
    size = cells * saves * problem.num_samples * np.dtype(problem.dtype).itemsize
    if size > max_bytes:
        raise ValueError(
            f"`keep_weights` would store {size / 1e9:.3g} GB (`max_bytes`: {max_bytes / 1e9:.3g} "
            "GB): raise `max_bytes`, save fewer steps, or rebuild single cells with `weights`."
        )


def _run(
    engine: Engine,
    problem: Problem,
    plan: Plan,
    keep_weights: bool,
    thresholds: tuple[float, ...],
    progress: Callable[[float], None] | None,
) -> dict[str, np.ndarray]:
    """Run all cells, tile by tile; return arrays ``(B, saves, ...)``."""
    num_cells, num_saves = plan.rho.size, len(plan.save_steps)
    table: dict[str, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for start in range(0, num_cells, engine.tile):
            index = np.arange(start, min(start + engine.tile, num_cells))

            def report(share: float, start: int = start, size: int = index.size) -> None:
                if progress is not None:
                    progress((start + size * share) / num_cells)

            for k, (_, cells) in enumerate(engine.advance(index, progress and report)):
                for name, values in _snapshot(problem, cells, keep_weights, thresholds).items():
                    if name not in table:
                        table[name] = np.empty(
                            (num_cells, num_saves, *values.shape[1:]), values.dtype
                        )
                    table[name][index, k] = values
            report(1.0)
    table["status"], table["last_step"] = table["status"][:, -1], table["last_step"][:, -1]
    return table


def _snapshot(
    problem: Problem, cells: Cells, keep_weights: bool, thresholds: tuple[float, ...]
) -> dict[str, np.ndarray]:
    """Return the variables of a tile at one saved step."""
    w = np.exp(cells.log_w)
    out = describe(problem, cells.theta, w, thresholds, outer_loss=True)
    out["theta"] = cells.theta
    if cells.U is not None:
        out["U"] = cells.U
    if keep_weights:
        out["w"] = w
    return {**out, "status": cells.status, "last_step": cells.last_step}
