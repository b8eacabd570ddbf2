"""Linearisations measured rather than derived: differences, matched spectra, random solved points.

What the stability certificates compare with: high-order differences of the fields and one-step maps
that the library offers, which know nothing of the matrices in ``analysis.stability``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from ....dynamics import LeastSquares
from ....dynamics.flows import FullJoint
from ....dynamics.status import ConvergenceError
from ....dynamics.types import Array
from ...rest_points.solved import max_entropy_weights, solved_theta, solved_vertex
from ..instances import ridge_problem

__all__ = [
    "Field", "dense_weights", "difference_jacobian", "flow_jacobian", "matched_distance",
    "solved_draws", "without_neutral",
]  # fmt: skip

Field = Callable[[Array], Array]

STENCIL = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
"""Central differences of order six."""

DIFFERENCE_ERROR = 1e-9
r"""Error allowed to :func:`difference_jacobian`, relative to the matrix.

Round-off is eps / step = 7e-13 and truncation below (step / scale)^6 with weights of scale 0.01 or
more: 1e-10.
"""


SMALLEST = 1e-12
"""Least weight of a solved point that counts as dense."""


def difference_jacobian(field: Field, z: Array, step: float = 3e-4) -> np.ndarray:
    """Return the Jacobian ``(M, N)`` of ``field: (k, N) -> (k, M)`` at z by central differences."""
    eye = step * np.eye(z.size)
    total = 0.0
    for shift, share in STENCIL:
        total = total + share * (field(z + shift * eye) - field(z - shift * eye))
    return np.asarray(total).T / step


def flow_jacobian(
    problem: LeastSquares, theta: Array, w: Array, alpha: float, beta: float
) -> np.ndarray:
    """Return the numerical Jacobian ``(p+n, p+n)`` of the flow in (theta, log w), for w > 0."""
    flow = FullJoint(problem, alpha, beta, theta, np.log(w))
    return difference_jacobian(lambda rows: np.array([flow.field(z) for z in rows]), flow.initial)


def matched_distance(a: Array, b: Array) -> float:
    """Return the largest distance between two equally large spectra, paired at least total cost."""
    distance = np.abs(np.subtract.outer(a, b))
    return float(distance[linear_sum_assignment(distance)].max(initial=0.0))


def without_neutral(spectrum: Array, count: int, neutral: float = 0.0) -> np.ndarray:
    """Return the spectrum less the ``count`` eigenvalues next to the neutral one."""
    return np.asarray(spectrum[np.argsort(np.abs(spectrum - neutral))[count:]])


def dense_weights(problem: LeastSquares, rng: np.random.Generator, vertices: int = 3) -> np.ndarray:
    """Return random solved weights that are all positive: vertices mixed with maximal entropy."""
    share = rng.uniform(0.1, 1.0)
    w = share * max_entropy_weights(problem)
    for part in rng.dirichlet(np.ones(vertices)):
        w = w + (1.0 - share) * part * solved_vertex(problem, None, rng.standard_normal(w.size))
    return w / w.sum()


def solved_draws(
    seed: int, count: int, n: int, p: int, ridge: float
) -> Iterator[tuple[LeastSquares, np.ndarray, np.ndarray]]:
    """Yield ``count`` random problems with theta and dense weights of a solved point.

    Problems without one are passed over, and so are those on the boundary of what can be solved,
    where some of the weights vanish.
    """
    found = 0
    while found < count:
        seed += 1
        problem = ridge_problem(seed, n, p, ridge)
        try:
            w = dense_weights(problem, np.random.default_rng([seed, n, p]))
        except (ValueError, ConvergenceError):
            continue
        if w.min() > SMALLEST:
            found += 1
            yield problem, solved_theta(problem), w
