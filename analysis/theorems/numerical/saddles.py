r"""Trapped points with more than p nonzeros, found and built: instances and measurements for T6.

A trapped point can be built backwards. Choose theta, v, w and the rows x_i freely, except that
:math:`\sum_i w_i x_i / (x_i\cdot v) = \theta / \langle\theta, v\rangle`; then

.. math::

    r_i = -c / (x_i\cdot v), \quad c = \lambda\langle\theta, v\rangle, \quad
    y_i = x_i\cdot\theta - r_i, \quad \nabla F(\theta) = H(w)\, v

hold by choice of the targets y and of a quadratic F. Whether the point survives a small change of
the data is another question: it does when the Hessian on its face is regular.
"""

from __future__ import annotations

import numpy as np

from ....dynamics import LeastSquares
from ....dynamics.flows import FullJoint
from ....dynamics.types import Array
from ...rest_points import FacePoint, stationary_point_on_face
from ..instances import ridge_problem
from .reference import RidgeFlows

__all__ = [
    "built_point", "difference_error", "fibre_variation", "growth_rates", "inertia",
    "jacobian_error", "persists", "search",
]  # fmt: skip

Found = tuple[LeastSquares, FacePoint]
ZERO = 1e-9
"""Eigenvalue of the Hessian, relative to the largest, that counts as zero."""
INTERIOR = 1e-6
"""Smallest weight of a point that counts as inside its face."""


def built_point(seed: int, size: int, p: int, ridge: float) -> Found:
    """Return a problem of ``size`` samples and a trapped point with all of them in its support."""
    rng = np.random.default_rng([seed, size, p])
    X, v = rng.standard_normal((size, p)), rng.standard_normal(p)
    w = rng.dirichlet(np.full(size, 2.0))
    theta = rng.standard_normal() * (w @ (X / (X @ v)[:, None]))
    y = X @ theta + ridge * (theta @ v) / (X @ v)
    H = X.T @ (w[:, None] * X) + ridge * np.eye(p)
    A = rng.standard_normal((p, p))
    root = np.linalg.cholesky(A @ A.T + 0.1 * np.eye(p))
    target = root @ root.T @ theta - H @ v
    X_val, y_val = np.sqrt(p) * root.T, np.sqrt(p) * np.linalg.solve(root, target)
    problem = LeastSquares(X, y, X_val, y_val, ridge=ridge)
    return problem, stationary_point_on_face(problem, range(size), w)


def search(
    sizes: tuple[tuple[int, int], ...], seeds: int, starts: int, ridge: float
) -> list[Found]:
    """Return trapped points found by Newton's method on random problems from random starts.

    ``sizes`` are pairs (nonzeros, p); every sample of a problem belongs to the face.
    """
    found: list[Found] = []
    for size, p in sizes:
        for seed in range(seeds):
            problem = ridge_problem(seed, n=size, p=p, ridge=ridge)
            rng = np.random.default_rng([seed, size])
            for _ in range(starts):
                point = stationary_point_on_face(problem, range(size), rng.dirichlet(np.ones(size)))
                new = all(
                    other is not problem or np.abs(point.w - known.w).max() > 1e-6
                    for other, known in found
                )
                if point.converged and not point.solved and point.w.min() > INTERIOR and new:
                    found.append((problem, point))
    return found


def inertia(point: FacePoint) -> tuple[int, int, int]:
    """Return how many eigenvalues on the face are negative, zero and positive."""
    cut = ZERO * np.abs(point.eigenvalues).max(initial=0.0)
    negative = int((point.eigenvalues < -cut).sum())
    positive = int((point.eigenvalues > cut).sum())
    return negative, point.eigenvalues.size - negative - positive, positive


def growth_rates(problem: LeastSquares, point: FacePoint, ratios: Array) -> np.ndarray:
    """Return the largest real part in the spectrum of the warm-started flow at each ratio.

    Relative to the largest eigenvalue in size.
    """
    rates = []
    for ratio in ratios:
        flow = _flow(problem, point, float(ratio))
        spectrum = np.linalg.eigvals(flow.jacobian(flow.initial))
        rates.append(spectrum.real.max() / np.abs(spectrum).max())
    return np.array(rates)


