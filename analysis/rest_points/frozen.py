r"""Rest points of the weights of ridge regression at frozen theta, exactly (theory T5b).

With :math:`g_i = \nabla l_i = r_i x_i`, :math:`\nabla^2 l_i = g_i g_i^\top / r_i^2` and
:math:`f = \nabla F(\theta)`, a rest point that no absent sample can invade, with
:math:`s = \langle g_i, v\rangle > 0` on its support, is :math:`v = s\nu` with multipliers
:math:`\lambda_i = s\,w_i / r_i^2`:

.. math::

    f = \sum_i \lambda_i g_i + \lambda s\,\nu, \qquad \langle g_i, \nu\rangle \le 1, \qquad
    \lambda_i \ge 0, \quad \lambda_i (1 - \langle g_i, \nu\rangle) = 0, \qquad
    s = \sum_i \lambda_i r_i^2 .

For ridge :math:`\lambda = 0` this is the linear program ``max <f, nu>`` subject to
:math:`\Gamma\nu \le \mathbf 1`. For :math:`\lambda > 0` and a given :math:`\kappa = \lambda s`
it is a projection, whose multipliers :math:`\lambda_i(\kappa)` are piecewise linear; s itself is
unknown, so that rest points are the roots of

.. math:: \kappa = \lambda\,\sum_i r_i^2\,\lambda_i(\kappa) .

A root exists iff some :math:`\langle g_i, f\rangle > 0`, and there may be several.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...dynamics import ConvergenceError, LeastSquares, checks
from ...dynamics.namespaces import require_numpy
from ...dynamics.types import Array
from .nonnegative import Piece, nonnegative_path
from .point import STATIONARY, FrozenRestPoint, describe, no_pull, nowhere
from .units import column_sizes, scaled_rank

__all__ = ["frozen_rest_point", "frozen_rest_points"]

TIE = 1e-9
"""Gradients this close, and gaps this small, relative, count as tied."""
WRONG = 1e-6
"""Spread of Psi over the support, relative, that is more than round-off."""


def frozen_rest_point(
    problem: LeastSquares, theta: Array, *, w0: Array | None = None
) -> FrozenRestPoint:
    r"""Return where the weights of ridge regression go at frozen theta.

    .. math::

        \max_\nu\;\langle\nabla F, \nu\rangle - \tfrac{\lambda s}{2}|\nu|^2
        \quad\text{subject to}\quad \langle\nabla l_i, \nu\rangle \le 1, \qquad
        s = \sum_i \lambda_i r_i^2, \quad w_i = \lambda_i r_i^2 / s .

    Parameters
    ----------
    problem : LeastSquares
    theta : (p,)
        The frozen parameters.
    w0 : (n,), optional
        Start of the weights, which decides how duplicated samples share theirs; uniform when left
        out.

    Returns
    -------
    FrozenRestPoint
        With status ``"attracting"`` where it is the only one with s > 0; ``"several"`` where
        others attract too (the one of largest s is returned, see :func:`frozen_rest_points`);
        ``"degenerate"`` where more samples tie, or fewer are needed, than a vertex has. There is
        none (weights NaN) for ``"outside_cone"``: ridge 0, X of rank >= 2, no sample fitted
        exactly, and grad F outside the cone of the gradients, where no rest point attracts and the
        inner Hessian loses rank; for ``"fitted"``: the same with fitted samples, on which the
        weights may settle, in shares that depend on the start; for ``"repelled"``: ridge > 0 and
        no gradient makes an acute angle with grad F, so that weights end with s <= 0; and for
        ``"stationary"``: grad F = 0 or all residuals zero. With ridge 0 and X of rank 1 one
        gradient wins, with s of any sign.

    Raises
    ------
    ValueError, TypeError
        For a problem that is not ridge regression in NumPy, or arrays of a wrong shape.
    ConvergenceError
        When gradients tie to round-off without being duplicates, or round-off has spoilt the
        result.

    Notes
    -----
    Theory T5b; exact active sets, by the path of :func:`nonnegative_path`.
    """
    points = frozen_rest_points(problem, theta, w0=w0)
    best = [point for point in points if point.status == "attracting"]
    if len(best) > 1:
        message = f"{len(best)} rest points attract, each from its own basin."
        return replace(best[0], status="several", message=message)
    return best[0] if best else points[0]


def frozen_rest_points(
    problem: LeastSquares, theta: Array, *, w0: Array | None = None
) -> list[FrozenRestPoint]:
    """Return all rest points with s > 0 that no absent sample can invade, by decreasing s.

    At least one: where there is no such point, its ``status`` says why. With ridge 0 there is at
    most one. Arguments and errors are those of :func:`frozen_rest_point`.
    """
    if not isinstance(problem, LeastSquares):
        raise TypeError(f"`problem` must be a LeastSquares; got {type(problem).__name__}.")
    require_numpy(problem.xp, "frozen_rest_point")
    theta = checks.data("theta", theta, shape=(problem.num_params,))
    w0 = _start(problem, w0)
    if no_pull(problem, theta):
        return [nowhere(problem, "stationary", STATIONARY)]
    residuals = _residuals(problem, theta)
    gamma = residuals[:, None] * problem.X
    if not gamma.any():
        message = "no sample has a gradient (all are fitted): every weight stays as it is."
        return [nowhere(problem, "stationary", message)]
    f = problem.in_range(problem.val_grad(theta))
    group, first = _groups(gamma / column_sizes(gamma))
    # Duplicates keep their ratio: together they act as one sample with a mean 1/r^2.
    with np.errstate(divide="ignore"):
        inverse = np.bincount(group, w0 / residuals**2) / np.bincount(group, w0)
        size = 1.0 / inverse
    merged = gamma[first]
    points = [
        _spread(problem, theta, piece, size[piece.active] * multipliers, group, w0)
        for piece, multipliers in _solutions(problem, merged, f, size)
    ]
    if points:
        return sorted(points, key=lambda point: -point.s)
    return [_none(problem, theta, gamma, f, group, w0)]


def _residuals(problem: LeastSquares, theta: Array) -> np.ndarray:
    """Return the residuals, exactly zero where a sample is fitted to round-off."""
    residuals = np.asarray(problem.residuals(theta))
    terms = np.abs(problem.X) @ np.abs(theta) + np.abs(problem.y)
    round_off = 4.0 * np.finfo(float).eps * (problem.num_params + 1)
    return np.where(np.abs(residuals) <= round_off * terms, 0.0, residuals)


def _solutions(
    problem: LeastSquares, gamma: Array, f: Array, size: Array
) -> Iterator[tuple[Piece, np.ndarray]]:
    """Yield active sets with their multipliers at every root of kappa = ridge sum r^2 lambda."""
    ridge = problem.ridge
    if ridge == 0.0:  # a cone: the units of the parameters are free; with a ridge they matter
        sizes = column_sizes(gamma)
        gamma, f = gamma / sizes, f / sizes
    # Large components first: Householder's QR is then accurate in the small ones too.
    order = np.argsort(-column_sizes(gamma), kind="stable")
    gamma, f = gamma[:, order], f[order]
    for piece in nonnegative_path(gamma, f):
        r2 = size[piece.active]
        if ridge > 0.0:
            denominator = 1.0 + ridge * (r2 @ piece.b)
            level = ridge * (r2 @ piece.a) / denominator if denominator else np.inf
            if piece.low < level <= piece.high:
                yield piece, piece.a - level * piece.b
        elif piece.low == 0.0 and np.linalg.norm(piece.offset) <= TIE * np.linalg.norm(f):
            yield piece, piece.a


def _spread(
    problem: LeastSquares, theta: Array, piece: Piece, mass: Array, group: Array, w0: Array
) -> FrozenRestPoint:
    """Return the rest point in which the samples of each group share its mass as in w0."""
    total = np.zeros(group.max() + 1)
    total[piece.active] = mass / mass.sum()
    w = total[group] * w0 / np.bincount(group, w0)[group]
    support = np.flatnonzero(w > 0)
    point = describe(problem, theta, w, support, "", "")
    if abs(point.largest_gap) <= TIE * point.s:
        return replace(
            point, status="degenerate",
            message="absent samples tie with the support: the weights depend on the start.",
        )  # fmt: skip
    if problem.ridge == 0.0 and piece.active.size < scaled_rank(problem.X):
        return replace(
            point, status="degenerate",
            message="grad F lies in a smaller cone: the inner Hessian is singular at the limit.",
        )  # fmt: skip
    if point.residual > WRONG or point.largest_gap > TIE * point.s:
        raise ConvergenceError(
            f"the rest point is spoilt by round-off (relative residual {point.residual:.1e}): the "
            "gradients are dependent, or of very different size, at this `ridge` "
            f"({problem.ridge:g})."
        )
    return point


def _none(
    problem: LeastSquares, theta: Array, gamma: Array, f: Array, group: Array, w0: Array
) -> FrozenRestPoint:
    """Return why no rest point has s > 0, or the one that wins in one dimension."""
    if problem.ridge > 0.0:
        if (gamma @ f).max() > 0.0:  # a root exists
            raise ConvergenceError(
                "the rest point was lost to round-off: the gradients are of very different size "
                f"at this `ridge` ({problem.ridge:g})."
            )
        return nowhere(
            problem, "repelled",
            "no training gradient makes an acute angle with grad F: the weights end with s <= 0.",
        )  # fmt: skip
    if scaled_rank(problem.X) == 1:
        return _winner(problem, theta, gamma, f, group, w0)
    fitted = ~gamma.any(axis=1)
    if fitted.any():
        return nowhere(
            problem, "fitted",
            f"grad F lies outside the cone of the training gradients, and {fitted.sum()} samples "
            "are fitted exactly: the weights settle on these, in shares that depend on the start, "
            "or the inner Hessian loses rank; integrate the flow to see which.",
        )  # fmt: skip
    return nowhere(
        problem, "outside_cone",
        "grad F lies outside the cone of the training gradients: the inner Hessian loses rank.",
    )  # fmt: skip


def _winner(
    problem: LeastSquares, theta: Array, gamma: Array, f: Array, group: Array, w0: Array
) -> FrozenRestPoint:
    """Return the limit for X of rank 1, where H is a number: the largest ``<grad l_i, f>`` wins."""
    wins = group == group[np.argmax(gamma @ f)]
    if not problem.X[wins].any():
        return nowhere(
            problem, "fitted",
            "the weights go to samples without features: the inner Hessian vanishes at the limit.",
        )  # fmt: skip
    w = np.where(wins, w0, 0.0)
    return describe(problem, theta, w / w.sum(), np.flatnonzero(wins), "", "")


def _start(problem: LeastSquares, w0: Any) -> np.ndarray:
    if w0 is None:
        return np.full(problem.num_samples, 1.0 / problem.num_samples)
    return checks.simplex_weights("w0", w0, problem.num_samples)


def _groups(gamma: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the group ``(n,)`` of equal rows that each row is in, and one member of each.

    Equal rows are neighbours in the order of their products with a random direction.
    """
    direction = np.random.default_rng(0).standard_normal(gamma.shape[1])
    order = np.argsort(gamma @ direction, kind="stable")
    rows = gamma[order]
    length = np.linalg.norm(rows, axis=1)
    far = np.linalg.norm(np.diff(rows, axis=0), axis=1) > 1e-3 * TIE * length[1:]
    group = np.empty(len(gamma), dtype=int)
    group[order] = np.concatenate([[0], np.cumsum(far)])
    return group, np.unique(group, return_index=True)[1]
