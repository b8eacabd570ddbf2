"""What a trainer logs at some of its steps, and the warning while there is time."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackError

from ...dynamics import ConvergenceError
from ...dynamics.methods import Method
from ...dynamics.methods.base import step_size
from ...dynamics.namespaces import to_numpy
from ...dynamics.simplex import ess
from ...dynamics.torch_bridge import TorchProblem
from ...dynamics.types import Array
from ..diagnosis import collapse_size
from ..optimality import metric_cosine
from ..regime import smallest_curvature, spread_of
from .log import Log

__all__ = ["CollapseWarning", "collapse_ahead", "rates_of", "regime_at"]


FAULTS = (ConvergenceError, np.linalg.LinAlgError, ArpackError)
"""What an analysis of one point may fail with; a training run goes on."""
NEAR = 4.0
"""How many times the size of a collapse is near: weights that drop bad samples fall as well."""


class CollapseWarning(UserWarning):
    """The weights are on their way to a few samples."""


def regime_at(
    problem: TorchProblem, method: Method, theta: Array, w: Array, rho: float, eta: float
) -> dict[str, float]:
    r"""Return the regime and the honesty of the field at one point.

    ``curvature`` is :math:`\lambda_{\min}(H)`. Where it is positive, ``cosine`` is that between the
    field that the method uses and the exact :math:`\Psi(\theta, w)` (by conjugate gradients to
    1e-6), in the metric P(w); elsewhere theta is near no minimiser that could respond to the
    weights, and it is NaN. ``R`` is
    :math:`\eta\,\mathrm{sd}_w(g) / (\rho\,\max(\lambda_{\min}, \lambda))` with g the used field:
    the ridge stands in for a curvature that is not positive. NaN where an inner solve fails.
    """
    weights = to_numpy(w).astype(np.float64)
    out = dict.fromkeys(("R", "curvature", "cosine"), float("nan"))
    try:
        used = to_numpy(method.direction(problem, theta, w)).astype(np.float64)
        host, point = problem.to(xp=np), to_numpy(theta).astype(np.float64)
        curvature = smallest_curvature(host, point, weights)
    except FAULTS:
        return out
    floor = max(curvature, problem.ridge)
    speed = eta * spread_of(used, weights)
    out |= {"R": speed / (rho * floor) if floor > 0 else float("inf"), "curvature": curvature}
    if curvature > 0:
        try:
            exact = to_numpy(problem.hypergradient(theta, w, tol=1e-6)).astype(np.float64)
        except FAULTS:
            return out
        out["cosine"] = float(metric_cosine(weights, used, exact))
    return out


def collapse_ahead(log: Log, eta: float) -> str | None:
    """Return a warning when the weights have collapsed or are about to; None otherwise.

    Collapsed is what :func:`..diagnose` calls so. About to: the effective sample size is within
    four times of that, has fallen at each of the last two logged steps, and at its present rate (of
    its logarithm) gets there within the run. The text names the largest R so far.

    Parameters
    ----------
    log : Log
        Of the run so far.
    eta : float
        The outer step.
    """
    steps, n = log.steps, log.log_weights[-1].size
    sizes = np.asarray(ess(np.exp(np.stack(log.log_weights[-3:]))))
    small = collapse_size(n)
    state = f"effective sample size {sizes[-1]:.3g} of {n} at step {steps[-1]}"
    if sizes[-1] <= small:
        text = f"weights have collapsed: {state}"
    elif len(sizes) < 3 or not sizes[0] > sizes[1] > sizes[2] or sizes[2] > NEAR * small:
        return None
    else:
        rate = np.log(sizes[1] / sizes[2]) / (steps[-1] - steps[-2])
        arrival = steps[-1] + np.log(sizes[2] / small) / rate
        if arrival > log.num_steps:
            return None
        text = f"weights are collapsing: {state}, {small:.3g} by step {int(arrival)}"
    ratios = log.columns()["R"]
    ratio = float(np.nanmax(ratios)) if np.isfinite(ratios).any() else float("nan")
    if np.isnan(eta):
        return f"{text}; more validation samples, a larger batch or `ridge` may help."
    if ratio > 1.0 and np.isfinite(ratio):
        return f"{text}; R = {ratio:.3g}; lower `eta` below {eta / ratio:.3g}."
    return f"{text}; R = {ratio:.3g}; lower `eta` ({eta:.3g}), or do more inner steps per step."


def rates_of(problem: TorchProblem, method: Method) -> tuple[float, float]:
    """Return the inner and the outer step of a method (NaN where it has no outer one).

    Raises
    ------
    ValueError
        For a method without an inner step, or with rates over leading axes.
    """
    name = type(method).__name__
    if not hasattr(method, "rho"):
        raise ValueError(f"`method` must have an inner step `rho`; {name} has none.")
    rho: Any = method.rho
    eta: Any = getattr(method, "eta", None)
    if np.ndim(rho) or np.ndim(eta):
        raise ValueError(f"`method` must have single numbers as rates in a trainer; got {method}.")
    rho = step_size(problem, rho)
    if not rho > 0:
        raise ValueError(f"`method` must have `rho` > 0 in a trainer; got {rho}.")
    return float(rho), float("nan") if eta is None else float(eta)
