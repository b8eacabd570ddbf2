"""The contract between a flow and whoever integrates it."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from ..status import ConvergenceError
from ..types import Array

__all__ = ["Flow", "InnerFailure"]


class InnerFailure(RuntimeError):
    """The inner Hessian lost rank, so that the field is not defined at this state."""


class Flow(ABC):
    """An autonomous vector field in some coordinates of (theta, w).

    Attributes
    ----------
    initial : (N,)
        The state at the first time.
    beta : float
        Speed of the weights.
    has_jacobian : bool
        Whether :meth:`jacobian` is there; decides between implicit and explicit integrators.
    """

    initial: np.ndarray
    beta: float
    has_jacobian: bool = False

    @abstractmethod
    def field(self, z: Array) -> np.ndarray:
        """Return dz/dt, shape ``(N,)``."""

    def jacobian(self, z: Array) -> np.ndarray:
        """Return d(dz/dt)/dz, shape ``(N, N)``."""
        raise NotImplementedError(f"{type(self).__name__} has no analytic Jacobian.")

    @abstractmethod
    def theta(self, z: Array) -> np.ndarray:
        """Return theta ``(..., p)`` at states ``(..., N)``."""

    @abstractmethod
    def log_weights(self, z: Array) -> np.ndarray:
        """Return normalised log-weights ``(..., n)`` at states ``(..., N)``."""

    @abstractmethod
    def log_weight_velocity(self, dz: Array) -> np.ndarray:
        """Return d(log w)/dt ``(n,)`` up to a constant, from ``dz = field(z)``."""

    def parameter_size(self, z: Array) -> float:
        """Return the largest entry of theta in size where theta is part of the state, else 0."""
        return 0.0

    def rest_residual(self, z: Array, dz: Array) -> float:
        r"""Return how far z, with field dz, is from rest, per unit rate: 0 at rest only.

        The largest of :math:`|\theta'|/\alpha` and :math:`\max_i (c - \Psi_i)`; the latter is the
        duality gap of the weights, so that slow passages near a rest point that some absent sample
        can invade do not count as rest.
        """
        w = np.exp(self.log_weights(z))
        velocity = self.log_weight_velocity(dz)
        gap = float((velocity - w @ velocity).max()) / self.beta if self.beta > 0 else 0.0
        return max(gap, self._theta_speed(dz))

    def _theta_speed(self, dz: Array) -> float:
        """Return ``|theta'|/alpha`` where theta moves by itself, else 0."""
        return 0.0

    def tolerances(self, atol: float) -> np.ndarray:
        """Return absolute tolerances ``(N,)`` such that ``atol`` holds for theta and log w."""
        return np.full(self.initial.size, atol)


def scaled_tolerance(atol: float, features: Array) -> np.ndarray:
    """Return atol over the spread of each feature: the error of log w that it stands for.

    A coordinate that multiplies a feature of size 1e6 needs an error 1e6 times smaller.
    """
    spread = features.std(axis=0)
    return atol / np.where(spread > 0, spread, 1.0)


def solved_rows(inner: Callable[[Array], np.ndarray], states: Array, num_params: int) -> np.ndarray:
    """Return ``inner`` of each state, ``(k, p)``; NaN where it fails."""
    rows = np.full((len(states), num_params), np.nan)
    for k, state in enumerate(states):
        with contextlib.suppress(InnerFailure, ConvergenceError):
            rows[k] = inner(state)
    return rows
