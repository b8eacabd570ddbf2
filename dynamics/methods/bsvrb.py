r"""Many lower problems, few of them and few samples at a step: blockwise variance reduction.

An average s of a gradient g that moves with its argument x is kept by

.. math:: s^+ = (1 - a)\,s + a\,g(x) + c\,\big(g(x) - g(x_{\mathrm{old}})\big),

both values on the same samples: with ``c = 1 - a`` (STORM) the increment follows x without bias;
where only I of B blocks are sampled, :math:`c = \frac{B - I}{I(1 - a)} + 1 - a` (MSVR) makes up for
the steps at which a block was left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .. import checks
from ..geometries import Geometry
from ..problems import MultiProblem, Problem
from ..types import Array
from .base import Method, State, in_order, random_rows, rate, step_size
from .batches import Batch, draw_batch

__all__ = ["BSVRB", "BSVRBState"]

BLOCK_STREAM = 2
"""Stream of the sampled blocks; a mini-batch takes the streams 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class BSVRBState(State):
    """The state of :class:`BSVRB`. What belongs to a block lies where theta has that block.

    Attributes
    ----------
    adjoint : (..., p)
        v of every block: ``H_b v_b ~ grad F_b``.
    slope : (..., p)
        The average of ``grad G_b``.
    error : (..., p)
        The average of ``H_b v_b - grad F_b``, or of ``grad F_b`` where Hessians are tracked.
    hessian : (..., sum of p_b squared)
        The averages of the H_b, flat; of length 0 where they are not tracked.
    field : (..., n)
        The average of the weight field.
    last_theta, last_adjoint, last_w
        Where the inner averages were last evaluated.
    seen_theta, seen_adjoint, seen_w
        Where the outer ones were.
    """

    adjoint: Array
    slope: Array
    error: Array
    hessian: Array
    field: Array
    last_theta: Array
    last_adjoint: Array
    last_w: Array
    seen_theta: Array
    seen_adjoint: Array
    seen_w: Array


class _Point(NamedTuple):
    """Where averages are evaluated."""

    theta: Array
    adjoint: Array
    w: Array


