"""Reverse mode: a sweep back through the inner steps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from .. import checks
from ..problems import Problem
from ..types import Array
from .base import gradient_step
from .unrolled import Unrolled

__all__ = ["ReverseMode", "TruncatedReverse"]


@dataclass(frozen=True, kw_only=True)
class ReverseMode(Unrolled):
    r"""Backpropagation through all T inner steps.

    .. math::

        a_T = \nabla F(\theta_T), \qquad a_t = (I - \rho H(\theta_t, w))\,a_{t+1}, \qquad
        g = -\rho \sum_{t<T} J(\theta_t)^\top a_{t+1}, \qquad w^+ = \mathrm{step}(w, g, \eta).

    g is the exact gradient of :math:`w \mapsto F(\theta_T(w))`; for h it is biased by
    O(T (1 - rho mu)^T). T = 1 is rho times the field of `OneStep`. T to infinity gives Psi, so the
    continuous limit is that of `Joint`; with T steps from a cold start the weights at frozen
    theta_0 have at most p(p+3)/2 nonzeros on ridge regression, not p. One step costs T
    ``train_grad``, T - 1 ``hvp``, T ``per_sample_jvp``, one ``val_grad`` and the memory of T
    iterates; in the orders other than "simultaneous" with a warm start, T ``train_grad`` more or
    a second sweep. Defined for every problem. Franceschi et al. (2017), arXiv 1703.01785.

    Parameters
    ----------
    rho, eta : float or (...)
        Inner step (None means 1/L) and outer step.
    num_inner_steps : int
        T.
    cold_start : bool
        Whether every unrolling starts at theta_0 of the run instead of the last theta.
    """

    def respond(self, problem: Problem, theta: Array, w: Array, rho: Any) -> tuple[Array, Array]:
        return _unroll(problem, theta, w, rho, self.num_inner_steps, self.num_inner_steps)


@dataclass(frozen=True, kw_only=True)
class TruncatedReverse(Unrolled):
    r"""Backpropagation through the last K of T inner steps (K-RMD).

    .. math:: g_K = -\rho \sum_{t = T - K}^{T - 1} J(\theta_t)^\top a_{t+1}.

    K = T is `ReverseMode`, and ``g_K - g_{K-1}`` a single term of its sum. Begun at theta_star it
    is `Neumann` with K terms: a relative bias of (1 - rho mu)^K. One step costs T ``train_grad``,
    K - 1 ``hvp``, K ``per_sample_jvp``, one ``val_grad`` and the memory of K iterates. Continuous
    limit: that of `Joint` with the truncated series for :math:`H^{-1}`. Defined for every problem.
    Shaban et al. (2019), arXiv 1810.10667.

    Parameters
    ----------
    rho, eta : float or (...)
        Inner step (None means 1/L) and outer step.
    num_inner_steps : int
        T.
    num_kept : int
        K, at most T.
    cold_start : bool
        Whether every unrolling starts at theta_0 of the run instead of the last theta.
    """

    num_kept: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("num_kept", self.num_kept, minimum=1)
        if self.num_kept > self.num_inner_steps:
            raise ValueError(
                f"`num_kept` must be at most `num_inner_steps` ({self.num_inner_steps}); "
                f"got {self.num_kept}."
            )

    def respond(self, problem: Problem, theta: Array, w: Array, rho: Any) -> tuple[Array, Array]:
        return _unroll(problem, theta, w, rho, self.num_inner_steps, self.num_kept)


def _unroll(
    problem: Problem, theta: Array, w: Array, rho: Any, num_steps: int, num_kept: int
) -> tuple[Array, Array]:
    """Return theta_T and the sum over the last ``num_kept`` steps."""
    kept: deque[Array] = deque(maxlen=num_kept)
    for _ in range(num_steps):
        kept.append(theta)
        theta = gradient_step(problem, theta, w, rho)
    adjoint = problem.val_grad(theta)
    field = -rho * problem.per_sample_jvp(kept[-1], adjoint)
    for later, earlier in zip(reversed(kept), list(reversed(kept))[1:], strict=False):
        adjoint = adjoint - rho * problem.hvp(later, w, adjoint)
        field = field - rho * problem.per_sample_jvp(earlier, adjoint)
    return theta, field
