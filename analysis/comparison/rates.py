r"""The same ratio of speeds for every method.

.. math:: R = \frac{\eta\,\mathrm{sd}_{w}(d)}{q},

with d the field that the method uses and q the share of an error of theta that one outer step
removes, both at :math:`(\theta^\star(w), w)`, w uniform. For `Joint` :math:`q = \rho\lambda_{\min}`
and R is :func:`~warmflow.analysis.rate_ratio` (theory section 8); for T inner steps
:math:`q = 1 - (1 - \rho\lambda_{\min})^T`; for `Exact` and `MAID`, which solve for theta, q = 1.
"""

from __future__ import annotations

from dataclasses import fields, replace
from math import lcm
from typing import Any

import numpy as np

from ...dynamics import Problem, checks
from ...dynamics.geometries import Geometry, Mirror
from ...dynamics.methods import BOREP, MAID, Exact, InnerLoop, Method, State
from ...dynamics.nesting import nested, with_knobs
from ...dynamics.run import check_parts
from ...dynamics.simplex import uniform_log_weights
from ...dynamics.types import Array
from ..outer_curvature import outer_curvature
from ..regime import softest_direction, spread_of

__all__ = [
    "eta_of_curvature",
    "eta_of_ratio",
    "inner_rate",
    "ratio_of_method",
    "speed_of",
]

DISPLACEMENT = 1e-3
"""Of theta, relative to its length or 1."""
MAX_PHASES = 10
"""Steps of a period at which errors are made."""
NUM_MEMORIES = 5
"""Times 1/(1 - momentum): inner steps until momentum from the first one is gone."""


def ratio_of_method(
    problem: Problem, method: Method, geometry: Geometry | None = None, theta: Array | None = None
) -> float:
    r"""Return :math:`R = \eta\,\mathrm{sd}_w(d)/q` of a method with a number for ``eta``.

    Parameters
    ----------
    theta : (p,), optional
        In place of theta_star of uniform weights.
    """
    *_, core = nested(method)
    eta = checks.nonnegative("eta", vars(core)["eta"])
    spread, q = speed_of(problem, method, geometry, theta)
    return eta * spread / q


def eta_of_ratio(
    problem: Problem,
    method: Method,
    ratio: Any,
    geometry: Geometry | None = None,
    theta: Array | None = None,
) -> np.ndarray:
    r"""Return the outer steps :math:`\eta = R q/\mathrm{sd}_w(d)` of ratios ``(...)``.

    Raises
    ------
    ValueError
        Where the field is constant, so that no step moves the weights, or theta does not return
        after a displacement.
    """
    ratios = np.asarray(ratio, dtype=float)
    spread, q = speed_of(problem, method, geometry, theta)
    return ratios * q / spread


def eta_of_curvature(
    problem: Problem,
    method: Method,
    multiple: Any,
    geometry: Geometry | None = None,
    theta: Array | None = None,
) -> np.ndarray:
    r"""Return outer steps that are multiples ``(...)`` of the inverse curvature of h.

    .. math:: \eta = \frac{c}{\kappa_{\max}}\,\frac{\mathrm{sd}_w(\Psi)}{\mathrm{sd}_w(d)},

    with :func:`~warmflow.analysis.outer_curvature` at :math:`(\theta^\star(w), w)`, w uniform, and
    d the field of the method in place of the exact :math:`\Psi`. Above c of about 2 the weights
    overshoot at the start, whatever the order of the updates (item ``good_band``).

    Raises
    ------
    ValueError
        Where the field is constant, or h is flat.
    """
    w = np.full(problem.num_samples, 1.0 / problem.num_samples)
    theta = problem.initial_theta(w) if theta is None else theta
    check_parts(problem, method, geometry)
    spread = _spread(problem, method, theta, w)
    kappa = outer_curvature(problem, w, theta)
    if not kappa > 0:
        raise ValueError(f"`problem` must have an h that curves along the weights; got {kappa}.")
    exact = spread_of(problem.hypergradient(theta, w, tol=1e-8), w)
    return np.asarray(multiple, dtype=float) * exact / (kappa * spread)


def speed_of(
    problem: Problem, method: Method, geometry: Geometry | None = None, theta: Array | None = None
) -> tuple[float, float]:
    """Return ``(sd_w(d), q)`` at (theta_star(w), w), w uniform.

    Raises
    ------
    ValueError
        Where either is not positive.
    """
    geometry = check_parts(problem, method, geometry)
    w = np.full(problem.num_samples, 1.0 / problem.num_samples)
    theta = problem.initial_theta(w) if theta is None else theta
    return _spread(problem, method, theta, w), inner_rate(problem, method, geometry, theta)


