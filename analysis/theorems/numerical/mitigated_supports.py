"""M8: what mixing, floors and averages leave of the bound p at held theta."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import methods, run_method
from ....dynamics.geometries import Averaged, Floored, Geometry, Mixed
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from . import plain_fields as plain
from .fast_weights import Revealing, fast_limit, held_field, held_state
from .method_cases import draws, uniform
from .ridge_programs import Instance

__all__ = ["mitigated_supports"]

SHARE = 0.3
STEPS = 400
LASTING = 40.0
"""Logarithm by which the slowest absent sample falls in a run that counts as ended.

The flow from uniform weights can pass other rest points first, where that sample grows.
"""


@certifies(
    "M8",
    "Mixing and floors keep everyone, averages nobody more",
    r"Fast weights of Joint at held $\theta$. Mixed, $w = (1-\epsilon)v + \epsilon/n$: at most p "
    r"samples above $\epsilon/n$, and $\mathrm{ESS} \ge 1/((1-\epsilon)^2 + "
    r"(1-(1-\epsilon)^2)/n)$. "
    r"Floored at $\epsilon/n$ has the same rest points: $\Psi = c$ on the free samples, $\Psi \ge "
    r"c$ "
    r"at the floor. Averaged has those of the inner geometry.",
    (
        "ridge regression, general position",
        "$\\nabla F(\\theta) \\ne 0$",
        "rest points that attract",
    ),
)
def mitigated_supports(quick: bool) -> Evidence:
    """Run the algorithm with each geometry, and certify its end by the plain field."""
    pool = list(draws(2 if quick else 20, (1, 2, 3), 14, first=120))
    mixed = [_mixed(at) for at in pool]
    floored = [_ended(at, Floored(SHARE), row["w"]) for at, row in zip(pool, mixed, strict=True)]
    averaged = [_ended(at, Averaged(0.7), _plain_limit(at)) for at in pool]
    checks = [*_mixed_checks(mixed), *_run_checks(mixed, floored, averaged)]
    return Evidence(checks, {"mixed": mixed, "floored": floored, "averaged": averaged})


def _mixed(at: Instance) -> dict[str, Any]:
    """Return the certified limit of the mixed weights."""
    problem, w0, method = at.problem, uniform(at.problem), methods.Joint(rho=0.0)
    geometry = Mixed(SHARE, Revealing())
    state = held_state(problem, method, at.theta, w0)
    limit = fast_limit(held_field(problem, method, state, geometry=geometry), w0)
    w = (1.0 - SHARE) * limit.w + SHARE / w0.size
    b, n = (1.0 - SHARE) ** 2, w0.size
    return {
        "p": problem.num_params, "kind": limit.kind, "support": limit.support.size, "w": w,
        "ess": float(1.0 / (w @ w)), "least_ess": 1.0 / (b + (1.0 - b) / n),
        **_optimality(at, w, limit.support),
    }  # fmt: skip


def _optimality(at: Instance, w: np.ndarray, free: np.ndarray) -> dict[str, float]:
    """Return the spread of Psi over the free samples, and its least excess elsewhere."""
    psi = plain.implicit(at, w)
    c, scale = psi[free].mean(), float(np.ptp(psi))
    absent = np.delete(psi, free)
    return {
        "spread": float(np.abs(psi[free] - c).max()) / scale,
        "excess": float((absent - c).min(initial=np.inf)) / scale,
    }


def _plain_limit(at: Instance) -> np.ndarray:
    """Return the certified limit of Joint without any of this; NaN where there is none."""
    problem, w0, method = at.problem, uniform(at.problem), methods.Joint(rho=0.0)
    limit = fast_limit(held_field(problem, method, held_state(problem, method, at.theta, w0)), w0)
    return limit.w if limit.kind == "rest" else np.full(w0.size, np.nan)


def _ended(at: Instance, geometry: Geometry, expected: np.ndarray) -> dict[str, Any]:
    """Return where the algorithm itself ends from uniform weights, and whether it stays at rest."""
    free = np.flatnonzero(expected > expected.min() * (1.0 + 1e-6))
    psi = plain.implicit(at, expected)
    # A mirror step on the face is stable below 2/|c|.
    eta = 1.0 / float(np.abs(psi[free]).mean())
    gap = float((np.delete(psi, free) - psi[free].mean()).min(initial=np.inf))
    end, still = (
        _weights_after(at, geometry, eta, start, count)
        for start, count in ((uniform(at.problem), STEPS), (np.maximum(expected, 1e-12), 3))
    )
    floor = SHARE / end.size * (1 + 1e-6) if isinstance(geometry, Floored) else 1e-6 * end.max()
    return {
        "p": at.problem.num_params, "support": int((end > floor).sum()), "w": end,
        "distance": float(np.abs(end - expected).sum()),
        "drift": float(np.abs(still - expected).sum()), "lasting": eta * gap * STEPS,
        **_optimality(at, end, free),
    }  # fmt: skip


def _weights_after(
    at: Instance, geometry: Geometry, eta: float, w0: np.ndarray, num_steps: int
) -> np.ndarray:
    run = run_method(
        at.problem, methods.Joint(rho=0.0, eta=eta), num_steps=num_steps, theta0=at.theta,
        w0=w0 / w0.sum(), geometry=geometry, num_saved=2,
    )  # fmt: skip
    return np.asarray(run.w[-1])


def _mixed_checks(mixed: list[dict[str, Any]]) -> list[Check]:
    return [
        at_most("largest number of samples of Mixed above its share, less p",
                max(row["support"] - row["p"] for row in mixed), 0,
                "Psi is constant on the support of v"),
        exactly("runs of Mixed that did not settle", sum(row["kind"] != "rest" for row in mixed), 0,
                "KKT residual decides"),
        at_least("ESS of Mixed over its bound, least", min(row["ess"] / row["least_ess"]
                 for row in mixed), 1.0 - 1e-12, "all of v on one sample is the worst"),
    ]  # fmt: skip


def _run_checks(
    mixed: list[dict[str, Any]], floored: list[dict[str, Any]], averaged: list[dict[str, Any]]
) -> list[Check]:
    in_time = [[row for row in rows if row["lasting"] >= LASTING] for rows in (floored, averaged)]
    shift = [float(np.abs(a["w"] - b["w"]).sum()) for a, b in zip(floored, averaged, strict=True)]
    return [
        at_most("l1 by which Floored leaves the limits of Mixed in three steps",
                max(row["drift"] for row in floored), 1e-9, "the same rest points"),
        at_most("l1 by which Averaged leaves the limits of Joint in three steps",
                max(row["drift"] for row in averaged), 1e-9, "the same rest points"),
        at_most("largest number of samples of Floored above the floor, less p",
                max(row["support"] - row["p"] for row in in_time[0]), 0, "the same optimality"),
        at_most("l1 from the ends of Floored, from uniform weights, to the limits of Mixed",
                max(row["distance"] for row in in_time[0]), 1e-3, "where absent samples had time"),
        at_most("l1 from the ends of Averaged to the limits of Joint",
                max(row["distance"] for row in in_time[1]), 1e-3, "the same"),
        at_least("share of the runs in which they had",
                 sum(map(len, in_time)) / (len(floored) + len(averaged)), 0.3, "not an empty test"),
        at_most("spread of the plain Psi over the free samples, Mixed and Floored",
                max(row["spread"] for row in (*mixed, *in_time[0])), 1e-4,
                "400 steps; Newton's method for Mixed"),
        at_least("least excess of the plain Psi at the others", min(row["excess"]
                 for row in (*mixed, *in_time[0])), 0.0, "nobody is wanted back"),
        at_least("least l1 between the ends of Floored and of Averaged", min(shift), 0.05,
                 "a floor changes the limit, an average does not"),
    ]  # fmt: skip
