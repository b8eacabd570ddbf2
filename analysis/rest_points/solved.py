r"""Solved points: theta is optimal on the target law, and many weights hold it there.

At a solved point of the warm-started flow (theory T6 a) the weights are any point of a polytope,

.. math::

    \nabla F(\hat\theta) = 0, \qquad
    \mathcal P(\hat\theta) = \{w \ge 0 : \textstyle\sum_i w_i = 1,\;
    \sum_i w_i\, g_i = 0\}, \qquad
    g_i = \nabla l_i(\hat\theta) + \lambda\hat\theta .

It is empty exactly when some direction descends all criteria at once
(:func:`~warmflow.analysis.rest_points.depth.separating_direction`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, linprog
from scipy.special import logsumexp

from ...dynamics import LeastSquares, Problem, checks
from ...dynamics.simplex import normalise_log
from ...dynamics.status import ConvergenceError
from ...dynamics.types import Array
from ..optimality import checked_problem
from .depth import criterion_gradients, separating_direction
from .units import column_sizes, least_norm_solution

__all__ = ["is_solvable", "max_entropy_weights", "solved_theta", "solved_vertex"]

ZERO = 1e-12
"""Weights of a basic solution below this are the zero of a degenerate vertex."""
HELD = 1e-6
"""Residual of the constraint, relative to the largest in each column, that a vertex may have: ten
times the tolerance of the linear program."""
INFEASIBLE = 2
"""What linprog calls a problem without feasible points."""


def solved_theta(problem: Problem) -> np.ndarray:
    r"""Return the minimiser of the outer objective.

    .. math:: \nabla F(\hat\theta) = 0

    Theory T6 (a). Where the validation rows do not span, the solution of minimum norm.

    Parameters
    ----------
    problem : LeastSquares

    Returns
    -------
    (p,)

    Raises
    ------
    TypeError
        For another problem: its F need not have a minimiser.
    """
    if not isinstance(problem, LeastSquares):
        raise TypeError(f"`problem` must be LeastSquares; got {type(problem).__name__}.")
    checked_problem(problem, "solved_theta")
    return least_norm_solution(problem.X_val, problem.y_val)


def is_solvable(problem: Problem, theta: Array | None = None) -> bool:
    """Return whether some weights make ``theta`` the inner minimiser: a linear program.

    Parameters
    ----------
    problem : Problem
    theta : (p,), optional
        ``solved_theta(problem)`` when left out.
    """
    g = _scaled_criteria(problem, theta)
    return _program(g, np.zeros(len(g))).status == 0


def solved_vertex(problem: Problem, theta: Array | None, direction: Array) -> np.ndarray:
    r"""Return the vertex of the polytope of solved weights that minimises a linear function.

    .. math:: \min_w\ \langle d, w\rangle \quad\text{subject to}\quad w \in \mathcal P(\theta)

    A basic solution of the dual simplex method, refined on its support: its zeros are exact, and at
    most p + 1 weights are positive (Caratheodory; theory T6 a). Random directions sample vertices,
    means of vertices the inside of the polytope.

    Parameters
    ----------
    problem : Problem
    theta : (p,), optional
        Where the weights shall hold the parameters; None means ``solved_theta(problem)``.
    direction : (n,)
        The vector d.

    Returns
    -------
    (n,)
        Normalised weights.

    Raises
    ------
    ValueError
        For a direction of the wrong shape, or when no weights hold theta.
    ConvergenceError
        When the linear program does not end, or its vertex does not hold theta.
    """
    g = _scaled_criteria(problem, theta)
    direction = checks.array("direction", direction, shape=(len(g),))
    result = _program(g, direction / (np.abs(direction).max() or 1.0))
    if result.status == INFEASIBLE:
        raise ValueError("`theta` must be solvable: no weights on the simplex hold it at rest.")
    if result.status != 0:
        raise ConvergenceError(f"the linear program did not end: {result.message}")
    w = np.asarray(result.x)
    support = np.flatnonzero(w > ZERO)
    refined = _on_support(g, support)
    vertex = np.zeros(len(g))
    vertex[support] = refined if refined.min() > 0 else w[support] / w[support].sum()
    residual = float(np.abs(vertex @ g).max())
    if residual > HELD:
        raise ConvergenceError(
            f"the vertex holds theta to {residual:.1e} only, relative to the largest criterion "
            "gradients: they are dependent to round-off."
        )
    return vertex


def max_entropy_weights(
    problem: Problem, theta: Array | None = None, *, tol: float = 1e-13, max_iterations: int = 100
) -> np.ndarray:
    r"""Return the solved weights of largest entropy, by Newton's method on the dual.

    .. math::

        w_i \propto e^{\langle g_i, \mu\rangle}, \qquad
        \mu = \arg\min_{\mu\in\mathbb R^p}\ \log \sum_i e^{\langle g_i, \mu\rangle}

    Theory T12; the dual is convex, and its gradient is the residual of the constraint.

    Parameters
    ----------
    problem : Problem
    theta : (p,), optional
        ``solved_theta(problem)`` when left out.
    tol : float
        Residual of the constraint, relative to the largest criterion gradient in each column.
    max_iterations : int

    Returns
    -------
    (n,)
        Positive weights.

    Raises
    ------
    ValueError
        When no weights hold theta.
    ConvergenceError
        When the residual is not reached: theta lies on the boundary of what can be solved, where
        the point of largest entropy has zeros and no finite multiplier.
    """
    tol = checks.positive("tol", tol)
    cap = checks.integer("max_iterations", max_iterations, minimum=1)
    theta = _checked_theta(problem, theta)
    if separating_direction(problem, theta)[0] > tol:
        raise ValueError("`theta` must be solvable: no weights on the simplex hold it at rest.")
    g = _scaled_criteria(problem, theta)
    mu = np.zeros(g.shape[1])
    for _ in range(cap):
        w = np.exp(normalise_log(g @ mu))
        slope = w @ g
        if np.abs(slope).max() <= tol:
            return w
        curvature = (g.T * w) @ g - np.outer(slope, slope)
        mu = _line_search(g, mu, -np.linalg.lstsq(curvature, slope, rcond=1e-14)[0], slope)
    raise ConvergenceError(
        f"the weights of largest entropy were not found in {cap} Newton steps (residual "
        f"{np.abs(slope).max():.1e}); raise `max_iterations` or loosen `tol`."
    )


def _line_search(g: Array, mu: Array, step: Array, slope: Array) -> np.ndarray:
    """Return the next dual point: Newton's, halved until the dual falls enough (Armijo)."""
    here, fall, size = logsumexp(g @ mu), float(slope @ step), 1.0
    round_off = 1e-15 * (1.0 + abs(here))
    while (
        size > 1e-10 and logsumexp(g @ (mu + size * step)) > here + 1e-4 * size * fall + round_off
    ):
        size *= 0.5
    return np.asarray(mu + size * step)


def _program(g: Array, objective: Array) -> OptimizeResult:
    equations = np.vstack([g.T, np.ones(len(g))])
    right = np.append(np.zeros(g.shape[1]), 1.0)
    return linprog(objective, A_eq=equations, b_eq=right, bounds=(0, None), method="highs-ds")


def _on_support(g: Array, support: Array) -> np.ndarray:
    """Return the solution of the equations of the polytope on a support, least squares."""
    equations = np.vstack([g[support].T, np.ones(support.size)])
    right = np.append(np.zeros(g.shape[1]), 1.0)
    return np.asarray(np.linalg.lstsq(equations, right, rcond=None)[0])


def _checked_theta(problem: Problem, theta: Any) -> np.ndarray:
    checked_problem(problem, "solved points")
    if theta is None:
        return solved_theta(problem)
    return checks.data("theta", theta, shape=(problem.num_params,))


def _scaled_criteria(problem: Problem, theta: Any) -> np.ndarray:
    """Return the rows ``g_i`` over the largest in each column, so that units do not matter."""
    g = criterion_gradients(problem, _checked_theta(problem, theta))
    return np.asarray(g / column_sizes(g))
