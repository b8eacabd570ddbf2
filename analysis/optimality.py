r"""How far a state is from solving the bilevel problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dynamics import Problem, checks
from ..dynamics.namespaces import require_numpy
from ..dynamics.types import Array

__all__ = ["clean_mass", "cosine_to_exact", "kkt_residual", "theta_error"]


def checked_problem(problem: Any, who: str, *needs: str) -> Problem:
    """Return ``problem`` if it is a NumPy problem that offers what ``who`` needs."""
    if not isinstance(problem, Problem):
        raise TypeError(f"`problem` must be a Problem; got {type(problem).__name__}.")
    require_numpy(problem.xp, who)
    problem.require(needs, who)
    return problem


def checked_weights(problem: Problem, w: Any) -> np.ndarray:
    """Return weights ``(..., n)`` of the problem's samples, normalised to sum to one."""
    w = checks.weights_like("w", w)
    if w.shape[-1] != problem.num_samples:
        raise ValueError(f"`w` must have shape (..., {problem.num_samples}); got {w.shape}.")
    return w / w.sum(axis=-1, keepdims=True)


def checked_support(support: Any, num_samples: int) -> np.ndarray:
    """Return distinct indices of samples, in increasing order."""
    chosen = np.asarray(support)
    if chosen.dtype.kind not in "iu" or chosen.ndim != 1 or chosen.size == 0:
        raise ValueError(f"`support` must be a list of sample indices; got {support!r}.")
    if chosen.min() < 0 or chosen.max() >= num_samples or np.unique(chosen).size < chosen.size:
        raise ValueError(
            f"`support` must hold distinct indices in [0, {num_samples}); got {chosen.tolist()}."
        )
    return np.sort(chosen).astype(np.int64)


def check_leading(**arrays: np.ndarray) -> None:
    """Refuse arrays whose leading axes do not broadcast together."""
    try:
        np.broadcast_shapes(*(value.shape[:-1] for value in arrays.values()))
    except ValueError:
        shown = ", ".join(f"`{name}` {value.shape}" for name, value in arrays.items())
        raise ValueError(f"leading axes must broadcast together; got {shown}.") from None


def kkt_residual(problem: Problem, w: Array, theta: Array | None = None) -> np.ndarray:
    r"""Return the duality gap of h at w, zero exactly at its stationary points on the simplex.

    .. math::

        \langle w, g\rangle - \min_i g_i = \max_{s \in \Delta}\langle w - s, g\rangle,
        \qquad g = \nabla h(w) .

    Zero means that g is constant on the support and nowhere smaller; where h is convex the gap
    bounds ``h(w) - min h``. Frank and Wolfe (1956); Jaggi (2013).

    Parameters
    ----------
    problem : Problem
        With ``theta_star``.
    w : (..., n)
        Non-negative weights, normalised first.
    theta : (..., p), optional
        First guess of the inner solve: on a network it chooses the minimiser.

    Returns
    -------
    (...)
        In units of the loss, >= 0.

    Raises
    ------
    ValueError
        For wrong weights, or a problem without ``theta_star``.
    """
    problem = checked_problem(problem, "kkt_residual", "theta_star")
    w = checked_weights(problem, w)
    if theta is not None:
        theta = checks.array("theta", theta, shape=(problem.num_params,), leading=True)
        check_leading(theta=theta, w=w)
    g = problem.hypergradient(problem.theta_star(w, theta), w)
    return np.maximum((w * g).sum(axis=-1) - g.min(axis=-1), 0.0)


def theta_error(problem: Problem, theta: Array, w: Array) -> np.ndarray:
    r"""Return the distance :math:`|\theta - \theta^\star(w)|`, shape ``(...)``.

    On a network the minimiser is the one that an inner solve reaches from theta.

    Raises
    ------
    ValueError
        For wrong shapes, or a problem without ``theta_star``.
    """
    problem = checked_problem(problem, "theta_error", "theta_star")
    w = checked_weights(problem, w)
    theta = checks.array("theta", theta, shape=(problem.num_params,), leading=True)
    check_leading(theta=theta, w=w)
    return np.linalg.norm(theta - problem.theta_star(w, theta), axis=-1)


def cosine_to_exact(problem: Problem, theta: Array, w: Array, direction: Array) -> np.ndarray:
    r"""Return the cosine, in the metric P(w), between a used field and the gradient of h at w.

    .. math::

        \frac{\langle g, P\nabla h\rangle}
        {\sqrt{\langle g, P g\rangle\,\langle\nabla h, P\nabla h\rangle}}, \qquad P = P(w) .

    A positive value means that the mirror flow along ``direction`` lowers h at this instant. NaN
    where one of the two is constant on the support.

    Parameters
    ----------
    theta : (..., p)
        Only used as a first guess of the inner solve.
    w, direction : (..., n)
    """
    problem = checked_problem(problem, "cosine_to_exact", "theta_star")
    w = checked_weights(problem, w)
    theta = checks.array("theta", theta, shape=(problem.num_params,), leading=True)
    g = checks.array("direction", direction, shape=(problem.num_samples,), leading=True)
    check_leading(theta=theta, w=w, direction=g)
    star = problem.theta_star(w, theta)
    exact = problem.hypergradient(star, w)
    return metric_cosine(w, g, exact)


def metric_cosine(w: Array, a: Array, b: Array) -> np.ndarray:
    """Return the cosine of fields ``(..., n)`` in the metric P(w); NaN where one is constant."""
    a = a - (w * a).sum(axis=-1, keepdims=True)
    b = b - (w * b).sum(axis=-1, keepdims=True)
    scale = np.sqrt((w * a * a).sum(axis=-1) * (w * b * b).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w * a * b).sum(axis=-1) / scale


def clean_mass(w: Array, clean: Array) -> np.ndarray:
    """Return the share of the weights on samples marked clean, shape ``(...)``.

    Parameters
    ----------
    w : (..., n)
        Non-negative weights, normalised first.
    clean : (n,) bool
    """
    w = checks.weights_like("w", w)
    chosen = checks.mask("clean", clean, length=w.shape[-1])
    return w[..., chosen].sum(axis=-1) / w.sum(axis=-1)
