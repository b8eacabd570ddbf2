r"""Newton-CG for smooth strongly convex inner problems, batched over leading axes.

At each step :math:`H d = -g` is solved by conjugate gradients only as far as the current gradient
deserves (forcing term :math:`\min(0.1, |g|^{1/2})`, Eisenstat and Walker 1996), and the step is
halved until the gradient norm falls. The gradient norm, not the objective, is the merit function:
for strongly convex G the Newton direction descends on it, and it stays meaningful below the
round-off of G, where a gradient norm of 1e-10 has to be reached.
"""

from __future__ import annotations

from ..linalg import cg, norm
from ..status import ConvergenceError
from ..types import Array
from .base import Problem

__all__ = ["newton_cg"]

MAX_NEWTON_STEPS = 100
MAX_HALVINGS = 40


def newton_cg(problem: Problem, w: Array, theta: Array, tol: float = 1e-10) -> Array:
    """Return the minimiser of ``G(., w)`` with ``|grad G| <= tol`` in every leading cell.

    Parameters
    ----------
    w : (..., n)
    theta : (..., p)
        Starting point.
    tol : float
        Absolute bound on the Euclidean norm of the gradient; at least 100 times the round-off of
        the gradient at theta = 0, which matters in float32 alone.

    Raises
    ------
    ConvergenceError
        When the bound is not reached in 100 Newton steps.
    """
    xp = problem.xp
    at_zero = float(xp.max(norm(problem.train_grad(xp.zeros_like(theta), w))))
    tol = max(tol, 100.0 * float(xp.finfo(theta.dtype).eps) * (1.0 + at_zero))
    g = problem.train_grad(theta, w)
    size = norm(g)
    for _ in range(MAX_NEWTON_STEPS):
        if bool(xp.all(size <= tol)):
            return theta
        forcing = min(0.1, float(xp.max(size)) ** 0.5)
        d = cg(problem.hvp_at(theta, w), -g, tol=forcing).x
        theta, g, smaller = _line_search(problem, w, theta, d, g, tol)
        if not bool(xp.any(smaller < size)):
            break
        size = smaller
    raise ConvergenceError(
        f"theta_star stopped at a gradient norm of {float(xp.max(size)):.1e} (asked: {tol:.0e}); "
        f"raise `ridge` ({problem.ridge:g}) or rescale the features."
    )


def _line_search(
    problem: Problem, w: Array, theta: Array, d: Array, g: Array, tol: float
) -> tuple[Array, Array, Array]:
    """Halve the step of each unconverged cell until its gradient norm falls."""
    xp = problem.xp
    size = norm(g)
    step = xp.astype(size > tol, theta.dtype)
    for _ in range(MAX_HALVINGS):
        trial = theta + step * d
        g_trial = problem.train_grad(trial, w)
        size_trial = norm(g_trial)
        good = (size_trial <= (1.0 - 1e-4 * step) * size) | (step == 0)
        if bool(xp.all(good)):
            return trial, g_trial, size_trial
        step = xp.where(good, step, 0.5 * step)
    keep = good & (step > 0)
    return (
        xp.where(keep, trial, theta),
        xp.where(keep, g_trial, g),
        xp.where(keep, size_trial, size),
    )
