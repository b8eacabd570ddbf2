"""The contract of a geometry, and of one that wraps another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from array_api_compat import array_namespace

from ..types import Array

__all__ = ["Geometry", "Wrapper", "check_inner"]


class Geometry(ABC):
    """How weights are represented, and what a step does to them.

    States are ``(..., m)``: m = n for the geometries that wrap no other, ``state_size(n)`` in
    general.
    """

    has_state_per_sample: ClassVar[bool] = True
    """Whether entry i of a state belongs to sample i, so that rows of a state are a state."""

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

    def state_size(self, num_samples: int) -> int:
        """Return the length m of the states of ``num_samples`` samples."""
        return num_samples

    @property
    def layers(self) -> tuple[Geometry, ...]:
        """The geometry and those inside it, from outside in."""
        return (self,)

    @property
    def core(self) -> Geometry:
        """The geometry inside all wrappers, which does the step."""
        return self.layers[-1]

    @property
    def can_vanish(self) -> bool:
        """Whether weights can be exactly 0."""
        return False

    def fresh(self, s: Array, g: Array) -> Array:
        """Return the state after a unit step along ``-g`` that starts from no weights at all.

        ``s`` is the present state, for geometries that remember it.
        """
        raise TypeError(f"{type(self).__name__} needs weights to start from.")

    def logits(self, s: Array) -> Array:
        """Return the logits of a state, ``(..., n)``."""
        raise TypeError(f"{type(self).__name__} has no logits.")

    def with_logits(self, s: Array, logits: Array) -> Array:
        """Return the state that follows ``s`` when its logits become ``logits``."""
        raise TypeError(f"{type(self).__name__} has no logits.")

    def pull(self, s: Array, g: Array) -> Array:
        """Return the field of the logits ``(..., n)`` that belongs to the field g of the weights.

        It is the transposed derivative of the weights in the logits, applied to g.
        """
        raise TypeError(f"{type(self).__name__} has no logits.")


class Wrapper(Geometry):
    """A geometry that changes one thing about another, ``inner``, and leaves the rest to it."""

    inner: Geometry

    def start(self, log_w0: Array) -> Array:
        return self.inner.start(log_w0)

    def log_weights(self, s: Array) -> Array:
        return self.inner.log_weights(s)

    def weights(self, s: Array) -> Array:
        return self.inner.weights(s)

    def state_size(self, num_samples: int) -> int:
        return self.inner.state_size(num_samples)

    @property
    def layers(self) -> tuple[Geometry, ...]:
        return (self, *self.inner.layers)

    @property
    def can_vanish(self) -> bool:
        return self.inner.can_vanish

    def fresh(self, s: Array, g: Array) -> Array:
        return self.inner.fresh(s, g)

    def logits(self, s: Array) -> Array:
        return self.inner.logits(s)

    def with_logits(self, s: Array, logits: Array) -> Array:
        return self.inner.with_logits(s, logits)

    def pull(self, s: Array, g: Array) -> Array:
        return self.inner.pull(s, g)


def check_inner(value: Any) -> None:
    """Refuse what is no geometry."""
    if not isinstance(value, Geometry):
        raise TypeError(f"`inner` must be a geometry such as geometries.Mirror(); got {value!r}.")
