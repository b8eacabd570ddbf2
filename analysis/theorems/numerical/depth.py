r"""T6b': a trapped limit has no gradient in the open half-space of the adjoint: zero depth."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import LeastSquares, Status, integrate_exact
from ...rest_points import (
    depth_radius,
    depth_residual,
    is_solvable,
    separating_direction,
    solved_theta,
)
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from ..instances import ridge_problem
from .reference import RidgeFlows

__all__ = ["depth"]

REST = 1e-8
NEAR = 1e-5
"""|theta - argmin F| per unit of 1 + |argmin F| below which a limit is solved."""
SEPARATION = 1e-4
"""Depth that tells trapped limits (below) from solved ones (above)."""
SAME_SIDE = 1e-9
"""Margin of the linear program that counts as zero: its own feasibility tolerance."""


@certifies(
    "T6b'",
    "Trapped limits have zero depth",
    r"A convergent orbit from full support ends with no positive transversal eigenvalue: at "
    r"a trapped limit $\langle g_i, v\rangle \le 0$ for all $i$ with $g_i = \nabla l_i + "
    r"\lambda\theta$ and $v = H^{-1}\nabla F \ne 0$, with equality on the support: zero lies on "
    r"the boundary of $\mathrm{conv}\{g_i\}$, which it does not at a solved limit in general. "
    r"Where $0 \notin \mathrm{conv}\{g_i(\arg\min F)\}$ every limit is trapped.",
    (
        "the orbit converges, and $H$ is invertible in the limit",
        r"solved: $0$ is not on the boundary of $\mathrm{conv}\{g_i(\arg\min F)\}$",
    ),
)
def depth(quick: bool) -> Evidence:
    """Exact flows of n = 8, p = 2 against hulls and linear programs."""
    rows = [
        _outcome(ridge_problem(seed, n=8, p=2, ridge=1e-2), "reduced" if seed % 10 else "full")
        for seed in range(60 if quick else 400)
    ]
    return Evidence(_checks(rows), {"limits": rows, "separation": SEPARATION})


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    settled = [row for row in rows if row["settled"]]
    trapped = [row for row in settled if not row["solved"]]
    solved = [row for row in settled if row["solved"]]
    wrong = sum(abs(row["radius"]) > SEPARATION for row in trapped)
    wrong += sum(row["radius"] <= SEPARATION for row in solved)
    return [
        exactly(f"limits ({len(solved)} solved, {len(trapped)} trapped) on the wrong side of "
                f"depth {SEPARATION:g}", wrong, 0, "the depth separates the two"),
        at_most("largest <g_i, v> at the trapped limits, v by plain least squares",
                max((row["gap"] for row in trapped), default=np.nan), 2 * REST,
                "transversal rates c - Psi_i at rest, and round-off"),
        at_most("distance from it of `depth_residual` along the package's adjoint",
                max((abs(row["residual"] - row["gap"]) for row in trapped), default=np.nan),
                2 * REST, "the two adjoints agree"),
        exactly("solved limits where the linear program finds no weights",
                sum(not row["solvable"] for row in solved), 0, "they are such weights"),
        exactly("problems where the linear programs of weights and of directions agree",
                sum(row["solvable"] == (row["margin"] <= SAME_SIDE) for row in rows), len(rows),
                "Gordan's alternative"),
        at_least("share of the flows that settle", len(settled) / len(rows), 0.95,
                 "h decreases along the exact flow; a slow one may need longer"),
        at_least("trapped limits", len(trapped), len(rows) // 12, "both sides must be seen"),
        at_least("solved limits", len(solved), len(rows) // 12, "both sides must be seen"),
    ]  # fmt: skip


def _outcome(problem: LeastSquares, coordinates: str) -> dict[str, Any]:
    """Integrate the exact flow from uniform weights and measure the depth of its limit."""
    optimum = solved_theta(problem)
    run = integrate_exact(problem, t_span=(0.0, 1e6), rtol=1e-4, atol=1e-6, rest_tol=REST,
                          max_evaluations=20_000, num_saved=2, coordinates=coordinates)  # fmt: skip
    w, theta = np.exp(run.log_weights(-1)), run.theta[-1]
    error = np.linalg.norm(theta - optimum) / (1.0 + np.linalg.norm(optimum))
    plain = RidgeFlows(problem)
    gradient = plain.X_val.T @ (plain.X_val @ theta - plain.y_val) / len(plain.y_val)
    v = np.linalg.lstsq(plain.hessian(w), gradient, rcond=1e-12)[0]
    adjoint = problem.adjoint(theta, w)
    g = (plain.X @ theta - plain.y)[:, None] * plain.X + plain.ridge * theta
    return {
        "settled": run.status == Status.converged,
        "solved": bool(error <= NEAR),
        "grad_norm": float(np.linalg.norm(gradient)),
        "radius": depth_radius(problem, theta),
        "gap": float((g @ v).max()),
        "residual": depth_residual(problem, theta, adjoint) * float(np.linalg.norm(adjoint)),
        "solvable": is_solvable(problem),
        "margin": separating_direction(problem, optimum)[0],
        "nonzeros": int((w > 1e-4 * w.max()).sum()),
    }
