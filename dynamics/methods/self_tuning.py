r"""A learned best response of theta to the weights."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import hadamard

from .. import checks
from ..geometries import Geometry
from ..problems import Problem
from ..types import Array, Namespace
from .base import Method, State, in_order, positive_rate, rates, step_size
from .batches import check_batch_size, draw_batch
from .forward import response as best_response

__all__ = ["SelfTuning", "SelfTuningState"]

NOISE_STREAM = 3
"""Stream of the perturbations; a mini-batch takes the streams 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class SelfTuningState(State):
    """The state of :class:`SelfTuning`; theta is the response at the present weights.

    Attributes
    ----------
    response : (..., p, n)
        B, with ``d theta = B dw``; the response to logits is ``B diag(w)``.
    """

    response: Array


@dataclass(frozen=True, kw_only=True)
class SelfTuning(Method):
    r"""Self-tuning networks with an affine best response, MacKay et al. (2019), arXiv 1903.03088.

    With e of mean 0 and covariance :math:`\sigma^2 I` added to log w,
    :math:`\tilde w \propto w e^{e}` and the hypothesis :math:`\theta_e = \theta + B (w \circ e)`,

    .. math::

        \theta^+ &= \theta - \rho\,\overline{g}, \qquad
        B^+ = B - \rho\,n\,\overline{g\,e^\top}, \qquad
        g = \nabla_\theta G(\theta_e, \tilde w)
        \quad (T \text{ times, bars: means over } e), \\
        w^+ &= \mathrm{step}(w, B^\top\nabla F(\theta), \eta), \qquad
        \theta^+ = \theta + B(w^+ - w).

    The response to logits is :math:`T_1 = B\,\mathrm{diag}(w)`. For small sigma, in continuous
    time, ``theta' = -alpha grad G`` and ``B' = -alpha sigma^2 (H B + J (I - w 1')) n diag(w)``,
    which rests at ``T_1 = -H^{-1} J P(w)``, where the field is Psi - <w, Psi>: RealTimeForward in
    logits, learned from losses at perturbed weights. No second derivative and no derivative in w is
    taken. Biased by O(sigma^2) in theta, in B and in the field, by the noise of e, and by lag.

    The source keeps T_1 and moves it by ``-rho g e'``. Here its column i moves by ``n w_i`` times
    that, the same at uniform weights: the field of a mirror step is ``T_1' grad F`` divided by w,
    which noise would dominate where w is small. theta is re-centred when w moves, else the response
    is stale. Sigma is constant here, learned in the source.

    An inner step costs ``num_perturbations`` times ``train_grad`` (in two calls) and 2 p n products
    for each; a step also one ``val_grad``. Memory p n. The source draws Gaussian e. Here they are
    signs times sigma: in pairs +e, -e, which cancels noise of even order, and orthogonal to each
    other up to n mod K, which cancels most of the rest. Groups of samples make it cheaper.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; left out ``1/((1 + n sigma^2 (1/K + max w)) L)`` with K pairs of perturbations:
        the second term is the curvature that B sees.
    eta : float or (...)
        Outer step.
    sigma : float or (...)
        Scale of the perturbations of log w, > 0.
    num_perturbations : int
        At each inner step; even.
    num_inner_steps : int
        T.
    batch_size : int, optional
        Samples drawn at each inner step, and validation samples for the outer one; all when left
        out.
    """

    rho: Any = None
    eta: Any = 0.05
    sigma: Any = 0.3
    num_perturbations: int = 32
    num_inner_steps: int = 2
    batch_size: int | None = None

    points: ClassVar[tuple[str, ...]] = ("theta", "response")

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        positive_rate("sigma", self.sigma)
        checks.integer("num_perturbations", self.num_perturbations, minimum=2)
        if self.num_perturbations % 2:
            raise ValueError(f"`num_perturbations` must be even; got {self.num_perturbations}.")
        checks.integer("num_inner_steps", self.num_inner_steps, minimum=1)
        check_batch_size(self.batch_size)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> SelfTuningState:
        zeros = problem.xp.zeros_like(geometry.weights(outer))
        response = theta[..., :, None] * zeros[..., None, :]
        return SelfTuningState(theta=theta, outer=outer, step=0, seed=seed, response=response)

    def step(self, problem: Problem, geometry: Geometry, state: SelfTuningState) -> SelfTuningState:
        xp, eta = problem.xp, step_size(problem, self.eta)
        val = self._batch(problem, state, self.num_inner_steps).problem
        moved = geometry.weights(state.outer)

        def move_inner(inner: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            w = geometry.weights(outer)
            for k in range(self.num_inner_steps):
                inner = self._train(problem, state, inner, w, k)
            return inner

        def move_outer(inner: tuple[Array, Array], outer: Array) -> Array:
            nonlocal moved
            theta, response = inner
            field = (xp.matrix_transpose(response) @ val.val_grad(theta)[..., None])[..., 0]
            new = geometry.step(outer, field, eta)
            moved = geometry.weights(new) - geometry.weights(outer)
            return new

        (theta, response), outer = in_order(
            self.order, (state.theta, state.response), state.outer, move_inner, move_outer
        )
        theta = theta + (response @ moved[..., None])[..., 0]
        return SelfTuningState(
            theta=theta, outer=outer, step=state.step + 1, seed=state.seed, response=response
        )

    def relax(
        self, problem: Problem, geometry: Geometry, state: SelfTuningState
    ) -> SelfTuningState:
        w, inner = geometry.weights(state.outer), (state.theta, state.response)
        theta, response = self._train(problem, state, inner, w, 0)
        return replace(state, theta=theta, response=response)

    def settle(
        self,
        problem: Problem,
        geometry: Geometry,
        state: SelfTuningState,
        num_steps: int | None = None,
    ) -> SelfTuningState:
        """Return the state at rest in the limit of small sigma: ``B = -H^-1 J (I - w 1')``."""
        state = super().settle(problem, geometry, state, num_steps)
        xp, w = problem.xp, geometry.weights(state.outer)
        rows = best_response(problem, state.theta, w, xp.matrix_transpose(state.response))
        rows = rows - xp.sum(w[..., None] * rows, axis=-2, keepdims=True)
        return replace(state, response=xp.matrix_transpose(rows))

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        """Return Psi - <w, Psi>, that of the best response learned at (theta, w) for sigma -> 0."""
        psi = problem.hypergradient(theta, w)
        return psi - problem.xp.sum(w * psi, axis=-1, keepdims=True)

    def _batch(self, problem: Problem, state: State, k: int) -> Any:
        """Return the k-th mini-batch of a step."""
        key = replace(state, step=state.step * (self.num_inner_steps + 1) + k)
        return draw_batch(problem, key, self.batch_size)

    def _train(
        self, problem: Problem, state: State, inner: tuple[Array, Array], w: Array, k: int
    ) -> tuple[Array, Array]:
        """Return theta and B after one step on perturbed weights."""
        xp, (theta, response) = problem.xp, inner
        batch, rho, sigma = (
            self._batch(problem, state, k),
            self._rho(problem, w),
            self._sigma(xp, w),
        )
        signs = self._signs(problem.num_samples, state, k)
        signs = xp.asarray(signs, dtype=problem.dtype, device=problem.device)
        leaning = signs * w[..., None, :]
        shift = sigma * (leaning @ xp.matrix_transpose(response))
        even, odd = 0.5 * (xp.exp(sigma) + xp.exp(-sigma)), 0.5 * (xp.exp(sigma) - xp.exp(-sigma))
        mass, lean = xp.sum(w, axis=-1)[..., None, None], xp.sum(leaning, axis=-1, keepdims=True)
        same, turned, grads = even * w[..., None, :], odd * leaning, []
        for way in (1.0, -1.0):  # signs s: exp(sigma s) = even + odd s
            scale = mass / (even * mass + way * odd * lean)
            tilted = (same + turned if way > 0 else same - turned) * scale
            point = theta[..., None, :] + way * shift
            grads.append(batch.problem.train_grad(point, batch.weights(tilted)))
        up, down = grads
        speed = rho * (problem.num_samples / self.num_perturbations)
        speed = sigma * (speed if np.ndim(speed) == 0 else speed[..., None])
        return (
            theta - rho * 0.5 * xp.mean(up + down, axis=-2),
            response - speed * (xp.matrix_transpose(up - down) @ signs),
        )

    def _sigma(self, xp: Namespace, w: Array) -> Array:
        """Return sigma as an array that multiplies ``(..., K/2, n)``."""
        sigma = xp.asarray(self.sigma, dtype=w.dtype, device=w.device)
        return sigma[..., None, None]

    def _rho(self, problem: Problem, w: Array) -> Any:
        """Return the inner step."""
        if self.rho is not None:
            return step_size(problem, self.rho)
        xp, n = problem.xp, problem.num_samples
        largest = xp.max(w, axis=-1, keepdims=True) / xp.sum(w, axis=-1, keepdims=True)
        spread = 2.0 * n / self.num_perturbations + n * largest
        return step_size(problem, None) / (1.0 + spread * step_size(problem, self.sigma) ** 2)

    def _signs(self, n: int, state: State, k: int) -> np.ndarray:
        """Return perturbations ``(K/2, n)`` of +1 and -1; the mean of ``e e'`` is the identity.

        Rows of a Hadamard matrix, repeated along the samples, orthogonal where n is a multiple of
        its order; random signs of the samples leave that as it is.
        """
        key = [state.seed, state.step * self.num_inner_steps + k, NOISE_STREAM]
        bits = np.random.Philox(np.random.SeedSequence(key)).random_raw(-(-n // 64))
        signs = 2.0 * np.unpackbits(bits.view(np.uint8))[:n] - 1.0
        rows: np.ndarray = _hadamard_rows(self.num_perturbations // 2, n)
        return rows * signs


@functools.lru_cache(maxsize=8)
def _hadamard_rows(count: int, n: int) -> np.ndarray:
    """Return the first rows of a Hadamard matrix of an order that is a power of two, (count, n)."""
    order = 1 << (count - 1).bit_length()
    return hadamard(order, dtype=float)[:count, np.arange(n) % order]
