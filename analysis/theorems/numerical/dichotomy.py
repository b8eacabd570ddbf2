"""T6: every rest point of the warm-started flow is solved or trapped."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import LeastSquares, Status, integrate
from ...rest_points import FacePoint, solved_theta, solved_vertex, stationary_point_on_face
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from ..instances import ridge_problem
from . import saddles
from .reference import RidgeFlows

__all__ = ["dichotomy"]

REST = 1e-8
"""Residual at which an orbit is at rest."""
SUPPORT = 1e-4
"""Relative threshold of the support of an orbit's end."""
NEAR = 1e-5
"""Distance, per unit of 1 + |theta|, at which an end is the rest point that it is compared with."""
RATIOS = (1e-2, 1.0, 1e2, 1e4)
CAP = 8000
"""Right-hand sides per orbit."""

Orbit = dict[str, Any]


@certifies(
    "T6",
    "Rest points of the warm-started flow: solved or trapped",
    r"An orbit that settles ends either solved, $\nabla F(\theta) = 0$ with $w$ in the polytope "
    r"$\{w : J w = -\lambda\theta\}$, whose vertices have at most $p + 1$ nonzeros, or trapped, "
    r"$\nabla F \ne 0$ and $\Psi_S = c\mathbf 1$. At a trapped point $h$ is constant on a fibre of "
    r"dimension at least $|S| - p$: nondegenerate minima have $|S| \le p$, and a regular Hessian "
    r"on the face needs $|S| \le 2p - 1$ and has at least $|S| - p$ eigenvalues of each sign. For "
    r"$\lambda = 0$ trapped points interpolate: $r_S = 0$, $|S| = p$, $c = 0$.",
    (
        r"$H$ is invertible along the orbit and in its limit ($\lambda > 0$ suffices)",
        r"quadratic losses; no two samples with the same gradient",
        r"for $\lambda = 0$: any $p$ of the $x_i$ independent, no $p + 1$ samples interpolated",
    ),
)
def dichotomy(quick: bool) -> Evidence:
    """Orbits, vertices, saddles, and interpolation without ridge."""
    orbits = _orbits(quick)
    points, point_checks = _saddle_checks(quick)
    free, free_checks = _without_ridge(quick)
    vertices, vertex_checks = _vertices(20 if quick else 200)
    data = {
        "orbits": orbits, "vertices": vertices, "saddles": points, "without_ridge": free,
        "support_threshold": SUPPORT,
    }  # fmt: skip
    checks = [*_orbit_checks(orbits), *vertex_checks, *point_checks, *free_checks]
    return Evidence(checks, data)


# ---------------------------------------------------------------------- orbits
def _orbits(quick: bool) -> list[Orbit]:
    """Return what became of orbits from random starts at several ratios."""
    sizes = [(6, 1, 0), (8, 2, 4), (8, 2, 1), (10, 3, 1)]
    ratios: tuple[float, ...] = (0.1, 1.0, 10.0)
    if not quick:
        sizes = [(6 + 2 * p, p, seed) for p in (1, 2, 3, 4) for seed in range(5)]
        ratios = (0.03, 0.3, 3.0, 30.0)
    orbits = []
    for n, p, seed in sizes:
        problem = ridge_problem(seed, n=n, p=p, ridge=1e-2)
        for k, ratio in enumerate(ratios):
            rng = np.random.default_rng([seed, n, k])
            w0, theta0 = rng.dirichlet(np.ones(n)), rng.standard_normal(p)
            orbits.append(orbit(problem, ratio, w0, theta0))
    return orbits


def orbit(problem: LeastSquares, ratio: float, w0: np.ndarray, theta0: np.ndarray) -> Orbit:
    """Integrate to rest and describe the end by plain formulas."""
    run = integrate(
        problem, alpha=1.0, beta=ratio, t_span=(0.0, 1e5 / min(ratio, 1.0)), rtol=1e-7, atol=1e-9,
        w0=w0, theta0=theta0, coordinates="full", rest_tol=REST, max_evaluations=CAP, num_saved=2,
    )  # fmt: skip
    w, theta = np.exp(run.log_weights(-1)), run.theta[-1]
    support = np.flatnonzero(w > SUPPORT * w.max())
    plain, optimum = RidgeFlows(problem), solved_theta(problem)
    error = float(np.linalg.norm(theta - optimum) / (1.0 + np.linalg.norm(optimum)))
    result: Orbit = {
        "p": problem.num_params, "ratio": ratio, "settled": run.status == Status.converged,
        "residual": _residual(plain, theta, w), "nonzeros": int(support.size), "error": error,
        "grad_norm": float(np.linalg.norm(_outer_gradient(plain, theta))), "outcome": "neither",
    }  # fmt: skip
    if error <= NEAR:
        result["outcome"] = "solved"
    elif _is_trap(stationary_point_on_face(problem, support, w), theta):
        result["outcome"] = "trapped"
    return result


