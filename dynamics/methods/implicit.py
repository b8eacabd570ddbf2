"""Implicit hypergradients from an approximate adjoint: conjugate gradients, Neumann series."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .. import checks
from ..geometries import Geometry
from ..linalg import cg
from ..problems import Problem
from ..types import Array
from .base import Method, State, in_order, rates, step_size
from .batches import Batch, check_batch_size, draw_batch
from .stationary import stationary

__all__ = ["ConjugateGradient", "Implicit", "ImplicitState", "Neumann"]


@dataclass(frozen=True, kw_only=True)
class ImplicitState(State):
    """The state of an implicit method: the last adjoint, and theta at the start of the run."""

    adjoint: Array
    reference: Array


@dataclass(frozen=True, kw_only=True)
class Implicit(Method):
    r"""T inner steps, an approximate adjoint, and a step along ``-J^T q``.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step.
    num_inner_steps : int
        T, inner steps for each outer step.
    batch_size : int, optional
        Training and validation samples drawn for each outer step (all of its oracle calls use the
        same); everything when left out.
    """

    rho: Any = None
    eta: Any = 1e-2
    num_inner_steps: int = 1
    batch_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        rates(self, "rho", "eta")
        checks.integer("num_inner_steps", self.num_inner_steps, minimum=1)
        check_batch_size(self.batch_size)

    @abstractmethod
    def adjoint(
        self, problem: Problem, theta: Array, w: Array, rho: Any, guess: Array | None
    ) -> Array:
        r"""Return q, an approximation of :math:`H^{-1}\nabla F`, shape ``(..., p)``."""

    def pull(self, theta: Array, reference: Array) -> Array | float:
        """Return what the method adds to the inner gradient."""
        return 0.0

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> ImplicitState:
        zero = problem.xp.zeros_like(theta)
        return ImplicitState(
            theta=theta, outer=outer, step=0, seed=seed, adjoint=zero, reference=theta
        )

    def step(self, problem: Problem, geometry: Geometry, state: ImplicitState) -> ImplicitState:
        rho, eta = step_size(problem, self.rho), step_size(problem, self.eta)
        batch = draw_batch(problem, state, self.batch_size)
        part = batch.problem

        def move_theta(theta: Array, outer: Array) -> Array:
            w = geometry.weights(outer)
            for _ in range(self.num_inner_steps):
                theta = self._descend(problem, batch, theta, w, state.reference)
            return theta

        adjoint = state.adjoint

        def move_outer(theta: Array, outer: Array) -> Array:
            nonlocal adjoint
            w = batch.weights(geometry.weights(outer))
            adjoint = self.adjoint(part, theta, w, rho, state.adjoint)
            field = -part.per_sample_jvp(theta, adjoint)
            return geometry.step(outer, batch.field(field), eta)

        theta, outer = in_order(self.order, state.theta, state.outer, move_theta, move_outer)
        return ImplicitState(
            theta=theta,
            outer=outer,
            step=state.step + 1,
            seed=state.seed,
            adjoint=adjoint,
            reference=state.reference,
        )

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        rho = step_size(problem, self.rho)
        return -problem.per_sample_jvp(theta, self.adjoint(problem, theta, w, rho, None))

    def relax(self, problem: Problem, geometry: Geometry, state: ImplicitState) -> ImplicitState:
        batch, w = draw_batch(problem, state, self.batch_size), geometry.weights(state.outer)
        theta = self._descend(problem, batch, state.theta, w, state.reference)
        return replace(state, theta=theta)

    def _descend(
        self, problem: Problem, batch: Batch, theta: Array, w: Array, reference: Array
    ) -> Array:
        """Return theta after one inner step on a batch."""
        slope = batch.problem.train_grad(theta, batch.weights(w)) + self.pull(theta, reference)
        return theta - step_size(problem, self.rho) * slope


@dataclass(frozen=True, kw_only=True)
class ConjugateGradient(Implicit):
    r"""Implicit hypergradient with K conjugate gradient steps for the adjoint.

    .. math::

        q_K = \mathrm{CG}_K\big(H + (\delta + \kappa) I,\; \nabla F(\theta)\big), \qquad
        w^+ = \mathrm{step}(w, -J^\top q_K, \eta), \qquad
        \theta^+ = \theta - \rho\,(\nabla_\theta G + \kappa\,(\theta - \theta_{ref})).

    With :math:`\kappa` = ``prox`` it is iMAML: the inner objective gains
    :math:`\tfrac\kappa2|\theta - \theta_{ref}|^2`, and its Hessian :math:`\kappa I`.

    Biased by at most :math:`2((r-1)/(r+1))^K` of the first error in the norm of H, with
    :math:`r^2 = \mathrm{cond}(H)` (K = p is exact up to round-off), and by
    ``theta != theta_star(w)``; by ``damping`` too, which is in the adjoint alone. Continuous limit:
    that of `Joint` for K = p; for K = 1 from q = 0, q is a multiple of grad F, and the weights at
    frozen theta go to one sample. One step costs T ``train_grad``, one ``val_grad``, K ``hvp`` (one
    more with a warm start) and one ``per_sample_jvp``. Defined for every problem. Rajeswaran et al.
    (2019), arXiv 1909.04630; S. Li's (12)-(13) mix the vector w with a matrix: solve first, then
    multiply by :math:`J^\top`.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step.
    num_inner_steps : int
        T, inner steps for each outer step.
    num_cg : int, optional
        K; min(p, 10) when left out.
    tol : float
        Relative residual at which a solve ends before K steps.
    damping : float
        :math:`\delta`, added to H in the adjoint.
    prox : float
        :math:`\kappa` of the proximal term.
    theta_ref : (p,), optional
        Centre of the proximal term; theta at the start of the run when left out.
    warm_start : bool
        Whether a solve starts from the adjoint of the step before, or from zero.
    batch_size : int, optional
        Training and validation samples drawn for each outer step; everything when left out.
    """

    num_cg: int | None = None
    tol: float = 1e-8
    damping: float = 0.0
    prox: float = 0.0
    theta_ref: Any = None
    warm_start: bool = False

    shared: ClassVar[tuple[str, ...]] = ("theta_ref",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_cg is not None:
            checks.integer("num_cg", self.num_cg, minimum=1)
        checks.positive("tol", self.tol)
        checks.nonnegative("damping", self.damping)
        checks.nonnegative("prox", self.prox)
        checks.flag("warm_start", self.warm_start)
        if self.theta_ref is not None:
            checks.array("theta_ref", self.theta_ref, shape=(None,))

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> ImplicitState:
        start = super().init(problem, geometry, theta, outer, seed)
        if self.theta_ref is None:
            return start
        centre = checks.array("theta_ref", self.theta_ref, shape=(problem.num_params,))
        centre = problem.xp.asarray(centre, dtype=theta.dtype, device=theta.device)
        fields = vars(start) | {"reference": problem.xp.zeros_like(theta) + centre}
        return ImplicitState(**fields)

    def pull(self, theta: Array, reference: Array) -> Array | float:
        return self.prox * (theta - reference) if self.prox else 0.0

    def settle(
        self,
        problem: Problem,
        geometry: Geometry,
        state: ImplicitState,
        num_steps: int | None = None,
    ) -> ImplicitState:
        if not self.prox:
            return super().settle(problem, geometry, state, num_steps)
        w = geometry.weights(state.outer)
        theta = stationary(
            lambda x: problem.train_grad(x, w) + self.pull(x, state.reference),
            state.theta,
            product=lambda x, v: problem.hvp(x, w, v) + self.prox * v,
            num_steps=num_steps,
        )
        return replace(state, theta=theta)

    def adjoint(
        self, problem: Problem, theta: Array, w: Array, rho: Any, guess: Array | None
    ) -> Array:
        xp, p = problem.xp, problem.num_params
        product = _shifted(problem.hvp_at(theta, w), self.damping + self.prox)
        target = problem.val_grad(theta) + 0.0 * w[..., :1]
        return cg(
            product,
            target,
            guess=guess if self.warm_start else None,
            tol=max(self.tol, 10.0 * float(xp.finfo(target.dtype).eps)),
            max_iterations=min(p, 10) if self.num_cg is None else self.num_cg,
        ).x


@dataclass(frozen=True, kw_only=True)
class Neumann(Implicit):
    r"""Implicit hypergradient with K terms of the Neumann series for the adjoint.

    .. math::

        q_K = \rho \sum_{k<K} (I - \rho H)^k \nabla F
            = (I - (I - \rho H)^K)\,H^{-1}\nabla F,
        \qquad w^+ = \mathrm{step}(w, -J^\top q_K, \eta).

    Relative bias :math:`(1 - \rho\mu)^K`, and ``theta != theta_star(w)``. The series converges for
    rho below 2/lambda_max(H); it shares rho with the inner steps. Continuous limit: that of `Joint`
    for K to infinity. One step costs T ``train_grad``, one ``val_grad``, K - 1 ``hvp`` and one
    ``per_sample_jvp``. Defined for every problem. Lorraine et al. (2020), arXiv 1911.02590; with
    mini-batches it is in the manner of stocBiO, Ji et al. (2021), arXiv 2010.07962.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step, and step of the series; 1/L when left out.
    eta : float or (...)
        Outer step.
    num_inner_steps : int
        T, inner steps for each outer step.
    num_terms : int
        K.
    batch_size : int, optional
        Training and validation samples drawn for each outer step; everything when left out.
    """

    num_terms: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("num_terms", self.num_terms, minimum=1)

    def adjoint(
        self, problem: Problem, theta: Array, w: Array, rho: Any, guess: Array | None
    ) -> Array:
        product = problem.hvp_at(theta, w)
        term = problem.val_grad(theta) + 0.0 * w[..., :1]
        total = term
        for _ in range(self.num_terms - 1):
            term = term - rho * product(term)
            total = total + term
        return rho * total


def _shifted(product: Callable[[Array], Array], shift: float) -> Callable[[Array], Array]:
    """Return ``v -> (A + shift I) v``."""
    return (lambda v: product(v) + shift * v) if shift else product
