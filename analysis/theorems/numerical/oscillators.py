"""T7b: solved points are damped oscillators; Hopf points, and where orbits go that leave."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest

from ....dynamics import LeastSquares
from ....dynamics.types import Array
from ...stability import hopf_ratios, kappa, oscillator_spectrum
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from .linearised import flow_jacobian, matched_distance, solved_draws, without_neutral
from .orbits import Point, branches, growth_rate, orbit_ends

__all__ = ["oscillators"]

SIZES = {1: 12, 2: 20, 3: 30, 5: 60}
"""Samples by number of parameters."""
RIDGE = 1e-2
LARGE = 100
"""Draws from which shares are compared by their intervals."""


@certifies(
    "T7b",
    "Solved points are damped oscillators",
    r"At a solved point, with $C = J P(w) J^\top$ and $N = C H^{-1}\nabla^2 F$, the nonzero "
    r"eigenvalues of the warm-started flow solve $\det(\mu^2 + \alpha H\mu + \alpha\beta N) = 0$. "
    r"$p = 1$: always stable, oscillating iff $\beta/\alpha > H^3/(4 C F'')$. $p \ge 2$, $N$ "
    r"regular: stable for small $\beta/\alpha$, where $p$ of them are $-\beta\kappa + "
    r"O(\beta^2/\alpha)$; an eigenvalue of $N$ that is not a positive real number forces a Hopf "
    r"bifurcation at finite $\beta/\alpha$. Orbits that leave an "
    r"unstable solved point settle at solved points that are stable at that ratio.",
    (
        "squared losses, positive definite inner Hessian",
        "where orbits end: measured on random problems, not proved",
    ),
)
def oscillators(quick: bool) -> Evidence:
    """Measure spectra, Hopf ratios, and runs on both sides of them."""
    law = list(draws(0, 1 if quick else 6))
    census = {p: fraction_unstable(p, 5 if quick else 120) for p in SIZES}
    unstable = unstable_draws(2, 2 if quick else 7)
    settled = [orbit_ends(point, ratio) for point, ratio in unstable[: 1 if quick else 7]]
    checks = [
        law_check(law),
        scalar_check([point for point in law if point[1].size == 1]),
        slow_check(law),
        *hopf_checks(unstable, census),
        *census_checks(census),
        rate_check(unstable),
        *orbit_checks(settled),
    ]
    data = {
        "census": {str(p): {k: row[k] for k in ("unstable", "drawn", "interval")}
                   for p, row in census.items()},
        "orbits": settled,
        "branches": branches(*unstable[0]),
    }  # fmt: skip
    return Evidence(checks, data)


# ---------------------------------------------------------------------- draws
def draws(seed: int, count: int) -> list[Point]:
    """Return random solved points for every number of parameters."""
    return [point for p, n in SIZES.items() for point in solved_draws(seed, count, n, p, RIDGE)]


def fraction_unstable(p: int, count: int) -> dict[str, Any]:
    """Return how many of ``count`` random solved points have a Hopf ratio, and what N says."""
    found, forced, missed = 0, 0, 0
    for problem, theta, w in solved_draws(5000, count, SIZES[p], p, RIDGE):
        crossing = hopf_ratios(problem, theta, w).size > 0
        mu = np.linalg.eigvals(restoring_matrix(problem, theta, w))
        needs = bool((np.abs(mu.imag) > 1e-6 * np.abs(mu)).any())
        found, forced, missed = found + crossing, forced + needs, missed + (needs and not crossing)
    interval = binomtest(found, count).proportion_ci(0.95, method="wilson")
    return {
        "unstable": found, "drawn": count, "interval": [interval.low, interval.high],
        "forced": forced, "missed": missed,
    }  # fmt: skip


def restoring_matrix(problem: LeastSquares, theta: Array, w: Array) -> np.ndarray:
    """Return C H^{-1} Hess F by dense algebra on the data alone."""
    gamma = (problem.X @ theta - problem.y)[:, None] * problem.X
    gamma = gamma - w @ gamma
    H = (problem.X.T * w) @ problem.X + problem.ridge * np.eye(theta.size)
    B = problem.X_val.T @ problem.X_val / problem.y_val.size
    return np.asarray((gamma.T * w) @ gamma @ np.linalg.solve(H, B))


def unstable_draws(p: int, count: int) -> list[tuple[Point, float]]:
    """Return solved points with one Hopf ratio, in the range where runs are short."""
    found: list[tuple[Point, float]] = []
    seed = 20
    while len(found) < count:
        for point in solved_draws(seed, 10, SIZES[p], p, RIDGE):
            ratios = hopf_ratios(*point)
            if ratios.size == 1 and ratios[0] < 100:
                found.append((point, float(ratios[0])))
        seed += 100
    return found[:count]


# ---------------------------------------------------------------------- the linear law
def measured_spectrum(point: Point, ratio: float) -> np.ndarray:
    """Return the 2p eigenvalues that are not neutral, from differences of the flow at alpha = 1."""
    problem, theta, w = point
    mu = np.linalg.eigvals(flow_jacobian(problem, theta, w, 1.0, ratio))
    return without_neutral(mu, w.size - theta.size)


def law_check(points: list[Point]) -> Check:
    """Compare the determinant law with the whole Jacobian."""
    worst = 0.0
    for point in points:
        for ratio in (0.1, 10.0):
            law = oscillator_spectrum(*point, 1.0, ratio)
            distance = matched_distance(measured_spectrum(point, ratio), law)
            worst = max(worst, distance / float(np.abs(law).max()))
    return at_most(
        f"measured spectrum of the (p+n)-dimensional flow against the determinant, p = 1, 2, 3, 5, "
        f"{2 * len(points)} cases (relative)",
        worst, 1e-7, "difference error 1e-9 times condition numbers of eigenvectors up to 100",
    )  # fmt: skip


def scalar_check(points: list[Point]) -> Check:
    """With p = 1: damped at every ratio, and oscillating beyond the threshold only."""
    wrong = 0
    for point in points:
        problem, _, w = point
        H = w @ problem.X[:, 0] ** 2 + problem.ridge
        N = restoring_matrix(*point)[0, 0]
        threshold = H**2 / (4.0 * N)
        for factor, oscillates in ((1e-3, False), (0.98, False), (1.02, True), (1e4, True)):
            mu = measured_spectrum(point, factor * threshold)
            wrong += int(mu.real.max() >= 0.0)
            wrong += int((np.abs(mu.imag) > 1e-3 * np.abs(mu)).any() != oscillates)
    return exactly(
        f"p = 1: growing modes, or oscillation on the wrong side of H^3/(4 C F''), in "
        f"{4 * len(points)} measured spectra",
        wrong, 0, "the discriminant of mu^2 + alpha H mu + alpha beta N",
    )  # fmt: skip


def slow_check(points: list[Point]) -> Check:
    """The p slow eigenvalues are -beta kappa up to O(beta/alpha)."""
    worst = -np.inf
    for point in points:
        k = kappa(*point)
        H = point[0].hvp(point[1], point[2], np.eye(point[1].size))
        ratio = 1e-4 * np.linalg.eigvalsh(H)[0] / k[-1]
        mu = measured_spectrum(point, float(ratio))
        slow = np.sort(-mu[np.argsort(np.abs(mu))[: k.size]].real) / ratio
        worst = max(worst, float(np.abs(slow / k - 1.0).max() if k[0] > 1e-4 * k[-1] else -np.inf))
    return at_most(
        "slow eigenvalues against -beta kappa (relative), at beta kappa = 1e-4 alpha lambda_min(H)",
        worst, 5e-2, "next order: 1e-4 times the condition numbers of H and of the kappa (<= 1e4)",
    )  # fmt: skip


def hopf_checks(
    unstable: list[tuple[Point, float]], census: dict[int, dict[str, Any]]
) -> list[Check]:
    """Crossings: on the axis by the measured spectrum, none missed on a grid of ratios."""
    offset, wrong, cases = 0.0, 0, 0
    for point, ratio in unstable:
        mu = measured_spectrum(point, ratio)
        offset = max(offset, min(abs(z.real) / abs(z) for z in mu[mu.imag > 0]))
        for factor in (*np.geomspace(1e-3, 0.99, 8), *np.geomspace(1.01, 1e3, 8)):
            grows = oscillator_spectrum(*point, 1.0, factor * ratio)[0].real > 0
            wrong, cases = wrong + int(grows != (factor > 1.0)), cases + 1
    forced = sum(row["forced"] for row in census.values())
    return [
        at_most(
            f"|Re mu|/|mu| of the measured pair at {len(unstable)} Hopf ratios", offset, 1e-7,
            "difference error 1e-9 times condition numbers of eigenvectors up to 100",
        ),
        exactly(
            f"{cases} ratios on a grid where growth disagrees with the one Hopf ratio", wrong, 0,
            "stability changes only where a pair crosses the axis: det N > 0",
        ),
        exactly(
            f"solved points without a Hopf ratio among {forced} whose N has a non-real eigenvalue",
            sum(row["missed"] for row in census.values()), 0,
            "mu ~ +- i sqrt(alpha beta nu) for large beta: one of them has Re mu > 0",
        ),
    ]  # fmt: skip


def census_checks(census: dict[int, dict[str, Any]]) -> list[Check]:
    """Instability needs p >= 2, and exists there; the intervals belong to this law of draws."""
    several = [row for p, row in census.items() if p > 1]
    checks = [
        exactly(
            f"unstable among {census[1]['drawn']} random solved points with p = 1",
            census[1]["unstable"],
            0,
            "trace and determinant",
        ),
        at_least(
            f"unstable at some ratio among {sum(row['drawn'] for row in several)} with p = 2, 3, 5",
            sum(row["unstable"] for row in several),
            1,
            "one is enough: stability at every ratio is special to p = 1",
        ),
    ]
    if census[1]["drawn"] >= LARGE:
        checks.append(
            at_least(
                f"lower 95% limit of the share at p = 5 ({census[5]['unstable']} of "
                f"{census[5]['drawn']})",
                census[5]["interval"][0],
                census[1]["interval"][1],
                "the upper 95% limit of the share at p = 1 (Wilson intervals)",
            )
        )
    return checks


# ---------------------------------------------------------------------- runs
def rate_check(unstable: list[tuple[Point, float]]) -> Check:
    """Compare perturbed runs below and above the Hopf ratio with the predicted eigenvalue."""
    worst = 0.0
    for point, ratio in unstable:
        for factor in (0.8, 1.25):
            measured, predicted = growth_rate(point, factor * ratio)
            assert (predicted.real > 0) == (factor > 1), "the leading pair is the one that crosses"
            worst = max(worst, abs(measured - predicted) / abs(predicted))
    return at_most(
        f"decay, growth and frequency of {2 * len(unstable)} runs at 0.8 and 1.25 times the Hopf "
        "ratio against mu (relative)",
        worst, 1e-4, "quadratic terms: a perturbation of 1e-6 that grows by e^2 at most",
    )  # fmt: skip


def orbit_checks(settled: list[dict[str, Any]]) -> list[Check]:
    """Ends of runs that came to rest."""
    ends = [row["leaving"] for row in settled if row["leaving"]["status"] == "converged"]
    pairs = [
        row for row in settled
        if row["leaving"]["status"] == row["control"]["status"] == "converged"
    ]  # fmt: skip
    farther = [row["leaving"]["moved"] / row["control"]["moved"] for row in pairs]
    return [
        at_least("runs above a Hopf ratio that came to rest", len(ends), 1, "else nothing is seen"),
        at_most(
            "largest |grad F| at their ends, relative to theta = 0",
            max((end["slope"] for end in ends), default=np.nan), 1e-5,
            "rest to 1e-6 at a solved point",
        ),
        at_most(
            "largest Re mu at their ends, at their own ratio",
            max((end["growth"] for end in ends), default=np.nan), 1e-9,
            "an end that attracts is stable; round-off where N nearly loses rank",
        ),
        at_least(
            "median of the distance to the start over that of the control at half the Hopf ratio",
            np.median(farther or [np.nan]), 1.0, "a control stays where it is",
        ),
    ]  # fmt: skip
