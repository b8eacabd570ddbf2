"""What must be reported for any run (theory section 5), as one Dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..dynamics import Trajectory, checks
from ..dynamics.problems import DENSE_LIMIT
from .optimality import checked_problem, kkt_residual, theta_error

if TYPE_CHECKING:
    import xarray

__all__ = ["run_report"]


def run_report(run: Trajectory, num_points: int = 101) -> xarray.Dataset:
    r"""Return the state of a run and its distance to a solution at some of its saved points.

    Beside the statistics of :meth:`Trajectory.to_xarray` (without the weights): ``outer_loss``
    :math:`h(w)`, ``test_loss_star`` (test risk of :math:`\theta^\star(w)`), ``theta_error``
    :math:`|\theta - \theta^\star(w)|`, ``kkt_residual`` of h, ``condition`` (of H, where
    dense), and the test risk of the model retrained on the weights averaged over the run so far,
    ``test_loss_averaged``.

    Parameters
    ----------
    run : Trajectory
        A single run of a problem with ``theta_star``.
    num_points : int
        At most so many saved points, evenly spaced, both ends included.

    Raises
    ------
    ValueError, TypeError
        For a run with leading axes, or a problem without ``theta_star``.
    """
    if not isinstance(run, Trajectory):
        raise TypeError(f"`run` must be a Trajectory; got {type(run).__name__}.")
    problem = checked_problem(run.problem.to(xp=np), "run_report", "theta_star")
    if run.theta.ndim != 2:
        raise ValueError(f"`run` must be a single run; got leading axes {run.theta.shape[1:-1]}.")
    count = checks.integer("num_points", num_points, minimum=2)
    rows = np.unique(np.linspace(0, len(run) - 1, count).round().astype(int))
    out = run.to_xarray(weights=False).isel({run.time_name: rows})
    columns: dict[str, list[float]] = {}
    average = np.zeros(problem.num_samples)
    for k in rows:
        w = np.exp(run.log_weights(k))
        w = w / w.sum()
        average = average + w
        theta = run.theta[k]
        star = problem.theta_star(w, theta)
        values = {
            "outer_loss": float(problem.val_loss(star)),
            "theta_error": float(theta_error(problem, theta, w)),
            "kkt_residual": float(kkt_residual(problem, w, theta)),
        }
        if "hessian" in problem.capabilities and problem.num_params <= DENSE_LIMIT:
            values["condition"] = float(np.linalg.cond(problem.hessian(theta, w)))
        if problem.has_test:
            averaged = problem.theta_star(average / average.sum(), star)
            values["test_loss_star"] = float(problem.test_loss(star))
            values["test_loss_averaged"] = float(problem.test_loss(averaged))
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    return out.assign({name: (run.time_name, data) for name, data in columns.items()})