def _is_trap(point: FacePoint, theta: np.ndarray) -> bool:
    """Whether theta sits at an attracting stationary point of h that is not solved."""
    distance = np.linalg.norm(point.theta - theta) / (1.0 + np.linalg.norm(theta))
    return point.converged and point.attracting and bool(distance <= 100 * NEAR)


def _outer_gradient(plain: RidgeFlows, theta: np.ndarray) -> np.ndarray:
    return plain.X_val.T @ (plain.X_val @ theta - plain.y_val) / len(plain.y_val)


def _residual(plain: RidgeFlows, theta: np.ndarray, w: np.ndarray) -> float:
    """Return the larger of |grad G| and the gap of the weights."""
    a = plain.ascent(theta, w)
    grad = plain.X.T @ (w * (plain.X @ theta - plain.y)) + plain.ridge * theta
    return float(max((a - w @ a).max(), np.linalg.norm(grad)))


def _orbit_checks(orbits: list[Orbit]) -> list[Check]:
    settled = [end for end in orbits if end["settled"]]
    solved = [end for end in settled if end["outcome"] == "solved"]
    trapped = [end for end in settled if end["outcome"] == "trapped"]
    return [
        exactly(
            f"settled orbits (of {len(settled)}) that are neither solved nor at an attracting "
            "trapped point",
            len(settled) - len(solved) - len(trapped), 0, "the dichotomy",
        ),
        at_most(
            "most nonzeros of a trapped limit, less p",
            max((end["nonzeros"] - end["p"] for end in trapped), default=np.nan), 0,
            "h is constant on a fibre of dimension |S| - p",
        ),
        at_most(
            "residual of the rest equations at the ends, by plain NumPy",
            max((end["residual"] for end in settled), default=np.nan), 2 * REST,
            "orbits end where the package finds at most half of it; 2 for round-off",
        ),
        at_least(
            "smallest |grad F| of a trapped limit over the largest of a solved one",
            min((end["grad_norm"] for end in trapped), default=np.nan)
            / max((end["grad_norm"] for end in solved), default=np.nan),
            100.0, "two classes, no continuum: the rest tolerance separates them",
        ),
        at_least("share of orbits that settle within the cap of evaluations",
                 len(settled) / len(orbits), 0.5,
                 "a claim on limits; stick-slip and slow orbits reach the cap before theirs"),
        at_least("solved orbits", len(solved), 1, "both sides must be seen"),
        at_least("trapped orbits", len(trapped), 1, "both sides must be seen"),
    ]  # fmt: skip


# ---------------------------------------------------------------------- vertices
def _vertices(count: int) -> tuple[list[dict[str, int]], list[Check]]:
    """Sample vertices of polytopes of solved weights."""
    seen, worst, most = [], 0.0, -np.inf
    for p, n in ((1, 12), (2, 30), (3, 60), (5, 120)):
        problem = ridge_problem(7, n=n, p=p, ridge=1e-2, noise=1.5)
        theta = solved_theta(problem)
        rng = np.random.default_rng([p, n])
        distinct = {}
        for _ in range(count):
            w = solved_vertex(problem, theta, rng.standard_normal(n))
            support = np.flatnonzero(w)
            distinct[tuple(support)] = w
            star = RidgeFlows(problem).theta_star(w)
            worst = max(worst, float(np.abs(star - theta).max()))
            most = max(most, support.size - (p + 1))
        seen.append({"p": p, "n": n, "vertices": len(distinct),
                     "nonzeros": max(len(support) for support in distinct)})  # fmt: skip
    return seen, [
        at_most("most nonzeros of a vertex of the polytope, less p + 1", most, 0,
                "a basic solution of p + 1 equations"),
        at_most("|theta_star(w) - argmin F| at the vertices, theta_star by plain least squares",
                worst, 1e-9, "round-off times the condition number of H at p + 1 samples"),
        at_least("distinct vertices found per polytope", min(row["vertices"] for row in seen), 2,
                 "a polytope, not a point"),
    ]  # fmt: skip


