r"""The largest outer step that holds a solved point, for any matrices and any inner steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...dynamics import checks
from ...dynamics.types import Array
from .learning_rates import ORDERS, curvatures, one_step, radius
from .points import SolvedPoint, solved_point

__all__ = ["first_loss", "outer_limit"]

DECADES = (-6.0, 4.0)
"""Where the loss of stability is looked for, in powers of ten of eta max(kappa)."""
PER_DECADE = 20
EXCESS = 1e-9
"""Growth of one step that counts as unstable; kappa = 0 has exactly none."""


def outer_limit(
    problem: Any,
    theta: Array,
    w: Array,
    rho: float,
    order: str = "simultaneous",
    num_inner_steps: int = 1,
    tol: float = 1e-6,
) -> float:
    r"""Return the smallest outer step at which a solved point loses its stability.

    .. math:: \eta_c = \inf\{\eta > 0 : \text{spectral radius of one step} > 1\}

    Theory T7c without the assumption of commuting matrices: in a common mode with eigenvalue h of H
    and :math:`q = 1 - (1 - \rho h)^T`, the limit is :math:`\eta\kappa = 1` (simultaneous, for q
    below 2) and :math:`4/q - 2` (theta or w first); both tend to a limit of their own as T grows,
    the latter to that of the exact algorithm. Found by a search upwards on a logarithmic grid of
    twenty points in a decade, then by bisection to ten digits: an unstable interval shorter than
    a step of the grid can be missed.

    Parameters
    ----------
    problem : LeastSquares
    theta : (p,)
    w : (n,)
        A solved point.
    rho : float
        Inner step, > 0; ``order="exact"`` has no use for it.
    order : {"simultaneous", "theta_first", "w_first", "exact"}
    num_inner_steps : int
        T, steps of theta at fixed weights for each step of the weights.
    tol : float
        Residual up to which a point counts as solved, relative to the terms that cancel in it. Far
        from solved points the limit is that of the part of the curvature of h which T7c knows:
        an estimate, asked for by ``tol=math.inf``.

    Returns
    -------
    float
        Infinite where the point is stable up to :math:`\eta\kappa_{\max} = 10^4`; 0 where it is
        unstable already at :math:`10^{-6}`.

    Raises
    ------
    ValueError, TypeError
        For a point that is not solved, a step that is not positive, fewer than one inner step, an
        unknown order, or another problem.
    """
    rho, tol = checks.positive("rho", rho), float(tol)
    checks.choice("order", order, ORDERS)
    T = checks.integer("num_inner_steps", num_inner_steps, minimum=1)
    if not tol > 0:
        raise ValueError(f"`tol` must be positive; got {tol}.")
    return first_loss(solved_point(problem, theta, w, "outer_limit", tol), rho, order, T)


def first_loss(point: SolvedPoint, rho: float, order: str, num_inner_steps: int = 1) -> float:
    """Return :func:`outer_limit` of checked arguments."""
    top = float(curvatures(point)[-1])
    if top == 0:
        return math.inf

    def grows(log_eta: float) -> bool:
        matrix = one_step(point, rho, 10.0**log_eta / top, order, num_inner_steps)
        return radius(matrix) > 1.0 + EXCESS

    count = round((DECADES[1] - DECADES[0]) * PER_DECADE) + 1
    low = DECADES[0]
    if grows(low):
        return 0.0
    for high in np.linspace(*DECADES, count)[1:]:
        if grows(high):
            return 10.0 ** _bisect(grows, low, high) / top
        low = float(high)
    return math.inf


def _bisect(grows: Any, low: float, high: float) -> float:
    while high - low > 1e-11:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if grows(middle) else (middle, high)
    return low
