r"""The flows, integrated to solver accuracy.

- :func:`integrate`, the warm-started flow: :math:`\theta' = -\alpha\nabla_\theta G`,
  :math:`w' = -\beta P(w)\Psi(\theta, w)`;
- :func:`integrate_exact`, the mirror flow of h: :math:`w' = -\beta P(w)\Psi(\theta^\star(w), w)`;
- :func:`integrate_frozen`: :math:`w' = -\beta P(w)\Psi(\theta, w)` at a fixed theta.

``alpha`` and ``beta`` are speeds, so t is in units of their inverse. The state is log w, in full
coordinates or in reduced ones (theory T8 and T4), whichever is smaller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import checks
from .features import num_features
from .flows import (
    Flow,
    FrozenReduced,
    FullExact,
    FullFrozen,
    FullJoint,
    ReducedExact,
    ReducedJoint,
)
from .marching import march
from .namespaces import require_numpy
from .problems import LeastSquares, Problem
from .simplex import uniform_log_weights
from .trajectory import Trajectory
from .types import Array

__all__ = ["integrate", "integrate_exact", "integrate_frozen"]

COORDINATES = ("auto", "full", "reduced")


def integrate(
    problem: Problem,
    *,
    alpha: float = 1.0,
    beta: float = 10.0,
    t_span: tuple[float, float] = (0.0, 50.0),
    rtol: float = 1e-8,
    atol: float = 1e-10,
    t_eval: Sequence[float] | Array | None = None,
    num_saved: int = 1001,
    theta0: Array | None = None,
    w0: Array | None = None,
    coordinates: str = "auto",
    max_evaluations: int | None = None,
    rest_tol: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    r"""Integrate the warm-started flow of [IA23] section 3.

    .. math::

        \theta' = -\alpha\,\nabla_\theta G(\theta, w), \qquad w' = -\beta\,P(w)\,\Psi(\theta, w).

    Parameters
    ----------
    problem : Problem
        With NumPy arrays.
    alpha, beta : float
        Speeds of theta and of the weights, >= 0, per unit of t.
    t_span : (float, float)
        Start and end.
    rtol, atol : float
        Local tolerances of the integrator on theta and log w.
    t_eval : (k,), optional
        Times to save at, increasing, within ``t_span``. Left out, accepted steps are kept, thinned
        to at most ``num_saved`` (fewer where they would take more than 256 MB), both ends included.
        A run that ends before ``t_span[1]`` always adds the state that it ended at.
    num_saved : int
    theta0 : (p,), optional
        Start of theta; ``problem.initial_theta(w0)`` when left out.
    w0 : (n,), optional
        Start of the weights, positive; uniform when left out.
    coordinates : {"auto", "full", "reduced"}
        ``"reduced"`` is (theta, U) of theory T8, for LeastSquares; ``"auto"`` takes it where
        p(p+3)/2 < n.
    max_evaluations : int, optional
        Cap on right-hand sides; 10 million when left out.
    rest_tol : float, optional
        Stop, with status ``converged``, once the largest of ``|grad G|`` and ``max_i (c - Psi_i)``
        is at most this.
    progress : callable, optional
        Called with the share of ``t_span`` that is done, between 0 and 1, some thousand times.

    Returns
    -------
    Trajectory
        Its ``status`` says how the run ended. LSODA with an analytic Jacobian integrates
        LeastSquares (up to 2000 state variables); other problems use DOP853 and end with ``stiff``
        when that would take too long.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, before any work.
    """
    alpha, beta = checks.nonnegative("alpha", alpha), checks.nonnegative("beta", beta)
    log_w0 = start_weights(problem, w0, "integrate")
    tol = _adjoint_tolerance(rtol)
    options = march_options(t_span, rtol, atol, t_eval, num_saved, max_evaluations, rest_tol)
    reduced = _use_reduced(problem, coordinates)
    theta0 = start_theta(problem, theta0, log_w0)
    if isinstance(problem, LeastSquares) and reduced:
        flow: Flow = ReducedJoint(problem, alpha, beta, theta0, log_w0)
    else:
        flow = FullJoint(problem, alpha, beta, theta0, log_w0, tol)
    settings = {"kind": "warm-started flow", "alpha": alpha, "beta": beta, "theta0": theta0}
    return _run(problem, flow, log_w0, settings, options, progress)


def integrate_exact(
    problem: Problem,
    *,
    beta: float = 1.0,
    t_span: tuple[float, float] = (0.0, 50.0),
    rtol: float = 1e-8,
    atol: float = 1e-10,
    t_eval: Sequence[float] | Array | None = None,
    num_saved: int = 1001,
    w0: Array | None = None,
    coordinates: str = "auto",
    max_evaluations: int | None = None,
    rest_tol: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    r"""Integrate the exact bilevel flow, on which h decreases.

    .. math:: w' = -\beta\,P(w)\,\nabla h(w), \qquad dh/dt = -\beta\,\Psi^\top P(w)\,\Psi \le 0.

    The limit alpha >> beta of :func:`integrate` ([IA23] section 3.1); its arguments are those, less
    the ones of theta, which is solved for at every evaluation.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, or a problem without ``theta_star``.
    """
    beta = checks.nonnegative("beta", beta)
    log_w0 = start_weights(problem, w0, "integrate_exact")
    problem.require(("theta_star",), "integrate_exact")
    tol = _adjoint_tolerance(rtol)
    options = march_options(t_span, rtol, atol, t_eval, num_saved, max_evaluations, rest_tol)
    if isinstance(problem, LeastSquares) and _use_reduced(problem, coordinates):
        flow: Flow = ReducedExact(problem, beta, log_w0)
    else:
        flow = FullExact(problem, beta, log_w0, tol)
    settings = {"kind": "exact flow", "beta": beta}
    return _run(problem, flow, log_w0, settings, options, progress)


def integrate_frozen(
    problem: Problem,
    *,
    theta: Array,
    beta: float = 1.0,
    t_span: tuple[float, float] = (0.0, 50.0),
    rtol: float = 1e-8,
    atol: float = 1e-10,
    t_eval: Sequence[float] | Array | None = None,
    num_saved: int = 1001,
    w0: Array | None = None,
    coordinates: str = "auto",
    max_evaluations: int | None = None,
    rest_tol: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    r"""Integrate the weights at a frozen theta, the limit beta >> alpha ([IA23] section 3.2).

    .. math::

        \log w(t) = \log w(0) + \Gamma u(t) + \mathrm{const}, \qquad
        H(\theta, w(u))\,u' = \beta\,\nabla F(\theta).

    Parameters
    ----------
    theta : (p,)
        The frozen parameters.
    coordinates : {"auto", "full", "reduced"}
        ``"reduced"`` is u in R^p (theory T4), for every problem; ``"auto"`` takes it where p < n.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range.

    Notes
    -----
    The other arguments are those of :func:`integrate`.
    """
    beta = checks.nonnegative("beta", beta)
    log_w0 = start_weights(problem, w0, "integrate_frozen")
    theta = checks.array("theta", theta, shape=(problem.num_params,))
    checks.choice("coordinates", coordinates, COORDINATES)
    tol = _adjoint_tolerance(rtol)
    options = march_options(t_span, rtol, atol, t_eval, num_saved, max_evaluations, rest_tol)
    small = problem.num_params < problem.num_samples
    if coordinates == "reduced" or (coordinates == "auto" and small):
        flow: Flow = FrozenReduced(problem, theta, beta, log_w0, tol)
    else:
        flow = FullFrozen(problem, theta, beta, log_w0, tol)
    settings = {"kind": "frozen flow", "beta": beta, "theta0": theta}
    return _run(problem, flow, log_w0, settings, options, progress)


def start_weights(problem: Problem, w0: Array | None, who: str) -> np.ndarray:
    """Return the initial log-weights, after checking the problem."""
    if not isinstance(problem, Problem):
        raise TypeError(f"`problem` must be a Problem; got {type(problem).__name__}.")
    require_numpy(problem.xp, who)
    if problem.dtype != np.float64:
        raise ValueError(f"`problem` must be float64 for {who}; got {problem.dtype}.")
    if w0 is None:
        return uniform_log_weights(problem.num_samples)
    return np.log(checks.simplex_weights("w0", w0, problem.num_samples))


def start_theta(problem: Problem, theta0: Array | None, log_w0: Array) -> np.ndarray:
    if theta0 is None:
        return np.array(problem.initial_theta(np.exp(log_w0)))
    return checks.array("theta0", theta0, shape=(problem.num_params,))


def _use_reduced(problem: Problem, coordinates: str) -> bool:
    """Whether the flow runs in the coordinates of theory T8."""
    checks.choice("coordinates", coordinates, COORDINATES)
    quadratic = isinstance(problem, LeastSquares)
    if coordinates == "reduced" and not quadratic:
        raise ValueError(
            "`coordinates` must be 'auto' or 'full' for "
            f"{type(problem).__name__} (only LeastSquares has reduced ones here); got 'reduced'."
        )
    if coordinates == "auto":
        return quadratic and num_features(problem.num_params) < problem.num_samples
    return coordinates == "reduced"


def _adjoint_tolerance(rtol: Any) -> float:
    """Return the tolerance of inner solves: far below that of the integrator."""
    return max(1e-12, 1e-3 * checks.positive("rtol", rtol))


def march_options(
    t_span: Any,
    rtol: Any,
    atol: Any,
    t_eval: Any,
    num_saved: Any,
    max_evaluations: Any,
    rest_tol: Any,
) -> dict[str, Any]:
    """Return the checked arguments that :func:`march` takes."""
    span = checks.time_span("t_span", t_span)
    rtol = checks.positive("rtol", rtol)
    if not 1e-13 <= rtol < 1:
        raise ValueError(f"`rtol` must lie in [1e-13, 1); got {rtol}.")
    times = None
    if t_eval is not None:
        times = checks.array("t_eval", t_eval, shape=(None,))
        if (np.diff(times) <= 0).any():
            raise ValueError("`t_eval` must increase strictly.")
        if times[0] < span[0] or times[-1] > span[1]:
            raise ValueError(
                f"`t_eval` must lie in `t_span` {span}; got {times[0]} ... {times[-1]}."
            )
    return {
        "t_span": span,
        "rtol": rtol,
        "atol": checks.positive("atol", atol),
        "t_eval": times,
        "num_saved": checks.integer("num_saved", num_saved, minimum=2),
        "max_evaluations": None
        if max_evaluations is None
        else checks.integer("max_evaluations", max_evaluations, minimum=1),
        "rest_tol": None if rest_tol is None else checks.positive("rest_tol", rest_tol),
    }


def _run(
    problem: Problem,
    flow: Flow,
    log_w0: Array,
    settings: dict[str, Any],
    options: dict[str, Any],
    progress: Callable[[float], None] | None,
) -> Trajectory:
    """Integrate a flow and wrap what came out."""
    began = time.perf_counter()
    result = march(flow, **options, progress=progress)
    return Trajectory(
        t=result.t,
        theta=flow.theta(result.states),
        status=result.status,
        message=result.message,
        problem=problem,
        settings={**settings, **options, "w0": np.exp(log_w0), "coordinates": type(flow).__name__},
        num_evaluations=result.num_evaluations,
        states=result.states,
        log_weights_of=flow.log_weights,
        wall_seconds=time.perf_counter() - began,
    )
