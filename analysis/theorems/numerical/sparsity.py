"""T5: how many samples keep weight at frozen theta, over a study of random problems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog

from ....dynamics import LeastSquares, Status, Trajectory, integrate_frozen
from ....dynamics.types import Array
from ...rest_points import rest_point_on_face
from ..certificate import Check, Evidence, at_most, certifies, exactly
from ..instances import ridge_problem
from .sparsity_edges import edge_checks

__all__ = ["frozen_support"]

SETTLED = 1e-10
"""Duality gap of the weights, relative to the largest entry of Psi at the start, that is rest."""
THRESHOLD = 1e-6
"""Support: weights above this share of the largest one."""
HORIZON = 1e10
"""Longest run, over the largest entry of Psi at the start."""
FEW = 50
"""Samples up to which runs take full coordinates at once."""
CAP = 20_000
"""Right-hand sides after which a run counts as not settled."""


@dataclass(frozen=True)
class Case:
    """One problem of the study; ``optimal`` freezes theta at the solution of uniform weights."""

    seed: int
    n: int
    p: int
    ridge: float
    features: str
    optimal: bool


def cases(quick: bool) -> Iterator[Case]:
    """Yield the study: p = 1..8, ridge 0 and small, light and heavy tails, n from p+1 to 500."""
    seed = 0
    for p in range(1, 9):
        for n in (p + 1, 2 * p + 1, 30, 100, 500):
            for ridge in (0.0, 1e-3):
                for features in ("gaussian", "heavy"):
                    for optimal in (True, False):
                        seed += 1
                        # A fifth: all sizes, with ridges, tails and thetas in turn.
                        if not quick or (seed + seed // 7) % 5 == 3:
                            yield Case(seed, n, p, ridge, features, optimal)


@certifies(
    "T5",
    "At frozen theta at most p samples survive",
    r"Let $r = \mathrm{rank}[\Gamma, \mathbf 1] - 1$. If every $r+1$ rows of $[\Gamma, \mathbf 1]$ "
    r"are independent, a rest point of the frozen flow has $|S| \le r$, or $\Psi$ is the same on "
    r"all $n$ samples ($\nabla F$ vanishes on the span of the gradients, or $\mathbf 1$ lies in "
    r"the range of $\Gamma$, as for $n \le p$). For $\lambda = 0$, $p \ge 2$ and quadratic losses, "
    r"generic orbits settle iff $\nabla F \in \mathrm{cone}\{\nabla l_i\}$, with $|S| = p$ if "
    r"$\nabla F$ is in none of its faces of lower dimension; otherwise $H$ loses rank.",
    (
        "distinct gradients, in general position",
        "$\\nabla F(\\theta) \\ne 0$",
        "$H$ invertible along the orbit (ridge, or $n \\ge p$)",
        "for the settling at $\\lambda = 0$: no residual is zero, and $\\mathrm{rank}\\,X \\ge 2$",
    ),
)
def frozen_support(quick: bool) -> Evidence:
    """Integrate every case to rest, and count and certify who is left."""
    runs = [observe(case) for case in cases(quick)]
    settled = [run for run in runs if run["settled"]]
    checks = [*_count_checks(settled), *_rest_checks(settled), *_settling_checks(runs)]
    table = np.zeros((8, 10), dtype=int)
    for run in settled:
        table[run["p"] - 1, min(run["support"], 9)] += 1
    data = {
        "runs": runs,
        "table": table,
        "threshold": THRESHOLD,
        "unsettled": len(runs) - len(settled),
    }
    return Evidence([*checks, *edge_checks()], data)


def observe(case: Case) -> dict[str, Any]:
    """Return how one run ended: the samples it kept, and what plain NumPy says of its end."""
    problem = ridge_problem(case.seed, case.n, case.p, case.ridge, features=case.features)
    n, p = case.n, case.p
    X, X_val = problem.X, problem.X_val
    if case.optimal:
        lhs = X.T @ X / n + case.ridge * np.eye(p)
        theta = np.linalg.solve(lhs, X.T @ problem.y / n)
    else:
        theta = np.random.default_rng(case.seed).standard_normal(p)
    gamma = (X @ theta - problem.y)[:, None] * X
    f = X_val.T @ (X_val @ theta - problem.y_val) / len(X_val)
    scale = np.abs(_ascent(problem, gamma, f, np.full(n, 1.0 / n))).max()
    run = _run_to_rest(problem, theta, scale)
    w = np.asarray(run.w[-1])
    augmented = np.column_stack([gamma / np.abs(gamma).max(axis=0), np.ones(n)])
    return {
        **vars(case), "settled": run.status is Status.converged, "status": run.status.name,
        "support": _kept(w).size, "rank": int(np.linalg.matrix_rank(augmented)) - 1,
        "in_cone": linprog(np.zeros(n), A_eq=gamma.T, b_eq=f / np.linalg.norm(f),
                           method="highs-ds").status == 0,
        "curvature": _curvature(problem, w) / _curvature(problem, np.full(n, 1.0 / n)),
        **_certificate(problem, theta, gamma, f, w, scale),
    }  # fmt: skip


def _run_to_rest(problem: LeastSquares, theta: Array, scale: float) -> Trajectory:
    """Return the run from uniform weights to rest, or to where it cannot go on.

    The reduced coordinate u grows linearly for ever, so that a relative tolerance on it loosens
    with time, and a run may pass rest by: then full coordinates follow.
    """
    for coordinates in ("full",) if problem.num_samples <= FEW else ("reduced", "full"):
        run = integrate_frozen(
            problem, theta=theta, t_span=(0.0, HORIZON / scale), rtol=1e-6, num_saved=2,
            rest_tol=SETTLED * scale, max_evaluations=CAP, coordinates=coordinates,
        )  # fmt: skip
        if run.status not in (Status.ok, Status.max_evaluations):
            break
    return run


def _ascent(problem: LeastSquares, gamma: Array, f: Array, w: Array) -> np.ndarray:
    """Return ``-Psi`` in plain NumPy, by least squares where H lacks rank."""
    X = problem.X
    H = X.T @ (w[:, None] * X) + problem.ridge * np.eye(X.shape[1])
    return np.asarray(gamma @ np.linalg.lstsq(H, f, rcond=None)[0])


def _kept(w: Array) -> np.ndarray:
    """Return the samples above the threshold."""
    return np.flatnonzero(w > THRESHOLD * w.max())


def _curvature(problem: LeastSquares, w: Array) -> float:
    """Return the smallest eigenvalue of ``H(w)``."""
    H = problem.X.T @ (w[:, None] * problem.X) + problem.ridge * np.eye(problem.num_params)
    return float(np.linalg.eigvalsh(H)[0])


def _certificate(
    problem: LeastSquares, theta: Array, gamma: Array, f: Array, w: Array, scale: float
) -> dict[str, float]:
    """Return how far the end is from rest, and from the exact rest point with its support."""
    a, kept = _ascent(problem, gamma, f, w), _kept(w)
    size = np.abs(a).max()
    polished = rest_point_on_face(problem, theta, kept, w)
    exact = (
        _ascent(problem, gamma, f, polished.w) if polished.support.size else np.full(len(w), np.nan)
    )
    s = exact[kept].mean()
    absent = np.delete(exact, kept)
    return {
        "residual": float((a.max() - w @ a) / scale),
        "moved": float(np.abs(polished.w - w).sum()),
        "spread": float(np.abs(exact[kept] - s).max() / size),
        "gap": float((absent.max() - s) / size) if absent.size else -np.inf,
    }


def _count_checks(settled: list[dict[str, Any]]) -> list[Check]:
    plain = [run for run in settled if run["ridge"] == 0.0 and run["in_cone"]]
    return [
        at_most("largest |S| - r at rest (relative threshold 1e-6)",
                max(run["support"] - run["rank"] for run in settled), 0,
                "[Gamma_S, 1](v, c) = 0 has no solution v != 0 for r+1 independent rows"),
        exactly("runs at ridge 0 with grad F in the cone whose |S| is not p",
                sum(run["support"] != run["p"] for run in plain), 0,
                "H_S is invertible only with p samples"),
    ]  # fmt: skip


def _rest_checks(settled: list[dict[str, Any]]) -> list[Check]:
    """Return the checks that the ends are rest points that attract, by dense algebra."""

    def worst(key: str) -> float:
        return float(np.max([run[key] for run in settled]))

    return [
        at_most("largest relative duality gap max_i(c - Psi_i) at the ends, by dense algebra",
                worst("residual"), 1e-9, "rest at 1e-10 of the largest |Psi| at the start"),
        at_most("l1 between the ends and the exact rest points on their supports", worst("moved"),
                1e-5, "samples below the threshold carry at most n 1e-6 max w"),
        at_most("relative spread of Psi over the supports at the exact points", worst("spread"),
                1e-8, "Newton to 1e-11, cond(H) in dense algebra"),
        at_most("largest relative growth rate of an absent sample at the exact points",
                worst("gap"), 0.0, "attracting from outside the face"),
    ]  # fmt: skip


def _settling_checks(runs: list[dict[str, Any]]) -> list[Check]:
    plain = [run for run in runs if run["ridge"] == 0.0 and run["p"] >= 2]
    lost = [run["curvature"] for run in runs if not run["settled"]]
    return [
        exactly("runs at ridge 0, p >= 2, that settle though the linear program is infeasible, or "
                "not though it is feasible",
                sum(run["settled"] != run["in_cone"] for run in plain), 0,
                "outside the cone every rest point has s <= 0 and is unstable"),
        exactly("runs that did not settle with ridge > 0 or grad F in the cone",
                sum(not run["settled"] and (run["ridge"] > 0 or run["in_cone"]) for run in runs), 0,
                "every run that does not settle is explained"),
        at_most("smallest eigenvalue of H at the end over the start, in runs that did not settle",
                max(lost, default=np.inf), 1e-4, "H loses rank; the study has such runs"),
    ]  # fmt: skip
