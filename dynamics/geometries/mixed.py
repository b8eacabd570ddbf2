"""Weights that are mixed with uniform ones."""

from __future__ import annotations

from dataclasses import dataclass

from array_api_compat import array_namespace

from .. import checks
from ..types import Array
from .base import Geometry, Wrapper, check_inner
from .logits import Mirror

__all__ = ["Mixed"]


@dataclass(frozen=True)
class Mixed(Wrapper):
    r"""Weights v of another geometry, mixed with uniform ones: every sample keeps a share.

    .. math::

        w = (1 - \epsilon)\,v + \frac{\epsilon}{n}, \qquad
        v^+ = \mathrm{step}\big(v, (1 - \epsilon)\,g, \eta\big).

    By the chain rule :math:`(1 - \epsilon) g` is the derivative in v of whatever has the derivative
    g in w. It rests where g is constant on the support of v (and no smaller outside, where it
    attracts): at frozen theta at most p samples have more than :math:`\epsilon/n` (theory T5). With
    weights that sum to one

    .. math:: \mathrm{ESS} \ge 1 \big/ \big((1-\epsilon)^2 + (1 - (1-\epsilon)^2)/n\big),

    whatever the method does. A weight v that has vanished has to come back, which takes as long as
    without mixing (theory T11): `Floored` has the same rest points and no such memory. With
    ``share=0`` it is ``inner``, bit for bit. Continuous time with `Mirror`:
    ``v' = -beta (1 - share) P(v) g``.

    Parameters
    ----------
    share : float
        :math:`\epsilon`, in [0, 1): the share of the weight that is spread evenly.
    inner : Geometry
        What a step does to v.

    Raises
    ------
    ValueError, TypeError
        For a share outside [0, 1) or an inner geometry that is none; at the start of a run, for
        weights that are not above share/n.
    """

    share: float
    inner: Geometry = Mirror()  # noqa: RUF009 (frozen, hence safe to share)

    def __post_init__(self) -> None:
        checks.share("share", self.share)
        check_inner(self.inner)

    @property
    def can_vanish(self) -> bool:
        return self.share == 0 and self.inner.can_vanish

    def start(self, log_w0: Array) -> Array:
        if self.share == 0:
            return self.inner.start(log_w0)
        xp, n = array_namespace(log_w0), log_w0.shape[-1]
        even = self.share / n
        if not bool(xp.all(log_w0 > xp.log(xp.full_like(log_w0, even)))):
            raise ValueError(
                f"`w0` must be above `share`/n = {even:g} everywhere; got "
                f"{float(xp.exp(xp.min(log_w0)))}."
            )
        scale = xp.log1p(xp.full_like(log_w0, -self.share))
        return self.inner.start(log_w0 + xp.log1p(-even * xp.exp(-log_w0)) - scale)

    def weights(self, s: Array) -> Array:
        v = self.inner.weights(s)
        return (1.0 - self.share) * v + self.share / v.shape[-1] if self.share else v

    def log_weights(self, s: Array) -> Array:
        if self.share == 0:
            return self.inner.log_weights(s)
        return array_namespace(s).log(self.weights(s))

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return self.inner.step(s, self._chain(g), eta)

    def pull(self, s: Array, g: Array) -> Array:
        return self.inner.pull(s, self._chain(g))

    def _chain(self, g: Array) -> Array:
        """Return the field of v."""
        return (1.0 - self.share) * g if self.share else g
