"""Geometries whose state is a logit: weights that are never exactly zero."""

from __future__ import annotations

import math
from dataclasses import dataclass

from array_api_compat import array_namespace

from .. import checks
from ..simplex import apply_metric, normalise_log
from ..types import Array
from .base import Geometry

__all__ = ["Mirror", "Sigmoid", "SoftmaxLogits"]


@dataclass(frozen=True)
class Mirror(Geometry):
    r"""Entropic mirror descent (exponentiated gradient); the state is the normalised log w.

    .. math:: w_i^+ \propto w_i\,e^{-\eta g_i}; \qquad w' = -\beta P(w) g .

    [IA23] section 2; Beck and Teboulle (2003).
    """

    def start(self, log_w0: Array) -> Array:
        return log_w0

    def log_weights(self, s: Array) -> Array:
        return s

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return normalise_log(s - eta * g)


@dataclass(frozen=True)
class SoftmaxLogits(Geometry):
    r"""Gradient descent on logits s with w = softmax(s): the metric is P(w)^2, not P(w).

    .. math:: s^+ = s - \eta P(w) g; \qquad w' = -\beta P(w)^2 g .
    """

    def start(self, log_w0: Array) -> Array:
        return log_w0

    def log_weights(self, s: Array) -> Array:
        return normalise_log(s)

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return s - eta * self.pull(s, g)

    def logits(self, s: Array) -> Array:
        return s

    def with_logits(self, s: Array, logits: Array) -> Array:
        return logits

    def pull(self, s: Array, g: Array) -> Array:
        r"""Return :math:`(\partial w/\partial s)^\top g = P(w) g`."""
        return apply_metric(self.weights(s), g)


@dataclass(frozen=True)
class Sigmoid(Geometry):
    r"""Independent weights in (0, cap) through a sigmoid; nothing makes them sum to one.

    .. math::

        w_i = \mathrm{cap}\,\sigma(s_i), \qquad s_i^+ = s_i - \eta\,w_i(1 - w_i/\mathrm{cap})\,g_i .

    Parameters
    ----------
    cap : float, optional
        Largest weight. Left out it is 2/n, so that s = 0 stands for the uniform weights.
    """

    cap: float | None = None

    def __post_init__(self) -> None:
        if self.cap is not None:
            checks.positive("cap", self.cap)

    def _cap(self, s: Array) -> float:
        return 2.0 / s.shape[-1] if self.cap is None else self.cap

    def start(self, log_w0: Array) -> Array:
        xp = array_namespace(log_w0)
        share = xp.exp(log_w0) / self._cap(log_w0)
        if not bool(xp.all(share < 1)):
            raise ValueError(
                f"`w0` must be below the `cap` ({self._cap(log_w0):g}) of the sigmoid geometry; "
                f"got {float(xp.max(xp.exp(log_w0)))}."
            )
        return xp.log(share) - xp.log1p(-share)

    def log_weights(self, s: Array) -> Array:
        xp = array_namespace(s)
        softplus = xp.log1p(xp.exp(-xp.abs(s))) + xp.where(s < 0, -s, xp.zeros_like(s))
        cap = xp.asarray(self._cap(s), dtype=s.dtype, device=s.device)
        return xp.log(cap) - softplus

    def weights(self, s: Array) -> Array:
        xp = array_namespace(s)
        least = -math.log(float(xp.finfo(s.dtype).max))  # exp(-s) would overflow below it
        s = xp.maximum(s, xp.asarray(least, dtype=s.dtype, device=s.device))
        return self._cap(s) / (1.0 + xp.exp(-s))

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return s - eta * self.pull(s, g)

    def logits(self, s: Array) -> Array:
        return s

    def with_logits(self, s: Array, logits: Array) -> Array:
        return logits

    def pull(self, s: Array, g: Array) -> Array:
        r"""Return :math:`(\partial w/\partial s)^\top g = D g`."""
        w = self.weights(s)
        return w * (1.0 - w / self._cap(s)) * g

    def raised(self, s: Array, least: float) -> Array:
        """Return the state with weights below ``least`` raised to it."""
        xp, share = array_namespace(s), least / self._cap(s)
        bound = xp.full_like(s, math.log(share) - math.log1p(-share))
        return xp.where(s < bound, bound, s)