@dataclass(frozen=True, kw_only=True)
class BSVRB(Method):
    r"""Blockwise stochastic variance-reduced method, Hu et al. (2023), arXiv 2305.18730.

    For each sampled block b of a MultiProblem (any other problem is one block), with averages kept
    as the module says of the quantities in brackets,

    .. math::

        \theta_b^+ = \theta_b - \rho\,[\nabla G_b], \qquad
        v_b^+ = v_b - \rho_v\,[H_b v_b - \nabla F_b], \qquad
        w^+ = \mathrm{step}\Big(w, \Big[-\tfrac1I\sum_b J_b^\top v_b\Big], \eta\Big);

    the second variant, for small blocks, solves :math:`[H_b]\,v_b = [\nabla F_b]` instead. Blocks
    that are not sampled keep theta, v and their averages.

    In continuous time SOBA, and Joint in the second variant, for every block: with all blocks and
    all data it is these methods, for any ``mixing``, since the averages start at exact values.
    A step costs, for each sampled block, two ``train_grad``, ``val_grad``, ``hvp`` and
    ``per_sample_jvp`` (new and old point), and in the second variant 2 p_b more ``hvp``, as two
    calls, in place of the two. Biased by the lag of theta and v; the increments are unbiased in
    their mini-batches, the averages only in the limit of slow motion. Defined for every problem;
    ``rho=None`` asks for ``constants``.

    Parameters
    ----------
    rho : float or (...), optional
        Inner step; 1/L when left out.
    eta : float or (...)
        Outer step.
    rho_adjoint : float or (...), optional
        Step of the adjoint; ``rho`` when left out. Not read where Hessians are tracked.
    mixing : float
        a, in (0, 1]; below 1 where blocks are sampled.
    num_sampled : int, optional
        I: blocks drawn at each step, at most all; min(4, B) when left out.
    track_hessian : bool
        Whether to keep averages of the H_b (variant 1 of the source) rather than of products
        (variant 2). Their eigenvalues are raised to the ridge before the solve.
    batch_size : int, optional
        Samples drawn at each step, the same training samples for all blocks; all when left out.
    """

    rho: Any = None
    eta: Any = 0.02
    rho_adjoint: Any = None
    mixing: float = 0.5
    num_sampled: int | None = None
    track_hessian: bool = False
    batch_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rho", "rho_adjoint"):
            if getattr(self, name) is not None:
                rate(name, getattr(self, name))
        rate("eta", self.eta)
        if checks.positive("mixing", self.mixing) > 1:
            raise ValueError(f"`mixing` must be at most 1; got {self.mixing}.")
        checks.flag("track_hessian", self.track_hessian)
        for name in ("num_sampled", "batch_size"):
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), minimum=1)

    @property
    def points(self) -> tuple[str, ...]:  # type: ignore[override]
        """Theta, and v where it moves by steps."""
        return ("theta",) if self.track_hessian else ("theta", "adjoint")

    def init(
        self, problem: Problem, geometry: Geometry, theta: Array, outer: Array, seed: int
    ) -> BSVRBState:
        xp, w = problem.xp, geometry.weights(outer)
        blocks = _blocks(problem)
        num_sampled = self._num_sampled(len(blocks))
        if self.mixing == 1 and num_sampled < len(blocks):
            raise ValueError(
                f"`mixing` must be below 1 where {num_sampled} of {len(blocks)} blocks are sampled."
            )
        adjoint = xp.concat([q.adjoint(theta[..., b], w) for q, b in blocks], axis=-1)
        error, hessian = xp.zeros_like(theta), theta[..., :0]
        if self.track_hessian:
            error = xp.concat([q.val_grad(theta[..., b]) for q, b in blocks], axis=-1)
            hessian = xp.concat([_flat_hessian(q, theta[..., b], w) for q, b in blocks], axis=-1)
        jvps = [q.per_sample_jvp(theta[..., b], adjoint[..., b]) for q, b in blocks]
        return BSVRBState(
            theta=theta,
            outer=outer,
            step=0,
            seed=seed,
            adjoint=adjoint,
            slope=xp.concat([q.train_grad(theta[..., b], w) for q, b in blocks], axis=-1),
            error=error,
            hessian=hessian,
            field=-sum(jvps[1:], jvps[0]) / len(blocks),
            last_theta=theta,
            last_adjoint=adjoint,
            last_w=w,
            seen_theta=theta,
            seen_adjoint=adjoint,
            seen_w=w,
        )

    def step(self, problem: Problem, geometry: Geometry, state: BSVRBState) -> BSVRBState:
        eta = step_size(problem, self.eta)
        sampled = self._sample(problem, state)
        averages: dict[str, Array] = {}

        def move_inner(inner: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
            point = _Point(*inner, geometry.weights(outer))
            theta, v, moved = self._inner(problem, state, point, sampled)
            averages.update(moved)
            return theta, v

        def move_outer(inner: tuple[Array, Array], outer: Array) -> Array:
            point = _Point(*inner, geometry.weights(outer))
            averages.update(self._outer(problem, state, point, sampled))
            return geometry.step(outer, averages["field"], eta)

        (theta, adjoint), outer = in_order(
            self.order, (state.theta, state.adjoint), state.outer, move_inner, move_outer
        )
        if self.track_hessian:
            adjoint = averages["seen_adjoint"]
        else:
            averages |= {"hessian": state.hessian}
        return BSVRBState(
            theta=theta,
            adjoint=adjoint,
            outer=outer,
            step=state.step + 1,
            seed=state.seed,
            **averages,
        )

    def relax(self, problem: Problem, geometry: Geometry, state: BSVRBState) -> BSVRBState:
        point = _Point(state.theta, state.adjoint, geometry.weights(state.outer))
        sampled = self._sample(problem, state)
        theta, adjoint, averages = self._inner(problem, state, point, sampled)
        return replace(state, theta=theta, adjoint=adjoint, **averages)

    def settle(
        self, problem: Problem, geometry: Geometry, state: BSVRBState, num_steps: int | None = None
    ) -> BSVRBState:
        """Return the state at rest; its averages start again at exact values there."""
        state = super().settle(problem, geometry, state, num_steps)
        fresh = self.init(problem, geometry, state.theta, state.outer, state.seed)
        return replace(fresh, step=state.step)

    def direction(self, problem: Problem, theta: Array, w: Array) -> Array:
        return problem.hypergradient(theta, w)

    def _sample(self, problem: Problem, state: State) -> dict[int, Batch]:
        """Return the blocks drawn for a step, with a mini-batch of each."""
        parts = _blocks(problem)
        drawn = random_rows(state, len(parts), self._num_sampled(len(parts)), BLOCK_STREAM)
        return {int(b): draw_batch(parts[b][0], state, self.batch_size) for b in drawn}

    def _num_sampled(self, num_blocks: int) -> int:
        """Return I."""
        return min(4 if self.num_sampled is None else self.num_sampled, num_blocks)

    def _average(self, old: Array, new: Array, before: Array, share: float) -> Array:
        """Return the average after the value ``new``; ``before`` is that at the old point."""
        a = self.mixing
        correction = 1.0 - a
        if share < 1:
            correction = correction + (1.0 / share - 1.0) / (1.0 - a)
        return (1.0 - a) * old + a * new + correction * (new - before)

    def _inner(
        self, problem: Problem, state: BSVRBState, point: _Point, sampled: dict[int, Batch]
    ) -> tuple[Array, Array, dict[str, Array]]:
        """Return theta and v after a step, and the averages of the inner problem."""
        rho, xp = step_size(problem, self.rho), problem.xp
        rho_v = rho if self.rho_adjoint is None else step_size(problem, self.rho_adjoint)
        old = _Point(state.last_theta, state.last_adjoint, state.last_w)
        share = len(sampled) / len(_blocks(problem))
        slopes, errors, thetas, adjoints = [], [], [], []
        for k, (_, b) in enumerate(_blocks(problem)):
            s, r = state.slope[..., b], state.error[..., b]
            theta, v = point.theta[..., b], point.adjoint[..., b]
            if k in sampled:
                batch = sampled[k]
                new, before = (_slope(batch, at, b) for at in (point, old))
                s = self._average(s, new, before, share)
                theta = theta - rho * s
                if not self.track_hessian:
                    new, before = (_error(batch, at, b) for at in (point, old))
                    r = self._average(r, new, before, share)
                    v = v - rho_v * r
            slopes.append(s)
            errors.append(r)
            thetas.append(theta)
            adjoints.append(v)
        averages = {"slope": xp.concat(slopes, axis=-1)}
        averages |= {f"last_{name}": value for name, value in point._asdict().items()}
        if not self.track_hessian:
            averages["error"] = xp.concat(errors, axis=-1)
        return xp.concat(thetas, axis=-1), xp.concat(adjoints, axis=-1), averages

    def _outer(
        self, problem: Problem, state: BSVRBState, point: _Point, sampled: dict[int, Batch]
    ) -> dict[str, Array]:
        """Return the averages that the weights follow."""
        old = _Point(state.seen_theta, state.seen_adjoint, state.seen_w)
        averages: dict[str, Array] = {}
        if self.track_hessian:
            averages = self._solved(problem, state, point, old, sampled)
            point = point._replace(adjoint=averages.pop("adjoint"))
        fields = []
        for at in (point, old):
            jvps = [
                batch.field(batch.problem.per_sample_jvp(at.theta[..., b], at.adjoint[..., b]))
                for b, batch in ((_blocks(problem)[k][1], sampled[k]) for k in sorted(sampled))
            ]
            fields.append(-sum(jvps[1:], jvps[0]) / len(jvps))
        averages["field"] = self._average(state.field, fields[0], fields[1], 1.0)
        averages |= {f"seen_{name}": value for name, value in point._asdict().items()}
        return averages

    def _solved(
        self,
        problem: Problem,
        state: BSVRBState,
        point: _Point,
        old: _Point,
        sampled: dict[int, Batch],
    ) -> dict[str, Array]:
        """Return the averages of H_b and grad F_b, and the adjoints that they give."""
        xp, share = problem.xp, len(sampled) / len(_blocks(problem))
        hessians, grads, adjoints, start = [], [], [], 0
        for k, (q, b) in enumerate(_blocks(problem)):
            size = q.num_params
            H = state.hessian[..., start : start + size**2]
            g, v = state.error[..., b], state.adjoint[..., b]
            start += size**2
            if k in sampled:
                batch = sampled[k]
                pairs = [
                    (
                        _flat_hessian(batch.problem, at.theta[..., b], batch.weights(at.w)),
                        batch.problem.val_grad(at.theta[..., b]),
                    )
                    for at in (point, old)
                ]
                H = self._average(H, pairs[0][0], pairs[1][0], share)
                g = self._average(g, pairs[0][1], pairs[1][1], share)
                v = _solve(xp, xp.reshape(H, (*H.shape[:-1], size, size)), g, q.ridge)
            hessians.append(H)
            grads.append(g)
            adjoints.append(v)
        names = ("hessian", "error", "adjoint")
        values = (xp.concat(a, axis=-1) for a in (hessians, grads, adjoints))
        return dict(zip(names, values, strict=True))


def _blocks(problem: Problem) -> list[tuple[Problem, slice]]:
    """Return the lower problems and where theta has their parameters."""
    if isinstance(problem, MultiProblem):
        return list(zip(problem.problems, problem.blocks, strict=True))
    return [(problem, slice(0, problem.num_params))]


def _slope(batch: Batch, at: _Point, b: slice) -> Array:
    """Return ``grad G_b`` on a batch."""
    return batch.problem.train_grad(at.theta[..., b], batch.weights(at.w))


def _error(batch: Batch, at: _Point, b: slice) -> Array:
    """Return ``H_b v_b - grad F_b`` on a batch."""
    theta, q = at.theta[..., b], batch.problem
    return q.hvp(theta, batch.weights(at.w), at.adjoint[..., b]) - q.val_grad(theta)


def _flat_hessian(problem: Problem, theta: Array, w: Array) -> Array:
    """Return H, by p products in one call, as ``(..., p squared)``."""
    xp = problem.xp
    eye = xp.eye(theta.shape[-1], dtype=theta.dtype, device=theta.device)
    H = problem.hvp(theta[..., None, :], w[..., None, :], eye)
    return xp.reshape(H, (*H.shape[:-2], theta.shape[-1] ** 2))


def _solve(xp: Any, H: Array, b: Array, floor: float) -> Array:
    """Solve ``H x = b`` with the eigenvalues of H raised to ``floor``; NaN where H is not finite.

    An average of Hessians on mini-batches need not be positive definite.
    """
    finite = xp.all(xp.all(xp.isfinite(H), axis=-1), axis=-1)[..., None]
    eye = xp.eye(H.shape[-1], dtype=H.dtype, device=H.device)
    H = xp.where(finite[..., None], 0.5 * (H + xp.matrix_transpose(H)), eye)
    eigenvalues, vectors = xp.linalg.eigh(H)
    least = max(floor, float(xp.finfo(H.dtype).smallest_normal))
    eigenvalues = xp.where(eigenvalues > least, eigenvalues, least + xp.zeros_like(eigenvalues))
    x = vectors @ ((xp.matrix_transpose(vectors) @ b[..., None])[..., 0] / eigenvalues)[..., None]
    return xp.where(finite, x[..., 0], xp.full_like(b, float("nan")))
