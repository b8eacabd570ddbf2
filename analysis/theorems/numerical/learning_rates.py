"""T7c: the band of learning rates, by the map of one step and by runs on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import LeastSquares, run_method
from ....dynamics.types import Array
from ...stability import kappa, learning_rate_limits, spectral_radius, update_matrix
from ..certificate import Check, Evidence, at_least, at_most, certifies
from .learning_rate_runs import ORDERS, Point, algorithm, growth_per_step, jump, regions
from .linearised import (
    DIFFERENCE_ERROR,
    difference_jacobian,
    matched_distance,
    solved_draws,
    without_neutral,
)

__all__ = ["learning_rate_band"]

SPECTRUM_ERROR = 100.0 * DIFFERENCE_ERROR


@certifies(
    "T7c",
    "The learning-rate band",
    r"Let $\kappa$ be an eigenvalue of $H^{-1} C H^{-1}\nabla^2 F$ at a solved point (always real "
    r"and $\ge 0$). For $p = 1$ or commuting $H$, $C$, $\nabla^2 F$, mode by mode ($h$ of $H$): "
    r"the simultaneous algorithm is stable iff $\eta\kappa < 1$ and $\rho h(1 - \eta\kappa/2) < "
    r"2$; theta first, and likewise $w$ first, iff $\rho h < 2$ and $\eta\kappa < 4/(\rho h) - 2$. "
    r"For all matrices the exact algorithm is stable iff $\eta\kappa_{\max} < 2$; above, it moves "
    r"along the solved manifold to a flatter point. Theta first and $w$ first have one spectrum.",
    (
        "squared losses, positive definite inner Hessian, mirror steps",
        "p = 1 or commuting H, C, Hess F for the first two orders; not needed for the exact one",
        "where the exact algorithm goes above its limit: measured, not proved",
    ),
)
def learning_rate_band(quick: bool) -> Evidence:
    """Measure one-step maps at and around the limits, and runs."""
    points = commuting_points(1 if quick else 4)
    general = list(solved_draws(300, 1 if quick else 8, 16, 2, 5e-2))
    general += list(solved_draws(300, 1 if quick else 8, 20, 3, 5e-2))
    etas, steps = ((1.8, 2.5, 4.0), 1000) if quick else ((1.8, 2.1, 2.5, 3.0, 4.0), 3000)
    jumps = [jump(seed, eta, steps) for seed in range(1, 3 if quick else 13) for eta in etas]
    checks = [
        *limit_checks(points),
        *map_checks(points + general),
        exact_check(general),
        run_check(points),
        *jump_checks(jumps),
        commuting_is_needed(1 if quick else 8),
    ]
    return Evidence(checks, {"regions": regions(points[0], 7 if quick else 13), "jumps": jumps})


# ---------------------------------------------------------------------- points
def commuting_points(count: int) -> list[Point]:
    """Return solved points with p = 1, and with p = 2, 3 and matrices that share a hidden basis."""
    points = list(solved_draws(700, count, 12, 1, 5e-2))
    for seed in range(count):
        points += [reflected_point(seed, 2, 0.0), reflected_point(seed, 3, 0.1)]
    return points


def reflected_point(seed: int, p: int, ridge: float) -> Point:
    """Return a solved point of samples reflected in all axes of a random basis.

    Reflections make H, C and Hess F diagonal in that basis and J w = 0; with a ridge, theta = 0
    keeps the equation J w = -ridge theta.
    """
    rng = np.random.default_rng([seed, p])
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * p)).reshape(p, -1).T
    basis = np.linalg.qr(rng.standard_normal((p, p)))[0]
    theta = np.zeros(p) if ridge else rng.standard_normal(p)
    scales, offsets = rng.uniform(0.5, 2.0, (3, p)), rng.uniform(0.5, 2.0, 3)
    offsets *= np.array([1.0, -1.0, 1.0])
    X = np.concatenate([signs * scale for scale in scales]) @ basis.T
    X_val = signs * rng.uniform(0.5, 2.0, p) @ basis.T
    y = X @ theta - np.repeat(offsets, len(signs))
    w = np.repeat(rng.dirichlet(np.full(3, 5.0)), len(signs)) / len(signs)
    return LeastSquares(X, y, X_val, X_val @ theta + 0.3, ridge=ridge), theta, w


# ---------------------------------------------------------------------- the map of one step
def measured_spectrum(point: Point, rho: float, eta: float, order: str) -> np.ndarray:
    """Return the eigenvalues that are not neutral, from differences of one step of the method."""
    problem, theta, w = point
    p, n, method = theta.size, w.size, algorithm(rho, eta, order)
    start = np.log(w) if order == "exact" else np.concatenate([theta, np.log(w)])

    def step(rows: Array) -> Array:
        u = np.exp(rows[:, -n:])
        theta0 = None if order == "exact" else rows[:, :p]
        run = run_method(problem, method, 1, theta0=theta0, w0=u / u.sum(axis=1, keepdims=True))
        return run.log_w[-1] if order == "exact" else np.hstack([run.theta[-1], run.log_w[-1]])

    z = np.linalg.eigvals(difference_jacobian(step, start))
    constant = without_neutral(z, 1)
    return without_neutral(constant, constant.size - p * (1 if order == "exact" else 2), 1.0)


def measured_radius(point: Point, rho: float, eta: float, order: str) -> float:
    """Return the spectral radius across the solved manifold."""
    return float(np.abs(measured_spectrum(point, rho, eta, order)).max())


def cases(points: list[Point]) -> list[tuple[Point, float, str, float, float]]:
    """Return points, inner steps, orders and (limit, direction): +1 where eta must stay below."""
    found = []
    for point in points:
        h = float(np.linalg.eigvalsh(point[0].hvp(point[1], point[2], np.eye(point[1].size)))[-1])
        for order in ORDERS:
            shares = (0.5, 1.5, 2.5) if order == "simultaneous" else (0.5, 1.5)
            for rho in [share / h for share in shares]:
                low, high = learning_rate_limits(*point, rho, order)
                found += [(point, rho, order, high, 1.0)] if high > 0 else []
                found += [(point, rho, order, low, -1.0)] if low > 0 else []
    return found


def limit_checks(points: list[Point]) -> list[Check]:
    """Measure the spectral radius at, inside and outside every limit."""
    at, inside, outside = [], [], []
    found = cases(points)
    for point, rho, order, limit, side in found:
        at.append(abs(measured_radius(point, rho, limit, order) - 1.0))
        inside.append(measured_radius(point, rho, limit * (1.0 - 0.02 * side), order))
        outside.append(measured_radius(point, rho, limit * (1.0 + 0.02 * side), order))
    lower = sum(side < 0 for *_, side in found)
    return [
        at_most(
            f"|radius - 1| of the measured map of a step at {len(at)} limits ({lower} of them "
            "lower limits), four orders, p = 1 and commuting p = 2, 3", max(at), SPECTRUM_ERROR,
            "difference error times condition numbers of eigenvectors up to 100",
        ),
        at_most("largest radius 2 % inside", max(inside), 1.0 - 1e-5, "stable, strictly"),
        at_least("smallest radius 2 % outside", min(outside), 1.0 + 1e-5, "unstable, strictly"),
    ]  # fmt: skip


def map_checks(points: list[Point]) -> list[Check]:
    """Compare measured spectra with the update matrices, also where nothing commutes."""
    by_matrix, by_order = [], []
    for point in points:
        k, h = kappa(*point)[-1], point[0].constants()[1]
        for rho, eta in ((0.5 / h, 0.3 / k), (1.5 / h, 1.2 / k)):
            measured = {order: measured_spectrum(point, rho, eta, order) for order in ORDERS}
            for order, z in measured.items():
                law = np.linalg.eigvals(update_matrix(*point, rho, eta, order))
                by_matrix.append(matched_distance(z, law))
            by_order.append(matched_distance(measured["theta_first"], measured["w_first"]))
    why = "difference error times condition numbers of eigenvectors up to 100"
    return [
        at_most(
            f"measured spectra against update_matrix, {len(by_matrix)} cases, commuting or not",
            max(by_matrix), SPECTRUM_ERROR, why,
        ),
        at_most("theta first against w first, spectra", max(by_order), SPECTRUM_ERROR, why),
    ]  # fmt: skip


def exact_check(points: list[Point]) -> Check:
    """The limit of the exact algorithm does not need commuting matrices."""
    worst = 0.0
    for point in points:
        low, high = learning_rate_limits(*point, 1.0, "exact")
        assert low == 0.0, "the exact algorithm has no lower limit"
        worst = max(worst, abs(measured_radius(point, 1.0, high, "exact") - 1.0))
    return at_most(
        "exact algorithm, matrices that do not commute: |radius - 1| at eta = 2 / max kappa",
        worst, SPECTRUM_ERROR, "difference error times condition numbers of eigenvectors up to 100",
    )  # fmt: skip


def run_check(points: list[Point]) -> Check:
    """Runs on both sides of the limits decay and grow as the spectral radius says."""
    worst, count = 0.0, 0
    for point, rho, order, limit, _ in cases(points):
        for factor in (0.9, 1.1):
            measured, predicted = growth_per_step(point, rho, factor * limit, order)
            worst, count = max(worst, abs(measured - predicted)), count + 1
    return at_most(
        f"log growth per step of {count} runs at 0.9 and 1.1 of the limits against the log of the "
        "spectral radius",
        worst, 1e-5,
        "perturbation 1e-6: cubic terms, its square times eta squared, and rounding, eps over it",
    )  # fmt: skip


def jump_checks(jumps: list[dict[str, Any]]) -> list[Check]:
    """Above its limit the exact algorithm stays bounded and moves to a flatter point."""
    above = [row for row in jumps if row["eta_kappa"] > 2.0]
    below = [row for row in jumps if row["eta_kappa"] < 2.0]
    flatter = [row["flatter"] for row in above if row["solved"]]
    return [
        at_most(
            f"eta kappa where {len(flatter)} of {len(above)} exact runs above the limit settle",
            max(flatter, default=np.nan), 2.0 + 1e-6, "only points below the limit attract",
        ),
        at_least(
            "smallest distance |w - w(0)|_1 that runs above the limit move, over the largest that "
            "runs below it do",
            min(row["moved"] for row in above) / max(row["moved"] for row in below), 2.0,
            "the control returns to the manifold at once",
        ),
    ]  # fmt: skip


def commuting_is_needed(count: int) -> Check:
    """How far the closed limit, with kappa and h of their own, is off where nothing commutes."""
    worst = 1.0
    for seed in range(count):
        for p, n in ((2, 20), (3, 30)):
            for point in solved_draws(900 + 40 * seed, 3, n, p, 1e-2):
                k = kappa(*point)[-1]
                rho = 0.1 / point[0].constants()[1]
                grid = np.geomspace(1e-4, 1.0, 80) / k
                stable = np.array([spectral_radius(*point, rho, eta) < 1.0 for eta in grid])
                first = grid[np.argmin(stable)] if not stable.all() else grid[-1]
                worst = max(worst, float(1.0 / (k * first)))
    return at_least(
        "largest factor by which 1/max(kappa) overestimates the limit of the simultaneous "
        "algorithm at matrices that do not commute",
        worst, 1.1, "counterexamples exist: commuting cannot be dropped",
    )  # fmt: skip
