r"""Derivatives of per-sample losses along directions, without per-sample gradients.

For :math:`l: \theta \mapsto (l_1, \dots, l_b)` with :math:`J = [\nabla l_1 \dots \nabla l_b]`:

=========  ============================================  =================================
``pull``   :math:`J u`                                   one backward pass
``push``   :math:`J^\top v`                              one forward-mode pass
``curve``  :math:`\sum_i u_i \nabla^2 l_i(\theta)\, v`   forward mode over a backward pass
=========  ============================================  =================================

:class:`ForwardMode` does so with ``torch.func``. Where torch has no forward mode for an operation,
:class:`DoubleBackward` differentiates :math:`u \mapsto J u` and
:math:`\theta \mapsto J(\theta) u` once more backwards, at up to twice the cost. Results carry no
graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..types import Array

__all__ = ["Calculus", "DoubleBackward", "ForwardMode", "Losses", "curvature_at"]

Losses = Callable[[Array], Array]
"""theta ``(p,)`` to losses ``(b,)``."""


class Calculus(Protocol):
    """How derivatives of losses are found."""

    name: str
    """Such as ``"forward"``."""

    def pull(self, losses: Losses, theta: Array, u: Array) -> Array:
        """Return ``J u``, shape (p,), for u (b,)."""

    def push(self, losses: Losses, theta: Array, v: Array) -> Array:
        """Return ``J^T v``, shape (b,), for v (p,)."""

    def curve(self, losses: Losses, theta: Array, u: Array, v: Array) -> Array:
        """Return ``(sum_i u_i Hess l_i) v``, shape (p,)."""


class ForwardMode:
    """By ``torch.func``; can run under ``torch.func.vmap``."""

    name = "forward"

    def pull(self, losses: Losses, theta: Array, u: Array) -> Array:
        from torch.func import grad

        product: Array = grad(lambda point: losses(point) @ u)(theta)
        return product

    def push(self, losses: Losses, theta: Array, v: Array) -> Array:
        from torch.func import jvp

        return jvp(losses, (theta,), (v,))[1]

    def curve(self, losses: Losses, theta: Array, u: Array, v: Array) -> Array:
        from torch.func import jvp

        return jvp(lambda point: self.pull(losses, point, u), (theta,), (v,))[1]


class DoubleBackward:
    """By ``torch.autograd`` alone, for operations without forward mode."""

    name = "double backward"

    def pull(self, losses: Losses, theta: Array, u: Array) -> Array:
        import torch

        with torch.enable_grad():
            theta = theta.detach().requires_grad_()
            return _slope(losses(theta) @ u, theta).detach()

    def push(self, losses: Losses, theta: Array, v: Array) -> Array:
        import torch

        with torch.enable_grad():
            theta = theta.detach().requires_grad_()
            values = losses(theta)
            u = torch.zeros_like(values, requires_grad=True)
            return _slope(_slope(values, theta, u, keep=True), u, v).detach()

    def curve(self, losses: Losses, theta: Array, u: Array, v: Array) -> Array:
        return curvature_at(losses, theta, u)(v)


def curvature_at(losses: Losses, theta: Array, u: Array) -> Callable[[Array], Array]:
    """Return ``v -> sum_i u_i Hess l_i v`` from one graph of ``J u``, which it keeps."""
    import torch

    with torch.enable_grad():
        theta = theta.detach().requires_grad_()
        gradient = _slope(losses(theta) @ u, theta, keep=True)
    return lambda v: _slope(gradient, theta, v, again=True).detach()


def _slope(
    values: Array,
    at: Array,
    along: Array | None = None,
    *,
    keep: bool = False,
    again: bool = False,
) -> Array:
    """Return the derivative of ``values . along``; zero where ``values`` does not depend on it.

    ``keep`` makes it differentiable, ``again`` keeps the graph for a further call. Values that have
    a graph without ``at`` are an error: a function that can be differentiated only once leads there
    silently.
    """
    import torch

    if not values.requires_grad:
        return torch.zeros_like(at)
    return torch.autograd.grad(
        values,
        at,
        along,
        create_graph=keep,
        retain_graph=keep or again,
    )[0]
