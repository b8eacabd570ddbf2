r"""Fully first-order: the hypergradient as a difference of losses at two inner solutions.

.. math::

    \psi_\sigma(w) = \frac{\min_\theta(\sigma F + G) - \min_u G}{\sigma}, \qquad
    \nabla\psi_\sigma = \frac{l(\theta_\sigma) - l(u)}{\sigma} = \nabla h + O(\sigma).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from array_api_compat import array_namespace

from .. import checks
from ..geometries import Geometry
from ..linalg import norm
from ..problems import Problem
from ..types import Array
from .base import Method, State, in_order, positive_rate, rates, step_size
from .batches import Batch, check_batch_size, draw_batch
from .stationary import stationary

__all__ = ["F2SA", "F2SAState", "gap_direction", "project_ball", "solved_gap", "solved_in_ball"]


@dataclass(frozen=True, kw_only=True)
class F2SAState(State):
    """The state of :class:`F2SA`; theta follows argmin sigma F + G.

    Attributes
    ----------
    other : (..., p)
        Follows argmin G, or argmin -sigma F + G in the central form.
    """

    other: Array


@dataclass(frozen=True, kw_only=True)
class F2SA(Method):
    r"""Fully first-order bilevel method, Kwon et al. (2023), arXiv 2301.10945 and 2309.01753.

    .. math::

        \theta^+ = \theta - \rho(\sigma\nabla F + \nabla G), \quad u^+ = u - \rho\nabla G
        \quad (\text{T times}), \qquad
        w^+ = \mathrm{step}\Big(w, \frac{l(\theta) - l(u)}{\sigma}, \eta\Big).

    In continuous time ``theta' = -alpha (sigma grad F + grad G)``, ``u' = -alpha grad G(u)``,
    ``w' = -beta/sigma P(w) (l(theta) - l(u))``. An inner step costs one ``val_grad`` (two in
    the central form) and two ``train_grad``, the outer step two ``per_sample_losses``: no second
    derivative, no Jacobian product. Defined for every problem; ``rho=None`` asks for ``constants``.

    Biased by O(sigma) where both points are solved, by O(sigma^2) in the central form, in which u
    follows argmin G - sigma F and the field is ``(l(theta) - l(u))/(2 sigma)`` (it needs
    H - sigma Hess F > 0). Errors of the points enter divided by sigma. At frozen (theta, u) the
    field is constant and the weights go to one sample. theta and u start at one point, so that a
    bad start is common to both and cancels to O(sigma).

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; ``1/L`` when left out, ``1/(L + prox)`` with the proximal terms.
    eta : float or (...)
        Outer step.
    sigma : float or (...)
        Weight of F, > 0; the first one where it shrinks.
    growth : float
        1/sigma grows by so much at each outer step (0.1 in the reference code); at least 0.
    decay : float
        Exponent a of the outer step ``eta (k + 1)^-a``; at least 0.
    central : bool
        Whether u follows argmin -sigma F + G.
    prox : float
        Weight r of ``r/2 |theta - theta_k|^2`` (and the same for u) in the inner steps of outer
        step k, for inner problems that are not convex; it acts for ``num_inner_steps`` > 1.
    radius : float, optional
        Both points are projected onto the ball ``|theta| <= radius``, a constraint of the inner
        problem.
    num_inner_steps : int
        T.
    num_warmup : int
        Inner steps on all data at w0 before the first step: ``theta0`` is only a first guess.
    batch_size : int, optional
        Samples drawn at each inner step and, afresh, for the outer one; all when left out. Both
        points see the same batch. The field is then unbiased for given (theta, u).
    """

    rho: Any = None
    eta: Any = 0.05
    sigma: Any = 1e-2
    growth: float = 0.0
    decay: float = 0.0
    central: bool = False
    prox: float = 0.0
    radius: float | None = None
    num_inner_steps: int = 1
    num_warmup: int = 0
    batch_size: int | None = None

    points: ClassVar[tuple[str, ...]] = ("theta", "other")

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        positive_rate("sigma", self.sigma)
        for name in ("growth", "decay", "prox"):
            checks.nonnegative(name, getattr(self, name))
        checks.flag("central", self.central)
        if self.radius is not None:
            checks.positive("radius", self.radius)
        checks.integer("num_inner_steps", self.num_inner_steps, minimum=1)
        checks.integer("num_warmup", self.num_warmup, minimum=0)
        check_batch_size(self.batch_size)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> F2SAState:
        w, sigma, points = geometry.weights(outer), step_size(problem, self.sigma), (theta, theta)
        everything = Batch(problem=problem, num_samples=problem.num_samples, rows=None)
        for _ in range(self.num_warmup):
            points = self._inner_step(everything, problem, points, points, w, sigma)
        return F2SAState(theta=points[0], outer=outer, step=0, seed=seed, other=points[1])

    def step(self, problem: Problem, geometry: Geometry, state: F2SAState) -> F2SAState:
        count = state.step
        sigma = self._sigma(problem, count)
        eta = step_size(problem, self.eta) * (count + 1.0) ** -self.decay

        def move_inner(points: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            w, start = geometry.weights(outer), points
            for k in range(self.num_inner_steps):
                points = self._inner_step(
                    self._batch(problem, state, k), problem, points, start, w, sigma
                )
            return points

        def move_outer(points: tuple[Array, Array], outer: Array) -> Array:
            part = self._batch(problem, state, self.num_inner_steps)
            field = part.field(_gap(part.problem, *points) / self._distance(sigma))
            return geometry.step(outer, field, eta)

        (theta, other), outer = in_order(
            self.order, (state.theta, state.other), state.outer, move_inner, move_outer
        )
        return F2SAState(theta=theta, outer=outer, step=count + 1, seed=state.seed, other=other)

    def relax(self, problem: Problem, geometry: Geometry, state: F2SAState) -> F2SAState:
        batch, points = self._batch(problem, state, 0), (state.theta, state.other)
        w, sigma = geometry.weights(state.outer), self._sigma(problem, state.step)
        theta, other = self._inner_step(batch, problem, points, points, w, sigma)
        return replace(state, theta=theta, other=other)

    def settle(
        self, problem: Problem, geometry: Geometry, state: F2SAState, num_steps: int | None = None
    ) -> F2SAState:
        w, sigma = geometry.weights(state.outer), self._sigma(problem, state.step)
        theta, other = solved_gap(
            problem,
            (state.theta, state.other),
            w,
            sigma,
            self._shift(sigma),
            self.radius,
            num_steps,
        )
        return replace(state, theta=theta, other=other)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        sigma = step_size(problem, self.sigma)
        return gap_direction(problem, theta, w, sigma, self._shift(sigma), self.radius)

    def _batch(self, problem: Problem, state: State, k: int) -> Batch:
        """Return the k-th mini-batch of a step."""
        key = replace(state, step=state.step * (self.num_inner_steps + 1) + k)
        return draw_batch(problem, key, self.batch_size)

    def _sigma(self, problem: Problem, count: int) -> Any:
        """Return the weight of F after ``count`` steps."""
        sigma = step_size(problem, self.sigma)
        return sigma / (1.0 + sigma * self.growth * count)

    def _shift(self, sigma: Any) -> Any:
        """Return the weight of F in the objective of u."""
        return -sigma if self.central else 0.0 * sigma

    def _distance(self, sigma: Any) -> Any:
        """Return the difference of the two weights of F."""
        return 2.0 * sigma if self.central else sigma

    def _inner_step(
        self,
        batch: Batch,
        problem: Problem,
        points: tuple[Array, Array],
        start: tuple[Array, Array],
        w: Array,
        sigma: Any,
    ) -> tuple[Array, Array]:
        """Return both points after one step on a batch."""
        part, weights = batch.problem, batch.weights(w)
        rho = step_size(problem, self.rho)
        if self.rho is None:
            rho = rho / (1.0 + rho * self.prox)
        theta, other = points
        slope = sigma * part.val_grad(theta) + part.train_grad(theta, weights)
        slope_other = part.train_grad(other, weights)
        if self.central:
            slope_other = slope_other - sigma * part.val_grad(other)
        if self.prox > 0:
            slope = slope + self.prox * (theta - start[0])
            slope_other = slope_other + self.prox * (other - start[1])
        return (
            project_ball(theta - rho * slope, self.radius),
            project_ball(other - rho * slope_other, self.radius),
        )


def project_ball(theta: Array, radius: float | None) -> Array:
    """Return the projection onto ``|theta| <= radius``; theta itself without a radius."""
    if radius is None:
        return theta
    xp, length = array_namespace(theta), norm(theta)
    return theta * (radius / xp.where(length > radius, length, radius + xp.zeros_like(length)))


def gap_direction(
    problem: Problem, theta: Array, w: Array, sigma: Any, shift: Any, radius: float | None = None
) -> Array:
    r"""Return ``(l(theta_sigma) - l(theta_shift))/(sigma - shift)``, both points solved at w.

    Parameters
    ----------
    theta : (..., p)
        First guess of both.
    sigma, shift
        Weights of F in the objectives of the two points.
    radius : float, optional
        Radius of the ball to which both are constrained.
    """
    theta = theta + problem.xp.zeros_like(w[..., :1])
    points = solved_gap(problem, (theta, theta), w, sigma, shift, radius)
    return _gap(problem, *points) / (sigma - shift)


def solved_gap(
    problem: Problem,
    points: tuple[Array, Array],
    w: Array,
    sigma: Any,
    shift: Any,
    radius: float | None = None,
    num_steps: int | None = None,
) -> tuple[Array, Array]:
    """Return the minimisers of ``sigma F + G`` and ``shift F + G``, from guesses of both."""
    theta, other = points
    return (
        solved_in_ball(problem, theta, w, sigma, radius, num_steps),
        solved_in_ball(problem, other, w, shift, radius, num_steps),
    )


def solved_in_ball(
    problem: Problem,
    theta: Array,
    w: Array,
    sigma: Any,
    radius: float | None,
    num_steps: int | None = None,
) -> Array:
    """Return the minimiser of ``sigma F + G`` in the ball of the given radius, from a guess.

    ``num_steps`` bounds the Newton steps where there is no radius.
    """
    xp = problem.xp

    def slope(x: Array, multiplier: Array | float = 0.0) -> Array:
        return sigma * problem.val_grad(x) + problem.train_grad(x, w) + multiplier * x

    x = stationary(slope, theta, num_steps=num_steps if radius is None else None)
    if radius is None or bool(xp.all(norm(x) <= radius)):
        return x
    low = xp.zeros_like(norm(x))
    high = norm(slope(xp.zeros_like(x))) / radius
    for _ in range(200):  # bisection: |x| falls with the multiplier
        middle = 0.5 * (low + high)
        x = stationary(partial(slope, multiplier=middle), x)
        outside = norm(x) > radius
        low, high = xp.where(outside, middle, low), xp.where(outside, high, middle)
        if bool(xp.all(high - low <= 4 * float(xp.finfo(x.dtype).eps) * high)):
            break
    return x


def _gap(problem: Problem, theta: Array, other: Array) -> Array:
    """Return ``l(theta) - l(other)``."""
    return problem.per_sample_losses(theta) - problem.per_sample_losses(other)
