r"""The entry point ``integrate_grid``: check, integrate the cells, describe, label."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import provenance
from ..features import quadratic_features
from ..integrate import march_options, start_theta, start_weights
from ..problems import LeastSquares, Problem
from ..simplex import normalise_log
from ..statistics import THRESHOLDS, check_thresholds, describe
from ..sweeps.labels import label_grid
from ..sweeps.settings import check_rates
from ..types import Array

if TYPE_CHECKING:
    import xarray

__all__ = ["integrate_grid"]

MAX_PARAMS = 30
MAX_EVALUATIONS = 10_000_000
TILE_BYTES = 32e6
"""Size of the weights that are described at a time."""


def integrate_grid(
    problem: Problem,
    *,
    alpha: Any,
    beta: Any,
    t_span: tuple[float, float] = (0.0, 50.0),
    rtol: float = 1e-8,
    atol: float = 1e-10,
    t_eval: Sequence[float] | Array | None = None,
    theta0: Array | None = None,
    w0: Array | None = None,
    max_evaluations: int | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    progress: Callable[[float], None] | None = None,
) -> xarray.Dataset:
    r"""Integrate the warm-started flow of least squares on a grid of speeds.

    .. math::

        \theta' = -\alpha\,\nabla_\theta G(\theta, w), \qquad w' = -\beta\,P(w)\,\Psi(\theta, w),

    for every cell (alpha, beta) from the same start, in the coordinates (theta, U) of theory T8,
    each cell with steps of its own: the compiled counterpart of one
    :func:`~warmflow.dynamics.integrate` after another.

    Parameters
    ----------
    problem : LeastSquares
        With NumPy arrays in float64, and at most 30 parameters.
    alpha, beta : float or (a,), (b,)
        Speeds of theta and of the weights, >= 0, per unit of t.
    t_span : (float, float)
        Start and end.
    rtol, atol : float
        Local tolerances of the integrator on theta and log w.
    t_eval : (k,), optional
        Times to save at, increasing, within ``t_span``; its end when left out. They do not change
        the steps.
    theta0 : (p,), optional
        Start of theta; ``problem.initial_theta(w0)`` when left out.
    w0 : (n,), optional
        Start of the weights, positive; uniform when left out.
    max_evaluations : int, optional
        Cap on right-hand sides in each cell; 10 million when left out.
    thresholds : sequence of float
        Relative thresholds at which ``support`` is counted.
    progress : callable, optional
        Called with the share of the cells that is done, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        Over ``(alpha, beta, time)``: ``theta, U, ess, entropy, support, val_loss, outer_loss,
        [test_loss], [clean_mass]``; over ``(alpha, beta)``: ``status, last_time,
        num_evaluations``. From the end of a cell that fails on, its last good state stands, with
        the time of it in ``last_time``; it harms no other. Its ``status`` is ``max_evaluations``
        (raise the cap), ``diverged`` or ``nonfinite``, ``underflow`` (the inner Hessian lost rank:
        a ridge prevents that), or ``stiff`` (no step was short enough: loosen ``rtol``).
        :func:`~warmflow.dynamics.weights` gives the weights ``(time, n)`` of a cell.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, before any work.

    Notes
    -----
    Rodas5P, an L-stable Rosenbrock method of order 5 with the analytic Jacobian (G. Steinebach, BIT
    Numerical Mathematics 63:27, 2023), and a PI step controller; stiff cells (beta/alpha >= 100)
    need no other method. Features ``(n, p(p+3)/2)`` are kept twice in memory. The first call after
    installation compiles for some seconds.

    Examples
    --------
    >>> import numpy as np
    >>> from warmflow.dynamics import LeastSquares, integrate_grid, weights
    >>> rng = np.random.default_rng(0)
    >>> X, X_val = rng.normal(size=(50, 2)), rng.normal(size=(20, 2))
    >>> problem = LeastSquares(X, X.sum(axis=1), X_val, X_val[:, 0], ridge=1e-2)
    >>> ds = integrate_grid(problem, alpha=[0.1, 1.0], beta=[1.0, 10.0, 100.0], t_span=(0.0, 5.0))
    >>> dict(ds.theta.sizes)
    {'alpha': 2, 'beta': 3, 'time': 1, 'param': 2}
    >>> weights(ds, problem, alpha=1.0, beta=10.0).shape
    (1, 50)
    """
    began = time.perf_counter()
    log_w0 = start_weights(problem, w0, "integrate_grid")
    if not isinstance(problem, LeastSquares):
        raise TypeError(
            "`problem` must be LeastSquares (the only one with reduced coordinates; others one by "
            f"one with `integrate`); got {type(problem).__name__}."
        )
    if problem.num_params > MAX_PARAMS:
        raise ValueError(
            f"`problem` must have at most {MAX_PARAMS} parameters (more: one by one with "
            f"`integrate`); got {problem.num_params}."
        )
    alpha, beta = check_rates("alpha", alpha), check_rates("beta", beta)
    options = march_options(t_span, rtol, atol, t_eval, 2, max_evaluations, None)
    if t_eval is None:
        options["t_eval"] = np.array([options["t_span"][1]])
    if max_evaluations is None:
        options["max_evaluations"] = MAX_EVALUATIONS
    theta0 = start_theta(problem, theta0, log_w0)
    thresholds = check_thresholds(thresholds)
    table = _table(problem, alpha, beta, theta0, log_w0, options, thresholds, progress)
    times = options["t_eval"]
    config = {
        "problem": repr(problem),
        "data": problem.fingerprint(),
        "dtype": "float64",
        "alpha": alpha,
        "beta": beta,
        "t_span": options["t_span"],
        "rtol": options["rtol"],
        "atol": options["atol"],
        "t_eval": times,
        "max_evaluations": options["max_evaluations"],
        "theta0": theta0,
        "w0": None if w0 is None else np.exp(log_w0),
        "method": "Rodas5P",
    }
    record = provenance.record(config, wall_seconds=time.perf_counter() - began)
    coords = {"time": ("time", times, {"long_name": "time", "units": "time"})}
    start = None if w0 is None else log_w0
    return label_grid(
        table, {"alpha": alpha, "beta": beta}, "time", coords, thresholds, start, record
    )


def _table(
    problem: LeastSquares,
    alpha: Array,
    beta: Array,
    theta0: Array,
    log_w0: Array,
    options: dict[str, Any],
    thresholds: tuple[float, ...],
    progress: Callable[[float], None] | None,
) -> dict[str, np.ndarray]:
    """Return arrays ``(B, T, ...)``."""
    from .run import run_cells

    alphas, betas = np.meshgrid(alpha, beta, indexing="ij")
    table = run_cells(problem, alphas.ravel(), betas.ravel(), theta0, log_w0, options, progress)
    features = quadratic_features(problem.X, problem.y)
    shape = table["U"].shape[:2]
    U, theta = (table[name].reshape(shape[0] * shape[1], -1) for name in ("U", "theta"))
    tile = max(1, int(TILE_BYTES / (8 * problem.num_samples)))
    parts = []
    with np.errstate(all="ignore"):  # of cells that failed
        for first in range(0, len(U), tile):
            rows = slice(first, first + tile)
            w = np.exp(normalise_log(log_w0 + U[rows] @ features.T))
            parts.append(describe(problem, theta[rows], w, thresholds, outer_loss=True))
    described = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: x.reshape(*shape, *x.shape[1:]) for name, x in described.items()} | table
