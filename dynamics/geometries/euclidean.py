"""Geometries whose state is w itself, with exact zeros."""

from __future__ import annotations

from dataclasses import dataclass

from array_api_compat import array_namespace

from ..simplex import project_simplex
from ..types import Array
from .base import Geometry

__all__ = ["ClippedNormalised", "Projection"]


class _Weights(Geometry):
    """Geometries whose state is w itself, with exact zeros."""

    def start(self, log_w0: Array) -> Array:
        return array_namespace(log_w0).exp(log_w0)

    @property
    def can_vanish(self) -> bool:
        return True

    def log_weights(self, s: Array) -> Array:
        return _log(s)

    def weights(self, s: Array) -> Array:
        return s


@dataclass(frozen=True)
class Projection(_Weights):
    r"""Projected gradient descent in the Euclidean geometry; the state is w, with exact zeros.

    .. math::

        w^+ = \mathrm{proj}_\Delta(w - \eta g); \qquad w' = \mathrm{proj}_{T_w\Delta}(-\beta g).
    """

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return project_simplex(s - eta * g)


@dataclass(frozen=True)
class ClippedNormalised(_Weights):
    r"""A gradient step, clipped at zero and divided by its sum; the state is w, with exact zeros.

    .. math::

        w^+ = \frac{\max(w - \eta g, 0)}{\sum_i \max(w_i - \eta g_i, 0)}; \qquad
        w' = -\beta\,(g - w \textstyle\sum_j g_j) \text{ where no weight is zero.}

    The normalisation is that of Ren et al. (2018). Where everything is clipped, the weights become
    uniform.
    """

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        xp = array_namespace(s)
        moved = s - eta * g
        clipped = xp.where(moved > 0, moved, xp.zeros_like(moved))
        total = xp.sum(clipped, axis=-1, keepdims=True)
        uniform = xp.ones_like(clipped) / s.shape[-1]
        return xp.where(
            total > 0, clipped / xp.where(total > 0, total, xp.ones_like(total)), uniform
        )

    def fresh(self, s: Array, g: Array) -> Array:
        return self.step(array_namespace(g).zeros_like(g), g, 1.0)


def _log(w: Array) -> Array:
    """Return log w with log 0 = -inf and no warning."""
    xp = array_namespace(w)
    positive = w > 0
    log_w = xp.log(xp.where(positive, w, xp.ones_like(w)))
    return xp.where(positive, log_w, xp.full_like(w, -float("inf")))
