r"""What is certain about an inexact hypergradient, and about the value of h.

See :class:`~warmflow.dynamics.methods.MAID` for the bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from ..linalg import cg, norm
from ..problems import Problem
from ..types import Array
from .stationary import inner_solution

__all__ = [
    "Answer",
    "answer_within",
    "value_of",
    "at_least",
    "deviation",
    "measured_bound",
    "round_off",
    "solved_inner",
]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """theta and q at given weights, the field z, and what is certain about them.

    Attributes
    ----------
    theta, adjoint : (..., p)
    field : (..., n)
    distance : (..., 1)
        Bound on ``|theta - theta_star(w)|``.
    error : (..., 1)
        Bound on ``|field - grad h(w)|`` in the sup norm.
    """

    theta: Array
    adjoint: Array
    field: Array
    distance: Array
    error: Array


def answer_within(
    problem: Problem,
    start: tuple[Array, Array],
    w: Array,
    tolerances: tuple[Array, Array],
    bounds: tuple[Array, float],
) -> Answer:
    """Return theta, q and z within tolerances, and the bound on the error of z.

    Parameters
    ----------
    start : ((..., p), (..., p))
        First guesses of theta and q.
    w : (..., n)
    tolerances : ((..., 1), (..., 1))
        eps and delta.
    bounds : ((..., 1), float)
        L_F and L_H.
    """
    xp, (theta, adjoint), (tol_inner, tol_adjoint) = problem.xp, start, tolerances
    mu, smoothness = problem.constants()
    theta, distance = solved_inner(problem, theta, w, tol_inner)
    target = problem.val_grad(theta)
    residual = norm(target - problem.hvp(theta, w, adjoint))
    scale, ones = norm(target), xp.ones_like(tol_adjoint)
    share = xp.where(scale > 0, tol_adjoint / xp.where(scale > 0, scale, ones), 0.0 * ones)
    if bool(xp.any(residual > tol_adjoint)):
        tol = float(xp.min(xp.where(residual > tol_adjoint, share, ones)))
        tol = max(tol, 10.0 * float(xp.finfo(theta.dtype).eps))
        adjoint = cg(problem.hvp_at(theta, w), target, guess=adjoint, tol=tol).x
        residual = norm(target - problem.hvp(theta, w, adjoint))
    each, size = smoothness - problem.ridge, norm(adjoint)
    losses = xp.max(problem.per_sample_losses(theta), axis=-1, keepdims=True)
    slope = xp.sqrt(2.0 * each * losses) + each * distance
    shift = (bounds[0] + bounds[1] * size) * distance
    return Answer(
        theta=theta,
        adjoint=adjoint,
        field=-problem.per_sample_jvp(theta, adjoint),
        distance=distance,
        error=each * distance * size + slope * (residual + shift) / mu,
    )


def measured_bound(problem: Problem, theta: Array) -> Array:
    """Return a bound ``(..., 1)`` on Hess F, exact for quadratic F up to the choice of norm."""
    xp, p = problem.xp, problem.num_params
    eye = xp.eye(p, dtype=theta.dtype, device=theta.device)
    step = float(xp.finfo(theta.dtype).eps) ** (1 / 3)
    at = theta[..., None, :]
    H = (problem.val_grad(at + step * eye) - problem.val_grad(at - step * eye)) / (2 * step)
    # the square root of the sum of squares bounds the largest eigenvalue of the symmetric H
    return xp.sqrt(xp.sum(xp.sum(H * H, axis=-1), axis=-1))[..., None]


def solved_inner(problem: Problem, theta: Array, w: Array, tol: Array) -> tuple[Array, Array]:
    """Return theta with ``|grad G| <= mu tol`` and its certain distance to theta_star(w)."""
    mu = problem.constants()[0]
    theta = inner_solution(problem, theta, w, goal=mu * tol)
    return theta, norm(problem.train_grad(theta, w)) / mu


def value_of(problem: Problem, theta: Array, distance: Array, bound: Array) -> tuple[Array, Array]:
    """Return h as it appears at theta and how far it can be off, both ``(..., 1)``."""
    slack = norm(problem.val_grad(theta)) * distance + 0.5 * bound * distance**2
    return problem.val_loss(theta)[..., None], slack


def deviation(xp: Any, w: Array, field: Array) -> Array:
    """Return the standard deviation of the field under w, shape ``(..., 1)``."""
    w = w / xp.sum(w, axis=-1, keepdims=True)
    centred = field - xp.sum(w * field, axis=-1, keepdims=True)
    return xp.sqrt(xp.sum(w * centred * centred, axis=-1, keepdims=True))


def round_off(theta: Array) -> Array:
    """Return a distance below which theta cannot be told from its neighbours, ``(..., 1)``."""
    eps = float(array_namespace(theta).finfo(theta.dtype).eps)
    return 10.0 * eps * (1.0 + norm(theta))


def at_least(tol: Array, least: Array) -> Array:
    """Return the larger one."""
    return array_namespace(tol).where(tol > least, tol, least)
