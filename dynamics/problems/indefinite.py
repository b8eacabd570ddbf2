"""Adjoints where the inner Hessian is not positive definite."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, minres

from ..namespaces import to_numpy
from ..status import ConvergenceError
from ..types import Array
from .base import Problem

__all__ = ["indefinite_adjoint"]

ITERATIONS = 2000
"""Products before a solve is given up."""


def indefinite_adjoint(problem: Problem, theta: Array, w: Array, tol: float) -> Array:
    r"""Return :math:`v = H(\theta, w)^{-1}\nabla F(\theta)` for a symmetric H of any signs.

    By SciPy's minimum residual method (Paige and Saunders 1975).

    Parameters
    ----------
    theta, w : (p,), (n,)
    tol : float
        Largest norm of ``H v - grad F`` relative to that of grad F.

    Raises
    ------
    ConvergenceError
        When ``tol`` is not reached, as for a singular H.
    """
    xp, product = problem.xp, problem.hvp_at(theta, w)

    def native(a: np.ndarray) -> Array:
        return xp.asarray(a, dtype=theta.dtype, device=theta.device)

    def on_host(a: np.ndarray) -> np.ndarray:
        return to_numpy(product(native(a))).astype(np.float64)

    b = to_numpy(problem.val_grad(theta)).astype(np.float64)
    p = problem.num_params
    operator: Any = LinearOperator((p, p), matvec=on_host, dtype=np.float64)
    # Its own criterion is relative to |H||v| + |b|: asked tightly, then judged by the residual.
    v, _ = minres(operator, b, rtol=1e-3 * tol, maxiter=ITERATIONS)
    residual = float(np.linalg.norm(on_host(v) - b))
    if not residual <= tol * float(np.linalg.norm(b)):
        relative = residual / max(float(np.linalg.norm(b)), np.finfo(np.float64).tiny)
        raise ConvergenceError(
            f"the adjoint stopped at a relative residual of {relative:.1e}: the inner Hessian is "
            f"indefinite and nearly singular; loosen `tol` ({tol:.0e}), raise `ridge` "
            f"({problem.ridge:g}) or train theta further first."
        )
    return native(v)
