r"""The flows in full coordinates, for every problem: (theta, log w).

.. math::

    \theta' = -\alpha\,\nabla_\theta G(\theta, w), \qquad
    (\log w)' = \beta\,(a - \langle w, a\rangle), \qquad a = -\Psi(\theta, w) = J^\top v .

Small problems with per-sample matrices :math:`\Gamma = J^\top` and K (rows :math:`\nabla^2 l_i v`)
have analytic Jacobians from

.. math::

    \partial v/\partial\log w = -H^{-1} K^\top P, \qquad
    \partial a/\partial\log w = \Gamma\,\partial v/\partial\log w, \qquad
    \partial a/\partial\theta = K + \Gamma H^{-1}\nabla^2 F,

the last one for quadratic losses.
"""

from __future__ import annotations

import numpy as np

from ..problems import DENSE_LIMIT, LeastSquares, Problem
from ..simplex import normalise_log
from ..types import Array
from .base import Flow, InnerFailure, solved_rows

__all__ = ["FullExact", "FullFrozen", "FullJoint"]

JACOBIAN_LIMIT = 2000
"""Largest state for which a dense Jacobian is formed (32 MB)."""


class _Full(Flow):
    """Shared: the normalised log-weights are the last n entries of the state."""

    def __init__(self, problem: Problem, beta: float, log_w0: Array, tol: float) -> None:
        self.problem = problem
        self.beta = beta
        self.num_samples = problem.num_samples
        self._tol = tol
        self._adjoint: np.ndarray | None = None

    def log_weights(self, z: Array) -> np.ndarray:
        return normalise_log(z[..., -self.num_samples :])

    def log_weight_velocity(self, dz: Array) -> np.ndarray:
        return dz[-self.num_samples :]

    def adjoint(self, theta: Array, w: Array) -> np.ndarray:
        """Return ``H^{-1} grad F``, starting from the last one where it is found by iteration."""
        try:
            v = self.problem.adjoint(theta, w, tol=self._tol, guess=self._adjoint)
        except np.linalg.LinAlgError:
            raise InnerFailure("the inner Hessian is singular") from None
        self._adjoint = v
        return v

    def _speed(self, theta: Array, w: Array) -> np.ndarray:
        """Return the velocity of log w, centred so that the weights keep summing to one."""
        a = self.problem.per_sample_jvp(theta, self.adjoint(theta, w))
        return self.beta * (a - w @ a)

    def _speed_derivative(self, w: Array, a: Array, da: Array) -> np.ndarray:
        """Return the derivative of the velocity of log w along log w, given that of a."""
        return self.beta * (da - (w @ da + w * (a - w @ a)))


def _metric(w: Array) -> np.ndarray:
    """Return the dense P(w), needed only in Jacobians of small problems."""
    return np.diag(w) - np.outer(w, w)


class FullJoint(_Full):
    """The warm-started flow; state (theta, log w)."""

    def __init__(
        self,
        problem: Problem,
        alpha: float,
        beta: float,
        theta0: Array,
        log_w0: Array,
        tol: float = 1e-12,
    ) -> None:
        super().__init__(problem, beta, log_w0, tol)
        self.alpha = alpha
        self.initial = np.concatenate([theta0, log_w0])
        self.has_jacobian = (
            isinstance(problem, LeastSquares) and self.initial.size <= JACOBIAN_LIMIT
        )

    def field(self, z: Array) -> np.ndarray:
        theta = z[: self.problem.num_params]
        w = np.exp(self.log_weights(z))
        dtheta = -self.alpha * self.problem.train_grad(theta, w)
        return np.concatenate([dtheta, self._speed(theta, w)])

    def jacobian(self, z: Array) -> np.ndarray:
        assert isinstance(self.problem, LeastSquares), "only least squares has this Jacobian"
        p, theta = self.problem.num_params, z[: self.problem.num_params]
        w = np.exp(self.log_weights(z))
        H, metric = self.problem.hessian(theta, w), _metric(w)
        v = self.adjoint(theta, w)
        gamma, K = self.problem.per_sample_grads(theta), self.problem.per_sample_hvp(theta, v)
        a = gamma @ v
        da_dtheta = K + gamma @ self.problem.solve_columns(H, self.problem.val_hessian)
        da_dlog_w = -gamma @ self.problem.solve_columns(H, K.T @ metric)
        out = np.empty((z.size, z.size))
        out[:p, :p] = -self.alpha * H
        out[:p, p:] = -self.alpha * (gamma.T @ metric)
        out[p:, :p] = self.beta * (da_dtheta - w @ da_dtheta)
        out[p:, p:] = self._speed_derivative(w, a, da_dlog_w)
        return out

    def theta(self, z: Array) -> np.ndarray:
        return z[..., : self.problem.num_params]

    def parameter_size(self, z: Array) -> float:
        return float(np.abs(self.theta(z)).max())

    def _theta_speed(self, dz: Array) -> float:
        return float(np.linalg.norm(self.theta(dz))) / self.alpha if self.alpha > 0 else 0.0


