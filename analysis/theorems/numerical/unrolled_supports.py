"""M3: differentiating T inner steps escapes the bound p, not p(p+3)/2; it returns as T grows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import methods
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from ..instances import ridge_problem
from . import plain_fields as plain
from .fast_weights import fast_limit, held_field, held_state
from .method_cases import draws, library_step, uniform
from .ridge_programs import Instance

__all__ = ["unrolled_supports"]

LENGTHS = (1, 2, 4, 8, 16, 32, 64)
"""Inner steps of the approach to the exact method."""


@certifies(
    "M3",
    "Unrolled steps escape the bound p",
    r"Fast weights of T unrolled steps from a held $\theta_0$ descend on $F(\theta_T(w))$. Their "
    r"field is $\Phi m$ with the $d = p(p+3)/2$ features of quadratic losses, so that $|S| \le d$ "
    r"or $m = 0$; $|S| > p$ occurs for $T \ge 2$ with $\nabla F(\theta_T) \ne 0$, at attracting "
    r"rest points, and $d$ is attained for p = 1. T = 1 gives $|S| \le p$. As T grows the field "
    r"tends "
    r"to $\nabla h$ like $T(1-\rho\mu)^T$, and with it the limits: trapped ones have $|S| \le p$. "
    r"The last K of T steps: at $\theta_0 = \theta^\star(w)$ the field is in the range of J, as "
    r"for "
    r"Neumann; it leaves that range as soon as w moves, so that at held $\theta_0$ the bound is d.",
    (
        "ridge regression, rows of $[\\Phi, 1]$ in general position",
        "inner steps that are stable at all weights, $\\rho L < 2$",
    ),
)
def unrolled_supports(quick: bool) -> Evidence:
    """Look for supports above p, certify them by the plain field, and let T grow."""
    pool = list(draws(4 if quick else 25, (1, 2) if quick else (1, 2, 3, 4), 12, far=0.7, first=0))
    lengths = (2, 5) if quick else (2, 3, 5, 10, 20)
    rows = [_observe(at, T, T) for at in pool for T in lengths]
    rows += [_observe(at, 1, 1) for at in pool]
    kept = [_observe(at, 6, K) for at in pool[: 3 if quick else 60] for K in (1, 3)]
    growing = [_approach(seed) for seed in range(1 if quick else 8)]
    ranges = [_outside(at) for at in pool]
    checks = [*_escape_checks(rows, kept), *_growth_checks(growing), *_range_checks(ranges)]
    return Evidence(checks, {"runs": rows, "truncated": kept, "growing": growing})


def _observe(at: Instance, length: int, kept: int) -> dict[str, Any]:
    """Return the limit of fast weights and its plain certificate."""
    rho, w0 = library_step(at.problem), uniform(at.problem)
    method = methods.TruncatedReverse(
        rho=rho, num_inner_steps=length, num_kept=kept, cold_start=True
    )
    limit = fast_limit(
        held_field(at.problem, method, held_state(at.problem, method, at.theta, w0)), w0
    )
    slope = plain.unrolled(at, limit.w, length, rho, kept)
    scale = float(np.ptp(plain.unrolled(at, w0, length, rho, kept)))
    absent = np.delete(slope, limit.support)
    c = slope[limit.support].mean()
    theta = _theta_after(at, limit.w, length, rho)
    X, y = at.problem.X_val, at.problem.y_val
    pull = np.linalg.norm(X.T @ (X @ theta - y)) / np.linalg.norm(X.T @ (X @ at.theta - y))
    return {
        "p": at.problem.num_params, "T": length, "K": kept, "kind": limit.kind,
        "support": limit.support.size, "pull": float(pull),
        "spread": float(np.abs(slope[limit.support] - c).max()) / scale,
        "excess": float((absent - c).min(initial=np.inf)) / scale,
    }  # fmt: skip


def _theta_after(at: Instance, w: np.ndarray, length: int, rho: float) -> np.ndarray:
    X, y, theta = at.problem.X, at.problem.y, at.theta
    for _ in range(length):
        theta = theta - rho * (X.T @ (w * (X @ theta - y)) + at.problem.ridge * theta)
    return np.asarray(theta)


def _escape_checks(rows: list[dict[str, Any]], kept: list[dict[str, Any]]) -> list[Check]:
    rest = [row for row in rows if row["kind"] == "rest"]
    above = [row for row in rest if row["support"] > row["p"]]
    return [
        at_least("rest points with more than p samples, T >= 2", len(above), 2,
                 "found by the flow from uniform weights"),
        at_least("least |grad F(theta_T)| at these, over that at theta_0",
                 min((row["pull"] for row in above), default=0.0), 1e-4, "they are not solved"),
        at_most("spread of the plain field over their supports",
                max((row["spread"] for row in above), default=np.inf), 1e-10,
                "derivatives by a complex step"),
        at_least("least excess of the plain field at absent samples",
                 min((row["excess"] for row in above), default=-np.inf), 0.0, "attracting"),
        at_most("largest |S| - p(p+3)/2 at rest, T >= 2, all of the steps or the last of them",
                max(row["support"] - row["p"] * (row["p"] + 3) // 2
                    for row in [*rest, *kept] if row["kind"] == "rest"), 0,
                "rows of [Phi, 1] are independent up to that number"),
        exactly("rest points with p = 1 and 2 = p(p+3)/2 samples: none",
                not any(row["p"] == 1 and row["support"] == 2 for row in rest), 0,
                "the bound is attained"),
        at_most("largest |S| - p at rest, T = 1",
                max(row["support"] - row["p"] for row in rest if row["T"] == 1), 0,
                "one J, held"),
        exactly("runs that did not settle",
                sum(row["kind"] == "unsettled" for row in [*rows, *kept]), 0,
                "KKT residual decides"),
    ]  # fmt: skip


def _approach(seed: int) -> dict[str, Any]:
    """Let T grow on a well-conditioned problem: the field, and where it takes the weights."""
    problem = ridge_problem(seed, 10, 2, 0.5)
    w0, theta = uniform(problem), np.random.default_rng(seed).standard_normal(2)
    at, rho = Instance(problem, theta), library_step(problem, 1.0)
    w = np.random.default_rng([seed, 1]).dirichlet(np.ones(10))
    settled = np.linalg.solve(plain.hessian(problem, w), problem.X.T @ (w * problem.y))
    exact = plain.implicit(Instance(problem, settled), w)
    mu = float(np.linalg.eigvalsh(plain.hessian(problem, w))[0])
    errors = [np.abs(plain.unrolled(at, w, T, rho) - exact).max() / np.abs(exact).max()
              for T in LENGTHS]  # fmt: skip
    end = fast_limit(lambda v: np.asarray(problem.outer_grad(v)), w0)
    method = methods.ReverseMode(rho=rho, num_inner_steps=LENGTHS[-1], cold_start=True)
    last = fast_limit(held_field(problem, method, held_state(problem, method, theta, w0)), w0)
    return {
        "T": LENGTHS, "error": errors, "bound": [T * (1 - rho * mu) ** T for T in LENGTHS],
        "exact": end.kind, "unrolled": last.kind, "support": last.support.size,
        "apart": float(np.abs(end.w - last.w).sum()),
        "decay": float((1 - rho * problem.ridge) ** LENGTHS[-1] * LENGTHS[-1]),
    }  # fmt: skip


def _growth_checks(growing: list[dict[str, Any]]) -> list[Check]:
    ratios = [np.array(row["error"]) / np.array(row["bound"]) for row in growing]
    trapped = [row for row in growing if row["unrolled"] == "rest"]
    return [
        at_most("largest over smallest ratio of the field's error to T (1 - rho mu)^T, T >= 16",
                max(ratio[-3:].max() / ratio[-3:].min() for ratio in ratios), 30.0,
                "the rate; T (1 - rho mu)^T falls by orders of magnitude more"),
        at_most("error at T = 64 over that at T = 4",
                max(row["error"][-1] / row["error"][2] for row in growing), 0.5, "it does fall"),
        at_most("largest |S| - p at trapped limits, T = 64",
                max((row["support"] - 2 for row in trapped), default=0), 0, "those of Exact: T6"),
        exactly("draws where Exact is trapped and T = 64 is solved, or the other way round",
                sum(row["exact"] != row["unrolled"] for row in growing), 0, "close fields"),
    ]  # fmt: skip


def _outside(at: Instance) -> tuple[float, float]:
    """Return the part of the truncated field outside range J at theta*(w0), at w0 and elsewhere."""
    problem, w0 = at.problem, uniform(at.problem)
    theta = np.asarray(problem.theta_star(w0))
    here = Instance(problem, theta)
    rho, parts = library_step(problem), []
    method = methods.TruncatedReverse(rho=rho, num_inner_steps=5, num_kept=3)
    field = held_field(problem, method, held_state(problem, method, theta, w0))
    for w in (w0, np.random.default_rng(2).dirichlet(np.ones(w0.size))):
        g = field(w)
        left = g - here.gamma @ np.linalg.lstsq(here.gamma, g, rcond=None)[0]
        parts.append(float(np.linalg.norm(left) / np.linalg.norm(g)))
    return parts[0], parts[1]


def _range_checks(ranges: list[tuple[float, float]]) -> list[Check]:
    return [
        at_most("part of the field of 3 of 5 steps outside range J at theta_0 = theta*(w)",
                max(first for first, _ in ranges), 1e-10, "J is the same at every step there"),
        at_least("the same at other weights, theta_0 held", min(second for _, second in ranges),
                 1e-5, "theta_t moves: the bound p is lost"),
    ]  # fmt: skip
