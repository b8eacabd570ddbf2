r"""The frozen flow of three samples: its field on the triangle, orbits, and every rest point.

Rest points on the interior of a face are zeros of the differences of Psi there: all of them are
found by sign changes on an edge, and by Newton's method from a grid of the interior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from ...dynamics import Problem, checks, integrate_frozen
from ...dynamics.types import Array
from ..optimality import checked_problem
from .faces import rest_point_on_face
from .point import FrozenRestPoint, describe, no_pull

__all__ = ["Portrait", "frozen_portrait"]

EDGE_GRID = 401
ROUND_OFF = 1e-12
SAME = 1e-6
"""Rest points nearer than this, in weights, are one."""


@dataclass(frozen=True)
class Portrait:
    """What there is to draw of a flow on the triangle of three weights.

    Attributes
    ----------
    weights : (k, 3)
        Points of the open triangle.
    velocity : (k, 3)
        ``dw/dt`` there, per unit beta.
    orbits : list of (t, 3)
        Weights along orbits of the flow.
    rest_points : (j, 3)
        None where grad F = 0: every weight rests.
    kinds : tuple of {"attracting", "saddle", "repelling"}
        Their stability within the triangle.
    """

    weights: np.ndarray
    velocity: np.ndarray
    orbits: list[np.ndarray]
    rest_points: np.ndarray
    kinds: tuple[str, ...]


def frozen_portrait(
    problem: Problem, theta: Array, *, num_points: int = 12, num_orbits: int = 18
) -> Portrait:
    """Return field, orbits and rest points of the frozen flow of three samples.

    Parameters
    ----------
    problem : Problem
        With three training samples, a dense Hessian, and ridge > 0 (with ridge 0 and p >= 2 the
        Hessian is singular on vertices, and the field is not defined there).
    theta : (p,)
        The frozen parameters.
    num_points : int
        Points of the field along one edge.
    num_orbits : int
        Orbits, from starts on a circle around the centre.

    Returns
    -------
    Portrait

    Raises
    ------
    ValueError, TypeError
        For another number of samples, ridge 0, or a theta of a wrong shape.
    """
    problem = checked_problem(problem, "frozen_portrait", "hessian")
    if problem.num_samples != 3:
        raise ValueError(f"`problem` must have 3 training samples; got {problem.num_samples}.")
    if problem.ridge == 0:
        raise ValueError("`problem` must have ridge > 0; got 0.0.")
    theta = checks.data("theta", theta, shape=(problem.num_params,))
    num_points = checks.integer("num_points", num_points, minimum=2)
    num_orbits = checks.integer("num_orbits", num_orbits, minimum=0)
    grid = _triangle(num_points)
    ascent = -problem.hypergradient(theta, grid)
    velocity = grid * (ascent - (grid * ascent).sum(axis=-1, keepdims=True))
    still = no_pull(problem, theta)
    points = [] if still else _rest_points(problem, theta)
    starts = _starts(num_orbits)
    scale = float(np.abs(ascent).max())
    return Portrait(
        grid, np.zeros_like(grid) if still else velocity,
        [w0[None] if still else _orbit(problem, theta, w0, scale) for w0 in starts],
        np.array([point.w for point in points]).reshape(-1, 3),
        tuple(_kind(point) for point in points),
    )  # fmt: skip


def _triangle(count: int) -> np.ndarray:
    """Return points of the open triangle on a regular grid, ``(count (count+1) / 2, 3)``."""
    first, second = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
    inside = first + second < count
    pair = (np.stack([first[inside], second[inside]], axis=1) + 1 / 3) / count
    return np.column_stack([pair, 1.0 - pair.sum(axis=1)])


def _starts(count: int) -> np.ndarray:
    """Return starts on a small and a large circle around the centre, ``(count, 3)``."""
    plane = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2.0], [6.0]])
    angles = 2.0 * np.pi * np.arange(count) / max(count, 1)
    radius = np.where(np.arange(count) % 2, 0.1, 0.36)
    circle = np.column_stack([np.cos(angles), np.sin(angles)]) @ plane
    return np.asarray(1 / 3 + radius[:, None] * circle)


def _orbit(problem: Problem, theta: Array, w0: Array, scale: float) -> np.ndarray:
    """Return the weights along the flow until it rests; ``scale`` is the largest size of Psi."""
    return integrate_frozen(
        problem, theta=theta, w0=w0, t_span=(0.0, 1e6 / scale), rest_tol=1e-5 * scale,
        coordinates="full", rtol=1e-6, num_saved=2000,
    ).w  # fmt: skip


def _rest_points(problem: Problem, theta: Array) -> list[FrozenRestPoint]:
    """Return all rest points: three vertices, then those inside edges, then inside."""
    vertices = [_at(problem, theta, row) for row in np.eye(3)]
    edges = [
        _at(problem, theta, w)
        for pair in ((0, 1), (0, 2), (1, 2))
        for w in _edge_roots(problem, theta, pair)
    ]
    inside: list[FrozenRestPoint] = []
    for w0 in _triangle(6):
        point = rest_point_on_face(problem, theta, np.arange(3), w0)
        new = all(np.abs(point.w - other.w).max() > SAME for other in inside)
        if point.status != "not_converged" and point.w.min() > SAME and new:
            inside.append(point)
    return [*vertices, *edges, *inside]


def _at(problem: Problem, theta: Array, w: Array) -> FrozenRestPoint:
    return describe(problem, theta, w, np.flatnonzero(w), "", "")


def _edge_roots(problem: Problem, theta: Array, pair: tuple[int, int]) -> list[np.ndarray]:
    """Return the weights inside an edge at which the two entries of Psi agree."""
    first, second = pair

    def along(share: float) -> np.ndarray:
        w = np.zeros(3)
        w[first], w[second] = share, 1.0 - share
        return w

    def difference(share: float) -> float:
        psi = problem.hypergradient(theta, along(share))
        return float(psi[first] - psi[second])

    # Denser towards both ends, where a root may hide.
    shares = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0.0, 1.0, EDGE_GRID))
    values = np.array([difference(share) for share in shares])
    if np.abs(values).max() <= ROUND_OFF * np.abs(problem.hypergradient(theta, along(0.5))).max():
        return []  # duplicates: every point of the edge rests
    crossing = np.flatnonzero((values[:-1] > 0) != (values[1:] > 0))
    roots = [brentq(difference, shares[k], shares[k + 1], xtol=1e-14) for k in crossing]
    return [along(share) for share in roots if SAME < share < 1.0 - SAME]


def _kind(point: FrozenRestPoint) -> str:
    """Name the stability within the triangle by the signs of all growth rates."""
    absent = np.delete(point.gaps, point.support)
    rates = np.concatenate([absent, point.face_eigenvalues.real])
    if (rates < 0).all():
        return "attracting"
    return "repelling" if (rates > 0).all() else "saddle"
