r"""Where zero lies among the gradients of the criteria: inside, on the boundary, or outside.

With :math:`g_i = \nabla l_i(\theta) + \lambda\theta`, weights on the simplex can hold theta at rest
exactly when 0 lies in :math:`K = \mathrm{conv}\{g_i\}`. A rest point of the weights is trapped only
on the boundary of K: there :math:`\langle g_i, v\rangle \le 0` for all i with
:math:`v = H^{-1}\nabla F \ne 0` (theory T6b'). This is the tangent depth of Mizera (2002), the
regression depth of Rousseeuw and Hubert (1999) for residuals: no gradient lies in the open
half-space of v.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, QhullError

from ...dynamics import Problem, checks
from ...dynamics.status import ConvergenceError
from ...dynamics.types import Array
from ..optimality import checked_problem
from .units import column_sizes

__all__ = ["criterion_gradients", "depth_radius", "depth_residual", "separating_direction"]

MAX_PARAMS = 8
"""Largest p for which a convex hull in R^p is formed."""


def criterion_gradients(problem: Problem, theta: Array) -> np.ndarray:
    r"""Return the rows :math:`g_i = \nabla l_i(\theta) + \lambda\theta`, shape ``(n, p)``.

    For weights on the simplex :math:`\sum_i w_i g_i = \nabla_\theta G(\theta, w)`.
    """
    checked_problem(problem, "criterion_gradients")
    theta = checks.data("theta", theta, shape=(problem.num_params,))
    return np.asarray(problem.per_sample_grads(theta) + problem.ridge * theta)


def depth_residual(problem: Problem, theta: Array, direction: Array) -> float:
    r"""Return by how much a direction fails to witness zero depth.

    .. math:: \max_i\ \langle g_i, v\rangle / |v|, \qquad
              g_i = \nabla l_i(\theta) + \lambda\theta

    Theory T6b': at most 0 at a trapped limit, with :math:`v = H^{-1}\nabla F(\theta)`, where
    :math:`\langle g_i, v\rangle = c - \Psi_i` is the transversal rate of sample i.

    Parameters
    ----------
    theta, direction : (p,)

    Returns
    -------
    float
        In units of the gradients.

    Raises
    ------
    ValueError
        When the direction is zero.
    """
    g = criterion_gradients(problem, theta)
    v = checks.array("direction", direction, shape=(problem.num_params,))
    if not v.any():
        raise ValueError("`direction` must not be zero; it is at every solved point.")
    return float((g @ v).max() / np.linalg.norm(v))


def separating_direction(problem: Problem, theta: Array) -> tuple[float, np.ndarray]:
    r"""Return the direction that descends all criteria at once, as far as there is one.

    .. math:: \max_{t,\,u}\ t \quad\text{subject to}\quad
              \langle g_i, u\rangle \le -t \;\text{ for all } i, \qquad
              |u_a|\,\max_i |g_{ia}| \le 1 \;\text{ for all } a

    By linear programming. By Gordan's alternative t = 0 exactly when some weights on the simplex
    satisfy :math:`\sum_i w_i g_i = 0`: theta is then the inner minimiser for them.

    Parameters
    ----------
    theta : (p,)

    Returns
    -------
    margin : float
        t >= 0, at most p, whatever the units of theta and of the losses.
    direction : (p,)
        u, in units of one over the gradients; zero where t = 0 has no better witness.

    Raises
    ------
    ConvergenceError
        When the linear program does not end.
    """
    g = criterion_gradients(problem, theta)
    sizes = column_sizes(g)
    g = g / sizes
    n, p = g.shape
    result = linprog(
        np.append(np.zeros(p), -1.0),
        A_ub=np.hstack([g, np.ones((n, 1))]),
        b_ub=np.zeros(n),
        bounds=[(-1, 1)] * p + [(0, None)],
        method="highs-ds",
    )
    if result.status != 0 or result.x is None:
        raise ConvergenceError(f"the linear program did not end: {result.message}")
    return float(result.x[-1]), np.asarray(result.x[:-1]) / sizes


def depth_radius(problem: Problem, theta: Array) -> float:
    r"""Return the signed distance of zero from the boundary of the hull of the gradients.

    .. math:: \min_{|u| = 1}\ \max_i\ \langle g_i, u\rangle

    Positive inside (weights can hold theta whatever small force is added), zero where a trapped
    rest point lies, negative outside (minus the largest distance to the plane of a facet).

    Parameters
    ----------
    theta : (p,)

    Returns
    -------
    float
        In units of the gradients. A hull without interior gives 0 or, where zero lies outside it,
        minus the margin of :func:`separating_direction`.

    Raises
    ------
    ValueError
        For more than 8 parameters.
    """
    g = criterion_gradients(problem, theta)
    if g.shape[1] > MAX_PARAMS:
        raise ValueError(f"`problem` must have at most {MAX_PARAMS} parameters; got {g.shape[1]}.")
    if g.shape[1] == 1:
        return float(min(g.max(), -g.min()))
    try:
        # Facets do not depend on units: qhull sees columns of equal size.
        sizes = column_sizes(g)
        hull = ConvexHull(g / sizes)
    except QhullError:
        return -float(separating_direction(problem, theta)[0])
    # Rows of outward normals and offsets: normal . (x / sizes) + offset <= 0 inside.
    length = np.linalg.norm(hull.equations[:, :-1] / sizes, axis=1)
    return float(-(hull.equations[:, -1] / length).max())
