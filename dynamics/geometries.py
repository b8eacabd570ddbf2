r"""Geometries of the weights: how a step along a field g becomes new weights.

Every method computes a field g (in the scale of :math:`\Psi`) and leaves it to a geometry what one
step of size eta along -g does. In continuous time, with :math:`P(w) = \mathrm{diag}(w) - ww^\top`:

======================  ===========================================  ==============================
geometry                one step                                     flow
======================  ===========================================  ==============================
`Mirror`                w+ ~ w exp(-eta g)                           w' = -beta P(w) g
`SoftmaxLogits`         s+ = s - eta P(w) g, w = softmax(s)          w' = -beta P(w)^2 g
`Sigmoid`               s+ = s - eta D g, w = cap sigmoid(s)         w' = -beta D^2 g
`Projection`            w+ = proj(w - eta g)                         w' = -beta proj_T(g)
`ClippedNormalised`     w+ ~ max(w - eta g, 0)                       w' = -beta (g - w sum g)
======================  ===========================================  ==============================

D is ``diag(w (1 - w/cap))``; ``proj_T`` projects onto the tangent cone of the simplex. Rest points
inside the simplex are those with g constant for the first two and the fourth, g = 0 for `Sigmoid`
(no constraint couples its weights), and g proportional to w for `ClippedNormalised`, which is
therefore no descent method for h. Speeds differ: on one sample's scale 1/n, a step of `Mirror` is
n times a step of `SoftmaxLogits`.

State the geometry wherever weights are compared: "at most p nonzeros" speaks of `Mirror`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from array_api_compat import array_namespace

from . import checks
from .simplex import apply_metric, normalise_log, project_simplex
from .types import Array

__all__ = ["ClippedNormalised", "Geometry", "Mirror", "Projection", "Sigmoid", "SoftmaxLogits"]


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
        return s - eta * apply_metric(self.weights(s), g)


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

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        w = self.weights(s)
        return s - eta * w * (1.0 - w / self._cap(s)) * g


class _Weights(Geometry):
    """Geometries whose state is w itself, with exact zeros."""

    def start(self, log_w0: Array) -> Array:
        return array_namespace(log_w0).exp(log_w0)

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


def _log(w: Array) -> Array:
    """Return log w with log 0 = -inf and no warning."""
    xp = array_namespace(w)
    positive = w > 0
    log_w = xp.log(xp.where(positive, w, xp.ones_like(w)))
    return xp.where(positive, log_w, xp.full_like(w, -float("inf")))
