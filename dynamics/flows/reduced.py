r"""The flows of least squares in the coordinates (theta, U) of theory T8.

.. math::

    \theta' = -\alpha\,(M\theta - b + \lambda\theta), \qquad
    U' = \beta\, c(\theta, v), \qquad (M + \lambda I)\, v = \nabla F(\theta),

with the tilted moments :math:`M = E_w[x x^\top]`, :math:`b = E_w[y x]`, and c the coefficients of
:math:`(x\cdot\theta - y)(x\cdot v)` in the features. The dimension is p + p(p+3)/2 whatever n.
The Jacobian follows from :math:`dE_w[\phi] = \mathrm{Cov}_w(\phi)\,dU`.
"""

from __future__ import annotations

import numpy as np

from ..features import (
    TiltedMoments,
    TiltedSample,
    field_coefficients,
    num_features,
    quadratic_features,
    split_moments,
)
from ..problems import LeastSquares
from ..types import Array
from .base import Flow, InnerFailure, scaled_tolerance, solved_rows

__all__ = ["ReducedExact", "ReducedJoint"]


class _Reduced(Flow):
    """What the warm-started and the exact flow share."""

    has_jacobian = True

    def __init__(self, problem: LeastSquares, beta: float, log_w0: Array) -> None:
        self.problem = problem
        self.beta = beta
        self.num_params = problem.num_params
        features = quadratic_features(problem.X, problem.y)
        self.sample = TiltedSample(features, log_w0)
        self.law: TiltedMoments = self.sample
        self._scale = scaled_tolerance(1.0, features)
        self._ridge = problem.ridge * np.eye(self.num_params)
        self._row_space = problem.row_space

    def _solve(self, M: Array, b: Array) -> np.ndarray:
        """Solve ``(M + ridge) x = b``; in the row space of X where that is a proper subspace."""
        H, Q = M + self._ridge, self._row_space
        try:
            if Q is None:
                return np.linalg.solve(H, b)
            return Q @ np.linalg.solve(Q.T @ H @ Q, Q.T @ b)
        except np.linalg.LinAlgError:
            raise InnerFailure("the inner Hessian is singular") from None

    def _moment_sensitivity(self, cov: Array, x: Array, with_b: bool) -> np.ndarray:
        """Return d(M x)/dU, or d(M x - b)/dU with ``with_b``, shape ``(p, d)``."""
        p = self.num_params
        dM, db = split_moments(cov.T, p)
        moved = np.einsum("dab,b->ad", dM, x)
        return moved - db.T if with_b else moved

    def log_weight_velocity(self, dz: Array) -> np.ndarray:
        return self.sample.features @ dz[-num_features(self.num_params) :]

    def log_weights(self, z: Array) -> np.ndarray:
        return self.sample.log_weights(z[..., -num_features(self.num_params) :])


class ReducedJoint(_Reduced):
    """The warm-started flow; state (theta, U)."""

    def __init__(
        self, problem: LeastSquares, alpha: float, beta: float, theta0: Array, log_w0: Array
    ) -> None:
        super().__init__(problem, beta, log_w0)
        self.alpha = alpha
        self.initial = np.concatenate([theta0, np.zeros(num_features(self.num_params))])

    def field(self, z: Array) -> np.ndarray:
        theta, U = z[: self.num_params], z[self.num_params :]
        M, b = split_moments(self.law.moments(U), self.num_params)
        v = self._solve(M, self.problem.val_hessian @ theta - self.problem.val_target)
        dtheta = -self.alpha * (M @ theta - b + self.problem.ridge * theta)
        return np.concatenate([dtheta, self.beta * field_coefficients(theta, v)])

    def jacobian(self, z: Array) -> np.ndarray:
        p = self.num_params
        theta, U = z[:p], z[p:]
        moments, cov = self.law.moments_and_covariance(U)
        M, _ = split_moments(moments, p)
        v = self._solve(M, self.problem.val_hessian @ theta - self.problem.val_target)
        dv_dtheta = self._solve(M, self.problem.val_hessian)
        dv_dU = -self._solve(M, self._moment_sensitivity(cov, v, with_b=False))
        out = np.empty((z.size, z.size))
        out[:p, :p] = -self.alpha * (M + self._ridge)
        out[:p, p:] = -self.alpha * self._moment_sensitivity(cov, theta, with_b=True)
        out[p:, :p] = self.beta * _coefficients_derivative(theta, v, np.eye(p), dv_dtheta)
        out[p:, p:] = self.beta * _coefficients_derivative(theta, v, np.zeros_like(dv_dU), dv_dU)
        return out

    def theta(self, z: Array) -> np.ndarray:
        return z[..., : self.num_params]

    def parameter_size(self, z: Array) -> float:
        return float(np.abs(self.theta(z)).max())

    def _theta_speed(self, dz: Array) -> float:
        return float(np.linalg.norm(self.theta(dz))) / self.alpha if self.alpha > 0 else 0.0

    def tolerances(self, atol: float) -> np.ndarray:
        return np.concatenate([np.full(self.num_params, atol), atol * self._scale])


class ReducedExact(_Reduced):
    """The exact bilevel flow; state U, with theta solved for."""

    def __init__(self, problem: LeastSquares, beta: float, log_w0: Array) -> None:
        super().__init__(problem, beta, log_w0)
        self.initial = np.zeros(num_features(self.num_params))

    def _inner(self, M: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
        """Return theta_star and the adjoint there."""
        theta = self._solve(M, b)
        return theta, self._solve(M, self.problem.val_hessian @ theta - self.problem.val_target)

    def field(self, z: Array) -> np.ndarray:
        theta, v = self._inner(*split_moments(self.law.moments(z), self.num_params))
        return self.beta * field_coefficients(theta, v)

    def jacobian(self, z: Array) -> np.ndarray:
        moments, cov = self.law.moments_and_covariance(z)
        M, b = split_moments(moments, self.num_params)
        theta, v = self._inner(M, b)
        dtheta = -self._solve(M, self._moment_sensitivity(cov, theta, with_b=True))
        change = self.problem.val_hessian @ dtheta - self._moment_sensitivity(cov, v, with_b=False)
        return self.beta * _coefficients_derivative(theta, v, dtheta, self._solve(M, change))

    def theta(self, z: Array) -> np.ndarray:
        def inner(U: Array) -> np.ndarray:
            return self._inner(*split_moments(self.law.moments(U), self.num_params))[0]

        rows = solved_rows(inner, z.reshape(-1, z.shape[-1]), self.num_params)
        return rows.reshape(*z.shape[:-1], self.num_params)

    def tolerances(self, atol: float) -> np.ndarray:
        return atol * self._scale


def _coefficients_derivative(theta: Array, v: Array, dtheta: Array, dv: Array) -> np.ndarray:
    """Return the derivative ``(d, k)`` of the coefficients along columns dtheta, dv ``(p, k)``."""
    p = theta.size
    along_v = field_coefficients(theta[None, :], dv.T)
    along_theta = field_coefficients(dtheta.T, v[None, :])
    along_theta[:, -p:] = 0.0
    return (along_v + along_theta).T
