"""Weights that never fall below a floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from array_api_compat import array_namespace

from .. import checks
from ..simplex import project_simplex
from ..types import Array
from .base import Geometry, Wrapper, check_inner
from .euclidean import ClippedNormalised, Projection
from .logits import Mirror, Sigmoid
from .parametric import Parametric
from .penalised import Penalised

__all__ = ["Floored"]


@dataclass(frozen=True)
class Floored(Wrapper):
    r"""Another geometry, whose weights are projected back above a floor after every step.

    .. math::

        w^+ = \arg\min_{u \in C} D\big(u, \mathrm{step}(w, g, \eta)\big), \qquad
        C = \{u : u_i \ge f/n,\ \textstyle\sum_i u_i = 1\}.

    D is the divergence of the geometry: KL for `Mirror` and `ClippedNormalised`, where free weights
    are scaled by a common factor; the Euclidean distance for `Projection`; for `Sigmoid`, where
    nothing couples the weights, they are clipped. The state is projected too.

    It rests where g is some c on the free samples and no smaller at the floor: at frozen theta at
    most p samples are above f/n (theory T5). C holds the same weights as `Mixed` of share f, with
    the same rest points and the same bound on the ESS, but other dynamics: the floor also bounds
    the memory of log w, so that a sample that is wanted again grows at once. The delay of theory
    T11 is at most ``log(n w_max / floor)`` divided by its rate. With ``floor=0`` it is ``inner``,
    bit for bit. Continuous time with `Mirror`: where no weight is at the floor that of `Mirror`.

    Parameters
    ----------
    floor : float
        f in [0, 1), in units of the uniform weight.
    inner : Geometry
        `Mirror`, `ClippedNormalised`, `Projection`, `Sigmoid`, or `Penalised` of one of them.

    Raises
    ------
    ValueError, TypeError
        For a floor outside [0, 1), or an inner geometry that has no projection; at the start of a
        run, for weights below the floor.
    """

    floor: float
    inner: Geometry = Mirror()  # noqa: RUF009 (frozen, hence safe to share)

    def __post_init__(self) -> None:
        checks.share("floor", self.floor)
        check_inner(self.inner)
        if not isinstance(self.inner.core, Mirror | ClippedNormalised | Projection | Sigmoid):
            where = (
                "projected weights need not be a function of the features"
                if isinstance(self.inner.core, Parametric)
                else "its metric belongs to no divergence"
            )
            raise ValueError(
                f"`inner` must have a projection onto weights above a floor; got {self.inner!r} "
                f"({where}): use Mixed(share), which has the same set of weights."
            )
        outer = [layer for layer in self.inner.layers[:-1] if not isinstance(layer, Penalised)]
        if outer:
            kind = type(outer[0]).__name__
            raise ValueError(
                f"`inner` must not hold {kind}, whose weights are not the state that is "
                f"projected; got {self.inner!r}: put Floored inside {kind}."
            )

    @property
    def can_vanish(self) -> bool:
        return self.floor == 0 and self.inner.can_vanish

    def start(self, log_w0: Array) -> Array:
        s = self.inner.start(log_w0)
        if self.floor == 0:
            return s
        xp, least = array_namespace(log_w0), self.floor / log_w0.shape[-1]
        if not bool(xp.all(log_w0 >= math.log(least))):
            raise ValueError(
                f"`w0` must be at least `floor`/n = {least:g} everywhere; got "
                f"{float(xp.exp(xp.min(log_w0)))}."
            )
        return s

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return self._project(self.inner.step(s, g, eta))

    def fresh(self, s: Array, g: Array) -> Array:
        return self._project(self.inner.fresh(s, g))

    def _project(self, s: Array) -> Array:
        """Return the nearest state above the floor."""
        if self.floor == 0:
            return s
        n, core = s.shape[-1], self.inner.core
        least = self.floor / n
        if isinstance(core, Mirror):
            return _scaled(s, math.log(least))
        if isinstance(core, ClippedNormalised):
            return array_namespace(s).exp(_scaled(core.log_weights(s), math.log(least)))
        if isinstance(core, Projection):
            return least + (1.0 - self.floor) * project_simplex((s - least) / (1.0 - self.floor))
        assert isinstance(core, Sigmoid), "no other geometry is let in"
        return core.raised(s, least)


def _scaled(log_w: Array, log_least: float) -> Array:
    """Return the projection in KL of weights onto those that are at least ``exp(log_least)``.

    With the weights in decreasing order the k largest are free, scaled so that all sum to one, for
    the largest k for which the k-th stays above the floor; the largest weight is free always, also
    where round-off hides that it is above.
    """
    xp, n = array_namespace(log_w), log_w.shape[-1]
    top = xp.max(log_w, axis=-1, keepdims=True)
    shifted = log_w - top
    u = xp.sort(shifted, axis=-1, descending=True)
    k = xp.astype(xp.arange(1, n + 1, device=log_w.device), log_w.dtype)
    rest = 1.0 - (n - k) * math.exp(log_least)
    log_scale = xp.log(rest) - xp.log(xp.cumulative_sum(xp.exp(u), axis=-1))
    free = u + log_scale > log_least
    count = xp.sum(xp.astype(free | (k == 1), log_w.dtype), axis=-1, keepdims=True)
    scale = xp.sum(
        xp.where(k == count, log_scale, xp.zeros_like(log_scale)), axis=-1, keepdims=True
    )
    moved = shifted + scale
    return xp.where(moved > log_least, moved, xp.full_like(moved, log_least))
