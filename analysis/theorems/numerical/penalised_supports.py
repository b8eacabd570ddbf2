"""M5: what penalties on the weights do to the support of fast weights at held theta."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from ....dynamics import methods, run_method
from ....dynamics.geometries import Penalised
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from . import plain_fields as plain
from .fast_weights import Limit, Revealing, fast_limit, held_field, held_state
from .method_cases import draws, uniform
from .ridge_programs import Instance

__all__ = ["penalised_supports"]


@certifies(
    "M5",
    "Penalties on the weights",
    r"At held $\theta$, $g = \Psi + \tau\log w$ has every rest point inside, "
    r"$w = \mathrm{softmax}(-\Psi/\tau)$. $g = \Psi + \kappa n w$ rests at the Euclidean "
    r"projection "
    r"$w = \mathrm{proj}_\Delta(-\Psi/(\kappa n))$, that is $w_i = (c - \Psi_i)_+/(\kappa n)$: its "
    r"support is $\{\Psi_i < c\}$, more than p as $\kappa$ grows, and all samples iff "
    r"$\kappa > \max_i\Psi_i - \frac1n\sum_i\Psi_i$ there. As $\kappa \to 0$ at most p remain.",
    ("ridge regression", "$\\lambda > 0$", "mirror weights"),
)
def penalised_supports(quick: bool) -> Evidence:
    """Compare the rest points with the two closed forms, by plain formulas."""
    pool = list(draws(2 if quick else 20, (1, 2, 3), 14, first=80))
    entropic = [_entropic(at) for at in pool]
    rows = [row for at in pool for row in _quadratic(at)]
    return Evidence([*_entropic_checks(entropic), *_quadratic_checks(rows)],
                    {"entropy": entropic, "l2": rows})  # fmt: skip


def _entropic(at: Instance) -> dict[str, float]:
    """Run the algorithm itself with the entropy taken implicitly."""
    w0 = uniform(at.problem)
    tau = 0.3 * float(np.ptp(at.ascent(w0)))
    run = run_method(
        at.problem, methods.Joint(rho=0.0, eta=0.3 / tau), num_steps=400, theta0=at.theta,
        geometry=Penalised(entropy=tau, implicit=True), num_saved=2,
    )  # fmt: skip
    w = np.asarray(run.w[-1])
    return {
        "error": float(np.abs(w - softmax(at.ascent(w) / tau)).sum()),
        "smallest": float(np.log(w.min() * w.size) + np.ptp(at.ascent(w)) / tau),
    }  # fmt: skip


def _entropic_checks(rows: list[dict[str, float]]) -> list[Check]:
    return [
        at_most("|w - softmax(-Psi/tau)|_1 at the end of runs with the entropy penalty",
                max(row["error"] for row in rows), 1e-9, "contraction of the implicit step"),
        at_least("least log of the smallest weight times n, plus the spread of Psi over tau",
                 min(row["smallest"] for row in rows), 0.0, "all samples keep at least so much"),
    ]  # fmt: skip


def _quadratic(at: Instance) -> list[dict[str, Any]]:
    """Return the rest points for weak, middling and strong penalties."""
    w0, rows = uniform(at.problem), []
    spread = float(np.ptp(at.ascent(w0)))
    for factor in (1e-6, 0.05, 0.3, 2.0):
        limit, kappa = _limit(at, factor * spread), factor * spread
        psi = plain.implicit(at, limit.w)
        rows.append({
            "p": at.problem.num_params, "factor": factor, "kind": limit.kind,
            "support": limit.support.size,
            "error": float(np.abs(limit.w - projected(-psi / (kappa * w0.size))).sum()),
            "all": limit.support.size == w0.size, "predicted": bool(kappa > psi.max() - psi.mean()),
        })  # fmt: skip
    return rows


def _limit(at: Instance, kappa: float) -> Limit:
    problem, w0, method = at.problem, uniform(at.problem), methods.Joint(rho=0.0)
    geometry = Penalised(l2=kappa, inner=Revealing())
    state = held_state(problem, method, at.theta, w0)
    return fast_limit(held_field(problem, method, state, geometry=geometry), w0)


def projected(z: np.ndarray) -> np.ndarray:
    """Return the Euclidean projection onto the simplex, by a bracketed root for its level."""

    def excess(level: float) -> float:
        return float(np.maximum(z - level, 0.0).sum()) - 1.0

    level = brentq(excess, z.min() - 1.0, z.max(), xtol=1e-15 * max(1.0, np.abs(z).max()))
    return np.asarray(np.maximum(z - level, 0.0))


def _quadratic_checks(rows: list[dict[str, Any]]) -> list[Check]:
    weak = [row for row in rows if row["factor"] < 1e-3]
    return [
        exactly("runs with the l2 penalty that did not settle",
                sum(row["kind"] != "rest" for row in rows), 0, "KKT residual decides"),
        at_most("|w - proj(-Psi/(kappa n))|_1 at their ends",
                max(row["error"] for row in rows if row["factor"] > 1e-3), 1e-8,
                "a bracketed root for the level"),
        exactly("runs in which all samples have weight though kappa is at most max Psi - mean Psi, "
                "or not though it is above",
                sum(row["all"] != row["predicted"] for row in rows), 0, "level of a projection"),
        at_least("largest |S| - p among faces", max(row["support"] - row["p"] for row in rows
                 if not row["all"]), 2, "a penalised field is not in the range of J"),
        at_most("largest |S| - p for kappa a millionth of the spread of Psi",
                max(row["support"] - row["p"] for row in weak), 0, "the limit without penalty"),
    ]  # fmt: skip
