"""Weights of groups, lifted to samples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from .. import checks
from ..types import Array
from .base import Geometry, Wrapper, check_inner
from .logits import Mirror

__all__ = ["Groups"]


@dataclass(frozen=True, eq=False, repr=False)
class Groups(Wrapper):
    r"""One weight for each group of samples, moved by another geometry.

    .. math::

        w_i = \frac{\omega_{k(i)}}{n_{k(i)}}, \qquad
        \gamma_k = \frac1{n_k}\sum_{i \in k} g_i, \qquad
        \omega^+ = \mathrm{step}(\omega, \gamma, \eta).

    The state is that of ``inner`` for :math:`\omega` ``(..., K)``. By the chain rule
    :math:`\gamma` is the derivative in :math:`\omega` of whatever has the derivative g in w; where
    :math:`\omega` sums to one, so does w. With ``inner=SoftmaxLogits()`` these are the source
    weights of ScaleBiO (Pan et al. 2024). "At most p nonzeros" says nothing about K <= p groups.

    Parameters
    ----------
    groups : (n,) int
        The group of each sample, ``0 ... K-1``; no group is empty.
    inner : Geometry
        What a step does to the weights of the groups.

    Raises
    ------
    ValueError, TypeError
        For groups that are no labels or leave one out; at the start of a run, for another number
        of samples or weights that differ inside a group.
    """

    groups: Any
    inner: Geometry = Mirror()  # noqa: RUF009 (frozen, hence safe to share)

    has_state_per_sample: ClassVar[bool] = False

    def __post_init__(self) -> None:
        groups = checks.labels("groups", self.groups)
        sizes = np.bincount(groups)
        if sizes.min() == 0:
            raise ValueError(
                f"`groups` must use every label from 0 to {sizes.size - 1}; "
                f"got no sample of group {int(np.argmin(sizes))}."
            )
        check_inner(self.inner)
        if any(isinstance(layer, Groups) for layer in self.inner.layers):
            raise TypeError(
                f"`inner` must be a geometry that holds no other groups; got {self.inner!r}."
            )
        groups.setflags(write=False)
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "_sizes", sizes)

    def __repr__(self) -> str:
        digest = hashlib.sha256(self.groups.tobytes()).hexdigest()[:12]
        return (
            f"Groups(n={self.groups.size}, K={self.sizes.size}, groups={digest}, "
            f"inner={self.inner!r})"
        )

    @property
    def sizes(self) -> np.ndarray:
        """Number of samples of each group, ``(K,)``."""
        sizes: np.ndarray = vars(self)["_sizes"]
        return sizes

    def start(self, log_w0: Array) -> Array:
        xp = array_namespace(log_w0)
        if log_w0.shape[-1] != self.groups.size:
            raise ValueError(
                f"`groups` must have one entry for each of the {log_w0.shape[-1]} samples; "
                f"got {self.groups.size}."
            )
        log_mean = xp.log(self.mean(xp.exp(log_w0)))
        spread = float(xp.max(xp.abs(self.lift(log_mean) - log_w0)))
        if not spread <= 1e3 * float(xp.finfo(log_w0.dtype).eps):
            raise ValueError(
                f"`w0` must be constant inside each group; got log-weights that differ by {spread}."
            )
        return self.inner.start(log_mean + self._log_sizes(log_w0))

    def log_weights(self, s: Array) -> Array:
        return self.lift(self.inner.log_weights(s) - self._log_sizes(s))

    def weights(self, s: Array) -> Array:
        sizes = self._like(self.sizes, s)
        return self.lift(self.inner.weights(s) / sizes)

    def state_size(self, num_samples: int) -> int:
        return self.inner.state_size(self.sizes.size)

    def step(self, s: Array, g: Array, eta: Array | float) -> Array:
        return self.inner.step(s, self.mean(g), eta)

    def fresh(self, s: Array, g: Array) -> Array:
        return self.inner.fresh(s, self.mean(g))

    def lift(self, values: Array) -> Array:
        """Return ``values (..., K)`` of the groups at their samples, ``(..., n)``."""
        xp = array_namespace(values)
        return xp.take(values, self._labels(values), axis=-1)

    def mean(self, g: Array) -> Array:
        """Return the mean over each group of ``g (..., n)``, ``(..., K)``."""
        xp = array_namespace(g)
        member = self._labels(g)[:, None] == xp.arange(self.sizes.size, device=g.device)[None, :]
        return (g @ xp.astype(member, g.dtype)) / self._like(self.sizes, g)

    def _labels(self, like: Array) -> Array:
        # a copy: torch warns of arrays that it could not write into
        return array_namespace(like).asarray(np.array(self.groups), device=like.device)

    def _log_sizes(self, like: Array) -> Array:
        return self._like(np.log(self.sizes), like)

    def _like(self, values: np.ndarray, like: Array) -> Array:
        xp = array_namespace(like)
        return xp.asarray(values, dtype=like.dtype, device=like.device)