def jacobian_error(problem: LeastSquares, point: FacePoint, ratio: float) -> float:
    """Return the relative distance of the package's field and Jacobian from plain ones.

    The field is written out in NumPy, and its Jacobian taken by central differences.
    """
    flow = _flow(problem, point, ratio)
    field = RidgeFlows(problem).warm_started(flow.alpha, flow.beta)
    z, step = flow.initial, 1e-5
    away = z + 0.1 * np.cos(np.arange(z.size))
    columns = [
        (field(0.0, z + step * e) - field(0.0, z - step * e)) / (2 * step) for e in np.eye(z.size)
    ]
    J, expected = flow.jacobian(z), np.column_stack(columns)
    value = field(0.0, away)
    wrong_field = np.abs(flow.field(away) - value).max() / np.abs(value).max()
    return float(max(np.abs(J - expected).max() / np.abs(J).max(), wrong_field))


def difference_error(problem: LeastSquares, point: FacePoint) -> float:
    """Return how far second differences of h, in plain NumPy, are from the face's Hessian.

    As the largest relative error of ``d^T Q d`` over pairs ``d = e_i - e_j`` of the face, with
    fourth-order differences.
    """
    plain = RidgeFlows(problem)

    def h(w: Array) -> float:
        r = plain.X_val @ plain.theta_star(w) - plain.y_val
        return float(0.5 * np.mean(r * r))

    basis = np.linalg.svd(np.ones((1, point.support.size)))[2][1:].T
    step = min(1e-3, 0.1 * float(point.w[point.support].min()))
    size = basis.shape[1]
    Q = np.empty((size, size))
    lifted = np.zeros((problem.num_samples, size))
    lifted[point.support] = basis

    def second(d: Array) -> float:
        near = h(point.w + step * d) + h(point.w - step * d)
        far = h(point.w + 2 * step * d) + h(point.w - 2 * step * d)
        return (16 * near - far - 30 * h(point.w)) / (12 * step**2)

    for i in range(size):
        for j in range(i + 1):
            plus, minus = lifted[:, i] + lifted[:, j], lifted[:, i] - lifted[:, j]
            Q[i, j] = Q[j, i] = (
                second(lifted[:, i]) if i == j else (second(plus) - second(minus)) / 4
            )
    scale = np.abs(point.eigenvalues).max()
    return float(np.abs(np.linalg.eigvalsh(Q) - point.eigenvalues).max() / scale)


def fibre_variation(problem: LeastSquares, point: FacePoint) -> tuple[int, float]:
    """Return the dimension of the fibre of equal theta through a point, and how h varies on it.

    The variation is that of h, relative to ``|grad F| |theta|``, over a segment that ends where the
    smallest weight is halved.
    """
    gamma = problem.per_sample_grads(point.theta)[point.support]
    constraints = np.vstack([gamma.T, np.ones(point.support.size)])
    singular, rows = np.linalg.svd(constraints)[1:]
    rank = int((singular > 1e-9 * singular[0]).sum())
    worst = 0.0
    for direction in rows[rank:]:
        d = np.zeros(problem.num_samples)
        d[point.support] = direction
        d *= 0.5 * (point.w[point.support] / np.abs(direction)).min()
        change = problem.outer_loss(point.w + d) - problem.outer_loss(point.w - d)
        size = point.grad_norm * float(np.linalg.norm(point.theta))
        worst = max(worst, abs(float(change)) / size)
    return rows.shape[0] - rank, worst


def persists(problem: LeastSquares, point: FacePoint, size: float = 1e-5) -> bool:
    """Return whether a trapped point with this support survives a small change of the targets."""
    rng = np.random.default_rng(point.support.size)
    y = problem.y + size * rng.standard_normal(problem.num_samples)
    moved = LeastSquares(problem.X, y, problem.X_val, problem.y_val, ridge=problem.ridge)
    near = stationary_point_on_face(moved, point.support, point.w)
    return bool(near.converged and not near.solved and np.abs(near.w - point.w).max() < 0.05)


def _flow(problem: LeastSquares, point: FacePoint, ratio: float) -> FullJoint:
    face = problem.batch(train=point.support)
    speed = np.sqrt(ratio)
    return FullJoint(face, 1.0 / speed, speed, point.theta, np.log(point.w[point.support]))