def inner_rate(
    problem: Problem, method: Method, geometry: Geometry | None = None, theta: Array | None = None
) -> float:
    r"""Return q, the share of an error of theta that one outer step removes.

    The method runs with ``eta = 0`` and uniform weights from theta and from theta plus a small
    multiple of the eigenvector of the smallest curvature. With :math:`\delta_k` the difference
    after k steps and K the period of the method, one step for most,

    .. math:: \frac1q = \sum_{k\ge0}\frac{|\delta_k|}{|\delta_0|}
        = \frac{\sum_{k<K} |\delta_k|}{|\delta_0| - |\delta_K|},

    the mean lifetime of an error, averaged over the step of the period at which it is made. With
    momentum the sum runs term by term until the first step is forgotten, and the closed form is
    that of the rest.

    Raises
    ------
    ValueError
        When the error does not decay.
    """
    *_, core = nested(method)
    if isinstance(core, Exact | MAID):
        return 1.0
    geometry = Mirror() if geometry is None else geometry
    log_w = uniform_log_weights(problem.num_samples)
    theta = problem.initial_theta(np.exp(log_w)) if theta is None else theta
    size = DISPLACEMENT * max(1.0, float(np.linalg.norm(theta)))
    direction = softest_direction(problem, theta, np.exp(log_w))[1]
    still = with_knobs(method, {"eta": 0.0, "num_warmup": 0})
    outer = geometry.start(log_w)
    repeats, early = _period(method), _memory(method)
    period = repeats * max(1, -(-early // repeats))
    lifetimes = []
    for phase in range(0, repeats, -(-repeats // MAX_PHASES)):
        pair = [
            _at_step(still.init(problem, geometry, start, outer, seed=0), phase)
            for start in (theta, theta + size * direction)
        ]
        errors = [float(np.linalg.norm(pair[1].theta - pair[0].theta))]
        for _ in range(early + period):
            pair = [still.step(problem, geometry, state) for state in pair]
            errors.append(float(np.linalg.norm(pair[1].theta - pair[0].theta)))
        if not errors[-1] < errors[0]:
            raise ValueError(
                f"an error of theta does not decay under {type(method).__name__} (from "
                f"{errors[0]:.1e} to {errors[-1]:.1e}); lower `rho`, or raise it from 0."
            )
        lifetimes.append(_lifetime(errors, early))
    return 1.0 / float(np.mean(lifetimes))


def _lifetime(errors: list[float], early: int) -> float:
    """Return the sum of all errors over the first; from `early` on they fall by period."""
    rest = errors[early:]
    kept = rest[-1] / rest[0] if rest[0] > 0 else 0.0
    tail = sum(rest[:-1]) / (1.0 - kept) if kept < 1 else sum(rest)
    return (sum(errors[:early]) + tail) / errors[0]


def _memory(method: Method) -> int:
    """Return after how many steps the first one is forgotten: 0 without momentum.

    A solve forgets everything, and ends the errors with it.
    """
    loop = next((part for part in nested(method) if isinstance(part, InnerLoop)), None)
    if loop is None or loop.optimiser != "momentum" or loop.resolve_every is not None:
        return 0
    memory = NUM_MEMORIES / (1.0 - float(np.max(loop.momentum)))
    return max(1, round(memory / loop.num_inner_steps))


def _period(method: Method) -> int:
    """Return after how many steps the steps of a method repeat their kind."""
    own = (
        part.period if isinstance(part, BOREP) else getattr(part, "resolve_every", None)
        for part in nested(method)
    )
    return lcm(*(period or 1 for period in own))


def _at_step(state: State, step: int) -> State:
    """Return a state, and those inside it, with another number of steps done."""
    inner = {
        f.name: _at_step(part, step)
        for f in fields(state)
        if isinstance(part := getattr(state, f.name), State)
    }
    return replace(state, step=step, **inner)  # type: ignore[arg-type]


def _spread(problem: Problem, method: Method, theta: Array, w: Array) -> float:
    """Return sd_w of the field that moves the weights, as the method normalises it; positive."""
    field = method.direction(problem, theta, w)
    *_, core = nested(method)
    if isinstance(core, BOREP):
        field = core.unit(problem, Mirror(), np.log(w), field)
    spread = spread_of(field, w)
    if not spread > 1e-14 * float(np.abs(field).max()):
        raise ValueError(
            f"the field of {type(method).__name__} is constant at the start ({spread:.1e}): no "
            "outer step moves the weights."
        )
    return spread