class FullExact(_Full):
    """The exact bilevel flow; state log w, with theta solved for."""

    def __init__(self, problem: Problem, beta: float, log_w0: Array, tol: float = 1e-12) -> None:
        super().__init__(problem, beta, log_w0, tol)
        self.initial = log_w0.copy()
        self.has_jacobian = (
            isinstance(problem, LeastSquares) and self.initial.size <= JACOBIAN_LIMIT
        )
        self._theta: np.ndarray | None = None

    def _inner(self, w: Array) -> np.ndarray:
        try:
            self._theta = self.problem.theta_star(w, self._theta)
        except np.linalg.LinAlgError:
            raise InnerFailure("the inner Hessian is singular") from None
        return self._theta

    def field(self, z: Array) -> np.ndarray:
        w = np.exp(self.log_weights(z))
        return self._speed(self._inner(w), w)

    def jacobian(self, z: Array) -> np.ndarray:
        assert isinstance(self.problem, LeastSquares), "only least squares has this Jacobian"
        w = np.exp(self.log_weights(z))
        theta, metric = self._inner(w), _metric(w)
        v = self.adjoint(theta, w)
        gamma, K = self.problem.per_sample_grads(theta), self.problem.per_sample_hvp(theta, v)
        H = self.problem.hessian(theta, w)
        dtheta = -self.problem.solve_columns(H, gamma.T @ metric)
        change = self.problem.val_hessian @ dtheta - K.T @ metric
        da = K @ dtheta + gamma @ self.problem.solve_columns(H, change)
        return self._speed_derivative(w, gamma @ v, da)

    def theta(self, z: Array) -> np.ndarray:
        flat = np.exp(self.log_weights(z)).reshape(-1, self.num_samples)
        rows = solved_rows(self._inner, flat, self.problem.num_params)
        return rows.reshape(*z.shape[:-1], self.problem.num_params)


class FullFrozen(_Full):
    """The flow of the weights at frozen theta; state log w."""

    def __init__(
        self, problem: Problem, theta: Array, beta: float, log_w0: Array, tol: float = 1e-12
    ) -> None:
        super().__init__(problem, beta, log_w0, tol)
        self._theta = theta
        self.initial = log_w0.copy()
        self.has_jacobian = (
            "hessian" in problem.capabilities
            and problem.num_params <= DENSE_LIMIT
            and self.initial.size <= JACOBIAN_LIMIT
        )

    def field(self, z: Array) -> np.ndarray:
        return self._speed(self._theta, np.exp(self.log_weights(z)))

    def jacobian(self, z: Array) -> np.ndarray:
        w, problem = np.exp(self.log_weights(z)), self.problem
        v = self.adjoint(self._theta, w)
        gamma, K = problem.per_sample_grads(self._theta), problem.per_sample_hvp(self._theta, v)
        dv = -problem.solve_columns(problem.hessian(self._theta, w), K.T @ _metric(w))
        return self._speed_derivative(w, gamma @ v, gamma @ dv)

    def theta(self, z: Array) -> np.ndarray:
        return np.broadcast_to(self._theta, (*z.shape[:-1], self.problem.num_params))
