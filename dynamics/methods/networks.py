"""What turns the loss of a sample into a logit: parameters ``(..., P)``, one loss to one logit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from .. import checks
from ..types import Array

__all__ = ["Network", "Perceptron", "Table"]


class Network(ABC):
    """A map from features ``z (..., n)`` to logits ``(..., n)``, and its derivative."""

    @abstractmethod
    def start(self, num_samples: int, seed: int) -> np.ndarray:
        """Return the first parameters, ``(P,)``; all logits are zero there."""

    @abstractmethod
    def logits(self, phi: Array, z: Array) -> Array:
        """Return the logits of the samples, ``(..., n)``."""

    @abstractmethod
    def linearise(self, phi: Array, z: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Return the logits, and ``d (..., n) -> (..., P)``, the gradient of ``sum d logits``."""


@dataclass(frozen=True, kw_only=True)
class Perceptron(Network):
    r"""One hidden layer of rectifiers: :math:`s(z) = \sum_h c_h \max(a_h z + b_h, 0) + d`.

    Shu et al. (2019) have 100 of them. The last layer starts at zero, so that a run starts at the
    weights that it is given; a and b start uniform in (-1, 1).

    Parameters
    ----------
    num_hidden : int
        Number of rectifiers.
    """

    num_hidden: int = 8

    def __post_init__(self) -> None:
        checks.integer("num_hidden", self.num_hidden, minimum=1)

    def start(self, num_samples: int, seed: int) -> np.ndarray:
        bits = np.random.Philox(np.random.SeedSequence([seed, self.num_hidden]))
        first = np.random.Generator(bits).uniform(-1.0, 1.0, size=2 * self.num_hidden)
        return np.concatenate([first, np.zeros(self.num_hidden + 1)])

    def logits(self, phi: Array, z: Array) -> Array:
        return self.linearise(phi, z)[0]

    def linearise(self, phi: Array, z: Array) -> tuple[Array, Callable[[Array], Array]]:
        xp = array_namespace(phi, z)
        a, b, c, d = self._split(phi)
        active = a[..., :, None] * z[..., None, :] > -b[..., :, None]
        on = xp.astype(active, z.dtype)
        sums = xp.stack([c * a, c * b], axis=-2) @ on
        logits = z * sums[..., 0, :] + (sums[..., 1, :] + d)

        def pull(d: Array) -> Array:
            sums = xp.stack([d * z, d], axis=-2) @ xp.matrix_transpose(on)
            slope, level = sums[..., 0, :], sums[..., 1, :]
            total = xp.sum(d, axis=-1, keepdims=True)
            return xp.concat([c * slope, c * level, a * slope + b * level, total], axis=-1)

        return logits, pull

    def _split(self, phi: Array) -> tuple[Array, Array, Array, Array]:
        h = self.num_hidden
        return phi[..., :h], phi[..., h : 2 * h], phi[..., 2 * h : 3 * h], phi[..., 3 * h :]


@dataclass(frozen=True)
class Table(Network):
    """One free logit for each sample, whatever its loss."""

    def start(self, num_samples: int, seed: int) -> np.ndarray:
        return np.zeros(num_samples)

    def logits(self, phi: Array, z: Array) -> Array:
        return phi + 0.0 * z

    def linearise(self, phi: Array, z: Array) -> tuple[Array, Callable[[Array], Array]]:
        return self.logits(phi, z), lambda d: d + 0.0 * phi
