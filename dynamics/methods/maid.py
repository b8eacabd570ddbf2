r"""Adaptive accuracy with a certificate: inexact hypergradients that are surely good enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import checks
from ..geometries import Averaged, Geometry
from ..problems import Problem
from ..types import Array
from .base import Method, State, rate, refuse_layer, step_size
from .certificate import (
    Answer,
    answer_within,
    at_least,
    deviation,
    measured_bound,
    round_off,
    solved_inner,
    value_of,
)

__all__ = ["MAID", "MAIDState"]

MAX_REFINEMENTS = 60
DENSE_LIMIT = 500


@dataclass(frozen=True, kw_only=True)
class MAIDState(State):
    """The state of :class:`MAID`.

    Attributes
    ----------
    adjoint : (..., p)
        The last adjoint, from which the next solve starts.
    tol_inner, tol_adjoint : (..., 1)
        eps and delta.
    eta : (..., 1)
        The first outer step to try.
    lipschitz_val : (..., 1)
        The bound on Hess F that is used.
    """

    adjoint: Array
    tol_inner: Array
    tol_adjoint: Array
    eta: Array
    lipschitz_val: Array


@dataclass(frozen=True, kw_only=True)
class MAID(Method):
    r"""Method of adaptive inexact descent, Salehi et al. (2024), arXiv 2308.10098.

    At weights w: theta with :math:`|\nabla_\theta G|/\mu \le \epsilon`, q with
    :math:`|H q - \nabla F| \le \delta`, and the field :math:`z = -J^\top q`. Then, in the sup norm,

    .. math::

        |z - \nabla h(w)|_\infty \le \omega = L_i\epsilon |q| + (g + L_i\epsilon)
        \,\frac{\delta + L_F\epsilon + L_H\epsilon |q|}{\mu},

    with the achieved :math:`\epsilon, \delta`; :math:`L_i = L - \mathrm{ridge}` bounds the Hessian
    of every loss, and :math:`g = \max_i \sqrt{2 L_i l_i}` its gradient (losses are >= 0). Both
    tolerances are multiplied by ``refinement`` until the step ``w+ = step(w, z, eta)`` surely
    descends, :math:`\omega |w - w^+|_1 \le (1 - \kappa)\langle z, w - w^+\rangle`; ``direction``,
    which knows no step, asks for the limit of that for short mirror steps and more,
    :math:`\omega \le (1 - \kappa)\,\mathrm{sd}_w(z)`. The step is accepted when h surely falls,

    .. math:: U(w^+) - L(w) \le -c\,\langle z, w - w^+\rangle, \qquad
        U, L = F(\theta) \pm (|\nabla F|\epsilon + L_F\epsilon^2/2),

    (for mirror steps the right-hand side is at most ``-c KL(w+, w)/eta``), else eta shrinks by
    ``backtrack``. After success eta grows by 10/9 and the tolerances by 1.05. After ``num_trials``
    failures w stays, the tolerances shrink, and eta is the last one tried, unless the first trial
    was already lost in U - L.

    In continuous time, and for small eta, the exact flow of h; unbiased within the certificate. A
    step costs Newton-CG solves at each trial point (``train_grad`` and ``hvp``), a CG for q, one
    ``per_sample_jvp`` and ``per_sample_losses``, and two ``val_grad`` for each trial.
    Since theta is tied to theta_star(w), weights are never fast, and the three orders coincide;
    ``theta0`` is a first guess. Defined where the problem has ``constants`` and a positive ridge;
    above 500 parameters ``lipschitz_val`` must be given.

    The certificate is a theorem where mu, L and the bounds are true ones. For quadratic losses they
    are, by default: mu and L come from the problem, L_F is measured, L_H is 0. For other losses
    give both bounds; without them the certificate is an estimate. The source's condition
    ``omega <= (1 - kappa) |z|`` says nothing on the simplex, where z does not vanish at a minimum:
    hence the move w - w+. Its code leaves parts of the bound out; here none is.

    Parameters
    ----------
    eta : float or (...)
        First outer step to try.
    tol_inner, tol_adjoint : float
        First eps and delta.
    kappa : float
        Share of the field that must be certain, in (0, 1).
    armijo : float
        c, in (0, 1).
    backtrack : float
        Factor of eta after a refused trial, in (0, 1).
    refinement : float
        Factor of the tolerances where they are too loose, in (0, 1).
    num_trials : int
    lipschitz_val : float, optional
        Bound L_F on Hess F. Left out it is measured by differences of ``val_grad`` at the start,
        exact for quadratic F.
    lipschitz_hessian : float
        Lipschitz constant L_H of H(theta, w) in theta; 0 for quadratic losses.
    """

    eta: Any = 1.0
    tol_inner: float = 0.1
    tol_adjoint: float = 0.1
    kappa: float = 0.5
    armijo: float = 0.1
    backtrack: float = 0.5
    refinement: float = 0.5
    num_trials: int = 10
    lipschitz_val: float | None = None
    lipschitz_hessian: float = 0.0

    requires: ClassVar[tuple[str, ...]] = ("constants",)

    def __post_init__(self) -> None:
        super().__post_init__()
        rate("eta", self.eta)
        for name in ("tol_inner", "tol_adjoint"):
            checks.positive(name, getattr(self, name))
        for name in ("kappa", "armijo", "backtrack", "refinement"):
            if not 0 < checks.real(name, getattr(self, name)) < 1:
                raise ValueError(f"`{name}` must lie in (0, 1); got {getattr(self, name)}.")
        checks.integer("num_trials", self.num_trials, minimum=1)
        if self.lipschitz_val is not None:
            checks.nonnegative("lipschitz_val", self.lipschitz_val)
        checks.nonnegative("lipschitz_hessian", self.lipschitz_hessian)

    @property
    def ignores_start(self) -> str:
        return "it solves for theta at every trial step"

    def check_geometry(self, geometry: Geometry) -> None:
        super().check_geometry(geometry)
        why = "backtracking needs steps that vanish with eta, and an average moves on; drop it"
        refuse_layer(self, geometry, Averaged, why)

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> MAIDState:
        w, ones = geometry.weights(outer), problem.xp.ones_like(theta[..., :1])
        bound = ones * self._bound(problem, theta)
        tol = ones * self.tol_inner
        theta, _ = solved_inner(problem, theta, w, tol)
        return MAIDState(
            theta=theta,
            outer=outer,
            step=0,
            seed=seed,
            adjoint=problem.xp.zeros_like(theta),
            tol_inner=tol,
            tol_adjoint=ones * self.tol_adjoint,
            eta=ones * step_size(problem, self.eta),
            lipschitz_val=bound,
        )

    def step(self, problem: Problem, geometry: Geometry, state: MAIDState) -> MAIDState:
        xp, w = problem.xp, geometry.weights(state.outer)

        def admissible(field: Array) -> Array:
            move = w - geometry.weights(geometry.step(state.outer, field, state.eta))
            length = xp.sum(xp.abs(move), axis=-1, keepdims=True)
            fall = xp.sum(field * move, axis=-1, keepdims=True)
            return fall / xp.where(length > 0, length, xp.ones_like(length))

        answer, tol_inner, tol_adjoint, waiting = self._certified(problem, state, w, admissible)
        value, slack = value_of(problem, answer.theta, answer.distance, state.lipschitz_val)
        outer, theta, eta = state.outer, answer.theta, state.eta
        accepted = waiting & ~waiting
        ones = xp.ones_like(eta)
        sharper, blurred = ones, accepted
        for k in range(self.num_trials):
            if not bool(xp.any(waiting)):
                break
            trial = geometry.step(state.outer, answer.field, eta)
            w_trial = geometry.weights(trial)
            theta_trial, distance = solved_inner(problem, answer.theta, w_trial, tol_inner)
            value_trial, slack_trial = value_of(problem, theta_trial, distance, state.lipschitz_val)
            decrease = xp.sum(answer.field * (w - w_trial), axis=-1, keepdims=True)
            width = slack + slack_trial
            surely = value_trial - value + width <= -self.armijo * decrease
            good = waiting & (decrease > 0) & surely
            outer, theta = xp.where(good, trial, outer), xp.where(good, theta_trial, theta)
            accepted, waiting = accepted | good, waiting & ~good
            if k == 0:
                sharper = 0.25 * (1.0 - self.armijo) * decrease / xp.where(width > 0, width, ones)
                blurred = (width > 0) & (sharper < 0.5)
            eta = xp.where(waiting, self.backtrack * eta, eta)
        eta = xp.where(accepted, eta * (10.0 / 9.0), xp.where(blurred, state.eta, eta))
        least = round_off(answer.theta)
        # where even the first trial was lost in the slack, the tolerance is to blame, not eta
        seen = at_least(xp.where(blurred, sharper * answer.distance, tol_inner), 0.0 * ones)
        tighter = self.refinement * xp.where(seen < tol_inner, seen, tol_inner)
        return MAIDState(
            theta=theta,
            outer=outer,
            step=state.step + 1,
            seed=state.seed,
            adjoint=answer.adjoint,
            tol_inner=at_least(xp.where(accepted, 1.05 * tol_inner, tighter), least),
            tol_adjoint=at_least(
                tol_adjoint * xp.where(accepted, 1.05 * ones, self.refinement * ones), least
            ),
            eta=eta,
            lipschitz_val=state.lipschitz_val,
        )

    def relax(self, problem: Problem, geometry: Geometry, state: MAIDState) -> MAIDState:
        """Return the state: theta is solved for, as far as the certificate asks."""
        return state

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        """Return z at w, as accurate as the certificate asks; theta is a first guess."""
        return self.certified(problem, theta, w)[0]

    def certified(self, problem: Problem, theta: Array, w: Array) -> tuple[Array, Array]:
        """Return the field z ``(..., n)`` and its bound omega ``(..., 1)`` on the sup norm.

        Parameters
        ----------
        theta : (..., p)
            First guess.
        w : (..., n)
        """
        problem.require(self.requires, type(self).__name__)
        xp = problem.xp
        theta = theta + xp.zeros_like(w[..., :1])
        ones = xp.ones_like(theta[..., :1])
        state = MAIDState(
            theta=theta,
            outer=w,
            step=0,
            seed=0,
            adjoint=xp.zeros_like(theta),
            tol_inner=ones * self.tol_inner,
            tol_adjoint=ones * self.tol_adjoint,
            eta=ones,
            lipschitz_val=ones * self._bound(problem, theta),
        )
        w = w + xp.zeros_like(ones)
        answer = self._certified(problem, state, w, lambda z: deviation(xp, w, z))[0]
        return answer.field, answer.error

    def _certified(
        self,
        problem: Problem,
        state: MAIDState,
        w: Array,
        admissible: Callable[[Array], Array],
    ) -> tuple[Answer, Array, Array, Array]:
        """Return an answer at w, the tolerances that it took, and where it is accurate enough.

        ``admissible(z)`` is the error of z at which nothing is certain.
        """
        xp = problem.xp
        tol_inner, tol_adjoint = state.tol_inner, state.tol_adjoint
        theta, adjoint = state.theta, state.adjoint
        for _ in range(MAX_REFINEMENTS):
            answer = answer_within(
                problem,
                (theta, adjoint),
                w,
                (tol_inner, tol_adjoint),
                (state.lipschitz_val, self.lipschitz_hessian),
            )
            theta, adjoint = answer.theta, answer.adjoint
            certain = answer.error <= (1.0 - self.kappa) * admissible(answer.field)
            hopeless = (tol_inner <= round_off(theta)) & (tol_adjoint <= round_off(theta))
            if bool(xp.all(certain | hopeless)):
                break
            tol_inner = xp.where(certain, tol_inner, self.refinement * tol_inner)
            tol_adjoint = xp.where(certain, tol_adjoint, self.refinement * tol_adjoint)
        return answer, tol_inner, tol_adjoint, certain

    def _bound(self, problem: Problem, theta: Array) -> Any:
        """Return L_F, given or measured at theta: ``(..., 1)`` or a number."""
        if problem.constants()[0] <= 0:
            raise ValueError("`problem` must have a positive `ridge` for MAID; got 0.0.")
        if self.lipschitz_val is not None:
            return self.lipschitz_val
        if problem.num_params > DENSE_LIMIT:
            raise ValueError(
                f"`lipschitz_val` must be given for more than {DENSE_LIMIT} parameters; got "
                f"{problem.num_params}."
            )
        return measured_bound(problem, theta)
