r"""Rest points of the frozen flow on a given face, by Newton's method, for every problem.

.. math::

    \Psi_S(w) = c\,\mathbf 1, \qquad \mathbf 1^\top w_S = 1, \qquad
    \frac{\partial\Psi_i}{\partial w_j} =
    \langle\nabla l_i,\, H^{-1}\nabla^2 l_j\, v\rangle .
"""

from __future__ import annotations

import numpy as np

from ...dynamics import Problem, checks
from ...dynamics.types import Array
from ..optimality import checked_problem, checked_support
from .point import FrozenRestPoint, describe, nowhere

__all__ = ["rest_point_on_face"]

STEPS = 50


def rest_point_on_face(
    problem: Problem, theta: Array, support: Array, w0: Array | None = None, *, tol: float = 1e-11
) -> FrozenRestPoint:
    r"""Return the rest point of the frozen flow with a given support, near given weights.

    Its ``gaps`` are the KKT certificate: the point attracts from outside its face iff they are
    negative off the support.

    Parameters
    ----------
    problem : Problem
        With a dense Hessian.
    theta : (p,)
        The frozen parameters.
    support : (k,) int
        The samples that have weight.
    w0 : (n,), optional
        Where Newton's method starts; its part on the support counts. Uniform when left out.
    tol : float
        Relative spread of Psi over the support at which it stops.

    Returns
    -------
    FrozenRestPoint
        With status ``"attracting"``, ``"unstable"``, ``"stationary"`` where grad F = 0, or
        ``"not_converged"`` where there is no rest point with positive weights, or too far.

    Raises
    ------
    ValueError, TypeError
        For a problem without a Hessian, a support that is not a list of distinct samples, or
        weights that vanish on it.
    """
    problem = checked_problem(problem, "rest_point_on_face", "hessian")
    theta = checks.data("theta", theta, shape=(problem.num_params,))
    chosen = checked_support(support, problem.num_samples)
    tol = checks.positive("tol", tol)
    start = np.ones(problem.num_samples) if w0 is None else checks.weights_like("w0", w0)
    if start.shape != (problem.num_samples,):
        raise ValueError(f"`w0` must have shape ({problem.num_samples},); got {start.shape}.")
    if (start[chosen] <= 0).any():
        raise ValueError("`w0` must be > 0 on the support.")
    w = np.zeros(problem.num_samples)
    start = start / start[chosen].max()  # so that the sum cannot overflow
    w[chosen] = start[chosen] / start[chosen].sum()
    gamma = problem.per_sample_grads(theta)[chosen]
    for _ in range(STEPS):
        v = problem.adjoint(theta, w)
        a = problem.per_sample_jvp(theta, v)
        mean = w @ a
        if np.abs(a[chosen] - mean).max() <= tol * np.abs(a).max():
            return describe(problem, theta, w, chosen, "", "")
        curvature = problem.per_sample_hvp(theta, v)[chosen]
        slope = -gamma @ problem.solve_columns(problem.hessian(theta, w), curvature.T)
        w[chosen] = _newton_step(w[chosen], a[chosen] - mean, slope)
    message = f"no rest point with these weights after {STEPS} Newton steps; start nearer to it."
    return nowhere(problem, "not_converged", message)


def _newton_step(w: Array, excess: Array, slope: Array) -> np.ndarray:
    """Return weights after a Newton step that goes at most 0.9 of the way to a zero weight.

    Duplicates make the system singular: then the step of least norm is meant.
    """
    k = w.size
    system = np.zeros((k + 1, k + 1))
    system[:k, :k], system[:k, k], system[k, :k] = slope, -1.0, 1.0
    # Unknowns relative to w: weights of very different size are equally important.
    system[:, :k] *= w
    size = np.abs(system[:k]).max() or 1.0
    system[:k] /= size
    system[:k, k] = -1.0
    target = np.append(-excess / size, 0.0)
    step = np.linalg.lstsq(system, target, rcond=1e-13)[0][:k]
    shrink = float((-step).max())
    moved = w * (1.0 + step * min(1.0, 0.9 / shrink if shrink > 0 else 1.0))
    return moved / moved.sum()
