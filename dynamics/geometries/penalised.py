"""A penalty that pulls the weights towards uniform, added to the field of any method."""

from __future__ import annotations

from dataclasses import dataclass

from .. import checks
from ..simplex import normalise_log
from ..types import Array
from .base import Geometry, Wrapper, check_inner
from .logits import Mirror, Sigmoid

__all__ = ["Penalised"]


@dataclass(frozen=True)
class Penalised(Wrapper):
    r"""Another geometry, whose field gains the gradient of a penalty on the weights.

    .. math::

        g_i + \tau \log w_i + \kappa\, n\, w_i = \frac{\partial}{\partial w_i}\Big[h
        + \tau\,\mathrm{KL}(w\,|\,\mathrm{uniform}) + \tfrac{\kappa n}{2}|w|^2\Big]
        + \mathrm{const}

    where g is the gradient of h. Both penalties have the same curvature n at uniform weights, so
    that equal knobs mean equal strength there. Near a face they differ: the slope of the first is
    infinite, so that no weight can vanish, that of the second is finite, so that weights can. The
    second is :math:`\kappa n / (2\,\mathrm{ESS})`. With `Mirror` a step is stable for
    :math:`\eta\tau < 2` (theory T12), and with ``implicit`` at any size:

    .. math::

        w^+ = \arg\min_v\; \langle g, v\rangle + \tau\,\mathrm{KL}(v\,|\,\mathrm{uniform})
        + \tfrac1\eta\,\mathrm{KL}(v\,|\,w) \;\propto\;
        \big(w\,e^{-\eta g}\big)^{1/(1 + \eta\tau)} .

    Parameters
    ----------
    entropy : float
        :math:`\tau \ge 0`, in units of the loss.
    l2 : float
        :math:`\kappa \ge 0`, in units of the loss.
    inner : Geometry
        What a step does; one with weights that never vanish exactly where ``entropy`` > 0.
    implicit : bool
        Whether the entropy acts at the end of a step, with `Mirror` alone.

    Raises
    ------
    ValueError, TypeError
        For knobs that are not numbers >= 0, or an inner geometry that is none.
    """

    entropy: float = 0.0
    l2: float = 0.0
    inner: Geometry = Mirror()  # noqa: RUF009 (frozen, hence safe to share)
    implicit: bool = False

    def __post_init__(self) -> None:
        checks.nonnegative("entropy", self.entropy)
        checks.nonnegative("l2", self.l2)
        check_inner(self.inner)
        if checks.flag("implicit", self.implicit) and not isinstance(self.inner, Mirror):
            raise ValueError(f"`implicit` needs Mirror() as `inner`; got {self.inner!r}.")
        if isinstance(self.inner.core, Sigmoid):
            raise ValueError(
                "`inner` must keep the sum of the weights; got Sigmoid(), under which a constant "
                "in the penalty's gradient counts."
            )
        if self.entropy > 0 and self.inner.can_vanish:
            raise ValueError(
                f"`entropy` must be 0 with {type(self.inner).__name__}(), whose weights can be "
                f"exactly 0; got {self.entropy}."
            )

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        if self.implicit:
            moved = self.inner.step(s, self._with_l2(s, g), eta)
            return normalise_log(moved / (1.0 + eta * self.entropy))
        return self.inner.step(s, self._penalised(s, g), eta)

    def pull(self, s: Array, g: Array) -> Array:
        return self.inner.pull(s, self._penalised(s, g))

    def _penalised(self, s: Array, g: Array) -> Array:
        """Return g with the gradients of both penalties."""
        g = self._with_l2(s, g)
        return g + self.entropy * self.log_weights(s) if self.entropy > 0 else g

    def _with_l2(self, s: Array, g: Array) -> Array:
        """Return g with the gradient of the l2 penalty."""
        return g + (self.l2 * g.shape[-1]) * self.weights(s) if self.l2 > 0 else g
