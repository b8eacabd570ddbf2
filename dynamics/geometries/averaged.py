"""Weights that are averaged over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from .. import checks
from ..types import Array
from .base import Geometry, Wrapper, check_inner
from .logits import Mirror

__all__ = ["Averaged"]


@dataclass(frozen=True)
class Averaged(Wrapper):
    r"""Weights that everybody sees are a moving average of those that another geometry moves.

    .. math::

        v^+ = \mathrm{step}(v, g(\bar w), \eta), \qquad \bar w^+ = m\,\bar w + (1 - m)\,v^+ .

    theta, the field g and all that is reported see :math:`\bar w`. The state is that of ``inner``,
    then :math:`\log\bar w`. At rest :math:`\bar w = v`, so the rest points are those of ``inner``:
    averaging changes transients and stability, not the support of a limit. It is a lag of
    :math:`m/(1 - m)` steps between the field and theta, and it does not smooth a limit that has
    one nonzero. With ``memory=0`` it is ``inner``, bit for bit. Continuous time with a memory of
    :math:`1/\kappa`: ``v' = -beta P(v) g(wbar)``, ``wbar' = kappa (v - wbar)``. Dynamic Gradient
    Alignment, arXiv 2410.02498.

    Parameters
    ----------
    memory : float
        m in [0, 1): how much of the average stays in a step.
    inner : Geometry
        What a step does to v.

    Raises
    ------
    ValueError, TypeError
        For a memory outside [0, 1), or an inner geometry that is none.
    """

    memory: float
    inner: Geometry = Mirror()  # noqa: RUF009 (frozen, hence safe to share)

    has_state_per_sample: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.share("memory", self.memory)
        check_inner(self.inner)

    def state_size(self, num_samples: int) -> int:
        return self.inner.state_size(num_samples) + (num_samples if self.memory else 0)

    def start(self, log_w0: Array) -> Array:
        return self._joined(self.inner.start(log_w0), log_w0)

    def weights(self, s: Array) -> Array:
        if self.memory == 0:
            return self.inner.weights(s)
        return array_namespace(s).exp(self.log_weights(s))

    def log_weights(self, s: Array) -> Array:
        return self.inner.log_weights(s) if self.memory == 0 else self._parts(s)[1]

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return self._followed(s, self.inner.step(self._parts(s)[0], g, eta))

    def fresh(self, s: Array, g: Array) -> Array:
        return self._followed(s, self.inner.fresh(self._parts(s)[0], g))

    def logits(self, s: Array) -> Array:
        return self.inner.logits(self._parts(s)[0])

    def with_logits(self, s: Array, logits: Array) -> Array:
        return self._followed(s, self.inner.with_logits(self._parts(s)[0], logits))

    def pull(self, s: Array, g: Array) -> Array:
        return self.inner.pull(self._parts(s)[0], g)

    def _parts(self, s: Array) -> tuple[Array, Array]:
        """Return the state of ``inner`` and the log of the average."""
        if self.memory == 0:
            return s, s
        none = self.state_size(0)  # sizes are affine in n
        n = (s.shape[-1] - none) // (self.state_size(1) - none)
        return s[..., :-n], s[..., -n:]

    def _followed(self, s: Array, moved: Array) -> Array:
        """Return the state after ``s`` in which ``inner`` has come to ``moved``."""
        if self.memory == 0:
            return moved
        xp, log_v = array_namespace(s), self.inner.log_weights(moved)
        old = self._parts(s)[1] + xp.log(xp.full_like(log_v, self.memory))
        return self._joined(
            moved, xp.logaddexp(old, log_v + xp.log1p(xp.full_like(log_v, -self.memory)))
        )

    def _joined(self, s: Array, log_average: Array) -> Array:
        """Return the state of both."""
        if self.memory == 0:
            return s
        xp = array_namespace(s)
        lead = xp.zeros_like(s[..., :1]) + xp.zeros_like(log_average[..., :1])
        return xp.concat([lead + s, lead + log_average], axis=-1)
