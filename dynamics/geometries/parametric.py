"""Weights that are a function of features of the samples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from .. import checks
from ..simplex import apply_metric, normalise_log
from ..types import Array
from .base import Geometry

__all__ = ["Parametric"]


@dataclass(frozen=True, eq=False, repr=False)
class Parametric(Geometry):
    r"""Weights of an exponential family in given features, moved by gradient descent.

    .. math::

        w_i \propto w^0_i\,e^{\langle a_i, \phi\rangle}, \qquad
        \phi^+ = \phi - \eta\,A^\top P(w)\,g; \qquad w' = -\beta\,P(w) A A^\top P(w)\,g .

    q parameters whatever n; the state is :math:`(\log w^0, \phi)`. It rests where
    :math:`\mathrm{Cov}_w(a, g) = 0`, which are q equations: g need not be constant on the support,
    and no count of equations makes the weights sparse. Ratios to w0 of samples with equal features
    stay equal. Weights vanish only where :math:`\phi` diverges, and then on a face of the convex
    hull of the features. Without ``w0`` one-hot features are `SoftmaxLogits`, and the indicators of
    groups are `Groups` of `SoftmaxLogits`. Scale the features: a step is as long as their square.
    Grangier et al. (2023), arXiv 2311.11973, train a parametric weight model along the same field.

    Parameters
    ----------
    features : (n, q)
        :math:`a_i` of each sample; a constant column changes nothing.

    Raises
    ------
    ValueError, TypeError
        For features that are not finite or no matrix; at the start of a run, for another number of
        samples.
    """

    features: Any

    has_state_per_sample: ClassVar[bool] = False

    def __post_init__(self) -> None:
        features = checks.data("features", self.features, shape=(None, None))
        features.setflags(write=False)
        object.__setattr__(self, "features", features)

    def __repr__(self) -> str:
        n, q = self.features.shape
        digest = hashlib.sha256(self.features.tobytes()).hexdigest()[:12]
        return f"Parametric(n={n}, q={q}, features={digest})"

    def state_size(self, num_samples: int) -> int:
        return int(sum(self.features.shape))

    def start(self, log_w0: Array) -> Array:
        n, q = self.features.shape
        if log_w0.shape[-1] != n:
            raise ValueError(
                f"`features` must have one row for each of the {log_w0.shape[-1]} samples; got {n}."
            )
        xp = array_namespace(log_w0)
        zeros = xp.zeros((*log_w0.shape[:-1], q), dtype=log_w0.dtype, device=log_w0.device)
        return xp.concat([log_w0, zeros], axis=-1)

    def log_weights(self, s: Array) -> Array:
        base, phi = self._parts(s)
        return normalise_log(base + phi @ self._features(s).T)

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        base, phi = self._parts(s)
        phi = phi - eta * (apply_metric(self.weights(s), g) @ self._features(s))
        return array_namespace(s).concat([base + 0.0 * phi[..., :1], phi], axis=-1)

    def _parts(self, s: Array) -> tuple[Array, Array]:
        """Return log w0 ``(..., n)`` and phi ``(..., q)``."""
        n = self.features.shape[0]
        return s[..., :n], s[..., n:]

    def _features(self, like: Array) -> Array:
        xp = array_namespace(like)
        return xp.asarray(np.array(self.features), dtype=like.dtype, device=like.device)
