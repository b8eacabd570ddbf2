r"""The flow of the weights at frozen theta in p coordinates (theory T4).

.. math::

    \log w(t) = \log w(0) + \Gamma u(t) + \mathrm{const}, \qquad
    H(\theta, w(u))\, u' = \beta\,\nabla F(\theta), \qquad \Gamma = J(\theta)^\top .

It is gradient ascent of the linear function :math:`\langle\nabla F, u\rangle` in the metric H(u).
"""

from __future__ import annotations

import numpy as np

from ..problems import DENSE_LIMIT, Problem
from ..simplex import normalise_log
from ..types import Array
from .base import Flow, InnerFailure, scaled_tolerance

__all__ = ["FrozenReduced"]

GAMMA_LIMIT = 5e7
"""Largest n p for which the per-sample gradients are kept (400 MB); beyond, one jvp per product."""


class FrozenReduced(Flow):
    """State u in R^p, for any problem."""

    def __init__(
        self, problem: Problem, theta: Array, beta: float, log_w0: Array, tol: float = 1e-12
    ) -> None:
        self.problem = problem
        self.beta = beta
        self._theta = theta
        self._log_w0 = log_w0
        self._tol = tol
        self._adjoint: np.ndarray | None = None
        self.initial = np.zeros(problem.num_params)
        self.has_jacobian = "hessian" in problem.capabilities and problem.num_params <= DENSE_LIMIT
        keep = problem.num_samples * problem.num_params <= GAMMA_LIMIT
        self._gamma = problem.per_sample_grads(theta) if keep else None

    def log_weights(self, z: Array) -> np.ndarray:
        if self._gamma is None:
            return normalise_log(self._log_w0 + self.problem.per_sample_jvp(self._theta, z))
        return normalise_log(self._log_w0 + z @ self._gamma.T)

    def log_weight_velocity(self, dz: Array) -> np.ndarray:
        if self._gamma is None:
            return self.problem.per_sample_jvp(self._theta, dz)
        return self._gamma @ dz

    def _velocity(self, w: Array) -> np.ndarray:
        """Return ``H^{-1} grad F`` at weights w."""
        try:
            v = self.problem.adjoint(self._theta, w, tol=self._tol, guess=self._adjoint)
        except np.linalg.LinAlgError:
            raise InnerFailure("the inner Hessian is singular") from None
        self._adjoint = v
        return v

    def field(self, z: Array) -> np.ndarray:
        return self.beta * self._velocity(np.exp(self.log_weights(z)))

    def jacobian(self, z: Array) -> np.ndarray:
        """Return ``-beta H^{-1} K^T P(w) Gamma``, with rows of K the ``hess l_i v``."""
        assert self._gamma is not None, "a Jacobian is offered only where Gamma is kept"
        w = np.exp(self.log_weights(z))
        K = self.problem.per_sample_hvp(self._theta, self._velocity(w))
        spread = w[:, None] * (self._gamma - w @ self._gamma)
        H = self.problem.hessian(self._theta, w)
        return -self.beta * self.problem.solve_columns(H, K.T @ spread)

    def theta(self, z: Array) -> np.ndarray:
        return np.broadcast_to(self._theta, (*z.shape[:-1], self.problem.num_params))

    def tolerances(self, atol: float) -> np.ndarray:
        if self._gamma is None:
            return super().tolerances(atol)
        return scaled_tolerance(atol, self._gamma)
