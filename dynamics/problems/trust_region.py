r"""Local minimisers of inner problems that need not be convex.

SciPy's Newton method in a trust region (Steihaug's truncated conjugate gradients; Nocedal and
Wright 2006, section 7.1) follows negative curvature out of saddles. It judges steps by G, whose
round-off stops it at a gradient norm of about the root of round-off; from there, where H is
positive definite, :func:`.newton.newton_cg` goes on by the gradient norm alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import minimize

from ..namespaces import to_numpy
from ..status import ConvergenceError
from ..types import Array
from .base import Problem
from .newton import newton_cg

__all__ = ["local_minimiser"]

NEAR = 1e-6
"""Gradient norm at which the trust region hands over."""
MAX_STEPS = 1000


def local_minimiser(problem: Problem, w: Array, theta: Array, tol: float = 1e-10) -> Array:
    """Return a local minimiser of ``G(., w)`` near theta, in every leading cell.

    Parameters
    ----------
    w : (..., n)
    theta : (..., p)
        Starting points.
    tol : float
        Absolute bound on the Euclidean norm of the gradient, as in :func:`.newton.newton_cg`.

    Raises
    ------
    ConvergenceError
        When the bound cannot be reached: kinks of the model, or a flat H.
    """
    xp = problem.xp
    lead = np.broadcast_shapes(tuple(w.shape[:-1]), tuple(theta.shape[:-1]))
    w = xp.broadcast_to(w, (*lead, w.shape[-1]))
    theta = xp.broadcast_to(theta, (*lead, theta.shape[-1]))
    starts = xp.reshape(theta, (-1, theta.shape[-1]))
    weights = xp.reshape(w, (-1, w.shape[-1]))
    ends = [_descend(problem, weights[k, :], starts[k, :]) for k in range(starts.shape[0])]
    return newton_cg(problem, w, xp.reshape(xp.stack(ends), theta.shape), tol=tol)


def _descend(problem: Problem, w: Array, theta: Array) -> Array:
    """Return a point near a local minimiser of one cell."""
    xp = problem.xp

    def native(a: np.ndarray) -> Array:
        return xp.asarray(a, dtype=theta.dtype, device=theta.device, copy=True)

    start: Any = to_numpy(theta).astype(np.float64)
    if not np.isfinite(start).all() or not np.isfinite(to_numpy(w)).all():
        raise ConvergenceError("theta_star cannot start from numbers that are not finite.")

    @lru_cache(maxsize=1)
    def product_at(key: bytes) -> Callable[[Array], Array]:
        return problem.hvp_at(native(np.frombuffer(key)), w)

    task: Any = {
        "fun": lambda a: float(problem.train_loss(native(a), w)),
        "jac": lambda a: to_numpy(problem.train_grad(native(a), w)).astype(np.float64),
        "hessp": lambda a, d: to_numpy(product_at(a.tobytes())(native(d))).astype(np.float64),
        "method": "trust-ncg",
        "options": {"gtol": NEAR, "maxiter": MAX_STEPS},
    }
    result = minimize(x0=start, **task)
    return native(result.x)
