"""The contract of a geometry."""

from __future__ import annotations

from abc import ABC, abstractmethod

from array_api_compat import array_namespace

from ..types import Array

__all__ = ["Geometry"]


class Geometry(ABC):
    """How weights are represented, and what a step does to them. States are ``(..., n)``."""

    @abstractmethod
    def start(self, log_w0: Array) -> Array:
        """Return the state that represents the weights ``exp(log_w0)``."""

    @abstractmethod
    def log_weights(self, s: Array) -> Array:
        """Return the log-weights of a state (-inf for an exact zero)."""

    @abstractmethod
    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        """Return the state after one step of size ``eta`` along ``-g``."""

    def weights(self, s: Array) -> Array:
        """Return the weights of a state."""
        return array_namespace(s).exp(self.log_weights(s))
