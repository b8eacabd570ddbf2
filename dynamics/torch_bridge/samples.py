"""Some samples under a module: their losses and the derivatives, over chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..types import Array
from .calculus import Calculus, Losses, curvature_at
from .forward_pass import ForwardPass
from .losses import Loss

__all__ = ["Samples"]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Functions of one theta ``(p,)`` on samples ``X (b, ...)``, ``y (b, ...)``.

    Attributes
    ----------
    passing : ForwardPass
    loss : callable
        Outputs and targets to the loss of each sample.
    calculus : Calculus
    at_once : int
        Most samples that pass through the module at once.
    """

    passing: ForwardPass
    loss: Loss
    calculus: Calculus
    X: Array
    y: Array
    at_once: int

    def losses_of(self, X: Array, y: Array) -> Losses:
        """Return ``theta -> (b,)`` for other samples."""
        return lambda theta: self.loss(self.passing.outputs(theta, X), y)

    def losses(self, theta: Array) -> Array:
        """Return the losses ``(b,)``."""
        return _join([losses(theta) for losses, _ in self._chunks()])

    def pull(self, theta: Array, u: Array) -> Array:
        """Return ``sum_i u_i grad l_i``, shape (p,)."""
        parts = [self.calculus.pull(losses, theta, u[rows]) for losses, rows in self._chunks()]
        return _total(parts)

    def push(self, theta: Array, v: Array) -> Array:
        """Return the slopes ``grad l_i . v``, shape (b,)."""
        return _join([self.calculus.push(losses, theta, v) for losses, _ in self._chunks()])

    def curve(self, theta: Array, u: Array, v: Array) -> Array:
        """Return ``sum_i u_i Hess l_i v``, shape (p,)."""
        parts = [self.calculus.curve(losses, theta, u[rows], v) for losses, rows in self._chunks()]
        return _total(parts)

    def curvature_at(self, theta: Array, u: Array) -> Callable[[Array], Array]:
        """Return ``v -> sum_i u_i Hess l_i v`` from one graph of all samples."""
        return curvature_at(self.losses_of(self.X, self.y), theta, u)

    def hits(self, theta: Array) -> Array:
        """Return 1 where the largest output is the target class, else 0; shape (b,)."""
        parts = [self.passing.outputs(theta, a).argmax(-1) == b for a, b in self._split()]
        return _join(parts).to(theta.dtype)

    def each(
        self, act: Callable[..., Array], cell: tuple[Array, ...], at_once: int | None
    ) -> Array:
        """Return ``act(losses of one sample, *cell)`` for every sample, shape ``(b, ...)``.

        ``at_once`` samples are vectorised; None goes through them one by one.
        """
        import torch

        def one(x: Array, y: Array) -> Array:
            return act(self.losses_of(x[None], y[None]), *cell)

        if at_once is None:
            return torch.stack([one(x, y) for x, y in zip(self.X, self.y, strict=True)])
        return torch.func.vmap(one, chunk_size=at_once)(self.X, self.y)

    def _split(self) -> list[tuple[Array, Array]]:
        return list(zip(self.X.split(self.at_once), self.y.split(self.at_once), strict=True))

    def _chunks(self) -> list[tuple[Losses, slice]]:
        """Return the losses of each chunk, and its place."""
        pairs = enumerate(self._split())
        size = self.at_once
        return [(self.losses_of(a, b), slice(k * size, (k + 1) * size)) for k, (a, b) in pairs]


def _join(parts: list[Array]) -> Array:
    import torch

    return torch.cat(parts)


def _total(parts: list[Array]) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