# ---------------------------------------------------------------------- saddles
def _saddle_checks(quick: bool) -> tuple[list[dict[str, Any]], list[Check]]:
    """Trapped points with p < |S| <= 2p - 1 nonzeros, found in random problems and built."""
    count = 5 if quick else 60
    found = saddles.search(((3, 2), (4, 3)), 12 if quick else 60, 6, ridge=0.1)
    built = [
        saddles.built_point(seed, size, p, 0.1)
        for size, p in ((3, 2), (4, 3), (5, 3)) for seed in range(count)
    ]  # fmt: skip
    beyond = [saddles.built_point(seed, 2 * p, p, 0.1) for p in (2, 3) for seed in range(count)]
    rows = [_measure(*pair) for pair in [*found, *built]]
    saddle = [row["negative"] >= row["nonzeros"] - row["p"] <= row["positive"] for row in rows]
    return rows, [
        at_least("trapped points with more than p nonzeros found in random problems", len(found), 1,
                 "such rest points are generic: Newton's method meets some"),
        exactly("trapped points, found and built, whose face Hessian has fewer than |S| - p "
                "eigenvalues of one sign", saddle.count(False), 0, "isotropic directions"),
        at_most("face Hessian against second differences of h by plain NumPy",
                max(row["difference_error"] for row in rows), 1e-5,
                "truncation and cancellation of fourth-order differences"),
        at_least("smallest growth rate of the warm-started flow at these points, over the spectral "
                 "radius, at ratios 0.01 to 10000", min(min(row["growth"]) for row in rows), 1e-13,
                 "unstable at every ratio; a hundred times the round-off of an eigenvalue"),
        at_most("field and Jacobian of the warm-started flow against plain NumPy",
                max(row["jacobian_error"] for row in rows), 1e-8, "central differences"),
        at_most("variation of h along the fibre of equal theta",
                max(row["fibre_variation"] for row in rows), 1e-9, "theta_star is constant on it"),
        exactly("points whose fibre has a dimension below |S| - p",
                sum(row["fibre"] < row["nonzeros"] - row["p"] for row in rows), 0,
                "(v, c) is in the left null space of [J_S; 1]"),
        at_least("share of built points with |S| <= 2p - 1 that survive a change of the data",
                 np.mean([saddles.persists(*pair) for pair in built]), 0.8,
                 "regular Hessian: implicit functions; the rest are nearly singular"),
        exactly("built points with |S| = 2p that survive it or are regular",
                sum(saddles.persists(*pair) or saddles.inertia(pair[1])[1] == 0 for pair in beyond),
                0, "|S| - p isotropic directions cannot fit in |S| - 1 dimensions"),
    ]  # fmt: skip


def _measure(problem: LeastSquares, point: FacePoint) -> dict[str, Any]:
    negative, _, positive = saddles.inertia(point)
    fibre, variation = saddles.fibre_variation(problem, point)
    return {
        "p": problem.num_params, "nonzeros": int(point.support.size), "grad_norm": point.grad_norm,
        "negative": negative, "positive": positive, "fibre": fibre, "fibre_variation": variation,
        "growth": saddles.growth_rates(problem, point, np.array(RATIOS)),
        "jacobian_error": saddles.jacobian_error(problem, point, 1.0),
        "difference_error": saddles.difference_error(problem, point),
    }  # fmt: skip


# ---------------------------------------------------------------------- ridge 0
def repeated_rows() -> LeastSquares:
    """Return two samples of the same x and opposite targets, and a third one: no general position.

    The third alone sets the second coordinate, to 1 where the target law wants 2.
    """
    X, y = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([1.0, -1.0, 1.0])
    return LeastSquares(X, y, np.eye(2), np.array([0.3, 2.0]), ridge=0.0)


def _without_ridge(quick: bool) -> tuple[dict[str, Any], list[Check]]:
    """Trapped limits at ridge 0: interpolation, and what happens without general position."""
    problem = ridge_problem(2, n=10, p=3, ridge=0.0)
    residuals, sizes, values = [], [], []
    for start in range(2 if quick else 6):
        w0 = np.random.default_rng(start).dirichlet(np.full(10, 5.0))
        run = integrate(problem, beta=1.0, t_span=(0.0, 1e5), rest_tol=REST, w0=w0, num_saved=2,
                        coordinates="full", max_evaluations=CAP)  # fmt: skip
        w, theta = np.exp(run.log_weights(-1)), run.theta[-1]
        kept = w > SUPPORT * w.max()
        r, a = problem.X @ theta - problem.y, RidgeFlows(problem).ascent(theta, w)
        residuals.append(float(np.abs(r[kept]).max()))
        sizes.append(int(kept.sum()) if run.status == Status.converged else -1)
        values.append(abs(float(w @ a)))
    repeated = repeated_rows()
    run = integrate(repeated, beta=1.0, t_span=(0.0, 1e5), rest_tol=REST, num_saved=2)
    w, theta = np.exp(run.log_weights(-1)), run.theta[-1]
    checks = [
        at_most("largest residual on the support of trapped limits at ridge 0", max(residuals),
                1e-5, "interpolation, at the rest tolerance over the smallest weight of S"),
        exactly("trapped limits at ridge 0 without exactly p = 3 nonzeros",
                sum(size != 3 for size in sizes), 0, "H needs p, general position allows no more"),
        at_most("|c| of trapped limits at ridge 0", max(values), 10 * REST, "c = lam <theta, v>"),
        at_least("smallest weight of three, p = 2, at the trapped limit with a repeated row",
                 w.min() if run.status == Status.converged else 0.0, 0.01,
                 "the assumption of general position is needed: |S| = p + 1 and r_S != 0"),
        at_least("residual on the support there", np.abs(repeated.residuals(theta)).min(initial=9.0,
                 where=np.array([True, True, False])), 0.1, "the two targets differ by 2"),
        at_most("error of its limit theta = (0.3, 1)", np.abs(theta - [0.3, 1.0]).max(), 1e-6,
                "closed form"),
    ]  # fmt: skip
    return {"residuals": residuals, "nonzeros": sizes, "repeated_row_weights": w}, checks
