r"""Rest points of what a method does at fixed weights, for its ``direction``.

.. math:: \text{find } x \text{ with } g(x) = 0, \qquad g = \nabla\Phi \text{ for a smooth } \Phi .

Newton's method, batched over leading axes. Products with the Hessian of :math:`\Phi` are central
differences of g, so that two products of first order stand for one of second order: the methods
that need no second derivatives are solved without them. For quadratic :math:`\Phi` the differences
are exact to round-off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from array_api_compat import array_namespace

from ..linalg import cg, norm
from ..problems import Problem
from ..status import ConvergenceError
from ..types import Array

__all__ = ["differences", "inner_solution", "solved_theta", "stationary"]

MAX_NEWTON_STEPS = 100
MAX_HALVINGS = 40


def stationary(
    gradient: Callable[[Array], Array],
    x: Array,
    *,
    product: Callable[[Array, Array], Array] | None = None,
    goal: Array | float = 0.0,
    num_steps: int | None = None,
) -> Array:
    """Return a zero of ``gradient`` in every leading cell, at a minimum of its potential.

    Parameters
    ----------
    gradient : callable
        ``x (..., p) -> g (..., p)``.
    x : (..., p)
        First guess, with all leading axes.
    product : callable, optional
        ``(x, v) -> Hessian(x) v``; central differences of ``gradient`` when left out.
    goal : (..., 1) or float
        A cell is done at ``|g| <= goal``, and where round-off stops it.
    num_steps : int, optional
        At most so many Newton steps; the point that they reach is returned, a zero or not.

    Raises
    ------
    ConvergenceError
        When a cell ends above its goal and above ten times the square root of the round-off of g,
        relative to the larger of g at the guess and at 0.
    """
    xp = array_namespace(x)
    eps = float(xp.finfo(x.dtype).eps)
    multiply = differences(gradient) if product is None else product
    g = gradient(x)
    size, at_zero = norm(g), norm(gradient(xp.zeros_like(x)))
    scale = xp.where(size > at_zero, size, at_zero)
    enough = xp.where(eps * scale > goal, eps * scale, goal + xp.zeros_like(scale))
    for _ in range(MAX_NEWTON_STEPS if num_steps is None else num_steps):
        active = size > enough
        if not bool(xp.any(active)):
            return x
        ones = xp.ones_like(size)
        needed = xp.min(xp.where(active, enough / xp.where(active, size, ones), ones))
        tol = min(0.1, max(0.5 * float(needed), 1e-8, 10 * eps))
        d = cg(partial(multiply, x), -g, tol=tol).x
        x, g, smaller = _line_search(gradient, x, d, g, active)
        stalled = not bool(xp.any(smaller < 0.5 * size))
        size = smaller
        if stalled and bool(xp.all((size <= 10 * eps**0.5 * scale) | (size <= enough))):
            return x
    if num_steps is not None:
        return x
    worst = float(xp.max(size / xp.where(scale > 0, scale, xp.ones_like(scale))))
    raise ConvergenceError(
        f"a point that the method carries was found only to a relative gradient of {worst:.1e}; "
        "start nearer to it or raise `ridge`."
    )


def inner_solution(
    problem: Problem,
    theta: Array,
    w: Array,
    goal: Array | float = 0.0,
    num_steps: int | None = None,
) -> Array:
    """Return theta_star(w) by ``train_grad`` and ``hvp`` alone, from the guess theta.

    Its gradient norm is at most ``goal``, or what round-off and ``num_steps`` allow; see
    :func:`stationary`.
    """
    return stationary(
        lambda x: problem.train_grad(x, w),
        theta + problem.xp.zeros_like(w[..., :1]),
        product=lambda x, v: problem.hvp(x, w, v),
        goal=goal,
        num_steps=num_steps,
    )


def solved_theta(problem: Problem, theta: Array, w: Array, num_steps: int | None = None) -> Array:
    """Return theta_star(w), as the problem finds it where it does; see :func:`inner_solution`."""
    if num_steps is None and "theta_star" in problem.capabilities:
        return problem.theta_star(w, theta) + problem.xp.zeros_like(theta[..., :1])
    return inner_solution(problem, theta, w, num_steps=num_steps)


def differences(gradient: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    """Return ``(x, v) -> Hessian(x) v`` by central differences of ``gradient``."""

    def product(x: Array, v: Array) -> Array:
        xp, length = array_namespace(x), norm(v)
        step = float(xp.finfo(x.dtype).eps) ** (1 / 3) * (1.0 + norm(x))
        step = step / xp.where(length > 0, length, xp.ones_like(length))
        return (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)

    return product


def _line_search(
    gradient: Callable[[Array], Array], x: Array, d: Array, g: Array, active: Array
) -> tuple[Array, Array, Array]:
    """Halve the step of each active cell until its gradient norm falls."""
    xp = array_namespace(x)
    size = norm(g)
    step = xp.astype(active, x.dtype)
    good = ~active
    for _ in range(MAX_HALVINGS):
        trial = x + step * d
        g_trial = gradient(trial)
        size_trial = norm(g_trial)
        good = (size_trial <= (1.0 - 1e-4 * step) * size) | (step == 0)
        if bool(xp.all(good)):
            break
        step = xp.where(good, step, 0.5 * step)
    keep = good & (step > 0)
    return (
        xp.where(keep, trial, x),
        xp.where(keep, g_trial, g),
        xp.where(keep, size_trial, size),
    )
