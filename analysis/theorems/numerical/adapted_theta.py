"""M7: Exact and MAID never meet fast weights: theta follows w, and T6 counts their rest points."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import Problem, methods, run_method
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from ..instances import ridge_problem
from . import plain_fields as plain
from .fast_weights import Limit, fast_limit
from .method_cases import uniform
from .ridge_programs import Instance

__all__ = ["adapted_theta"]

ETAS = (1.0, 1e6)
"""Outer steps of Exact, first ones of MAID; the second is far beyond any time scale of theta."""
FAST = 10.0
"""Outer step of Joint."""


@certifies(
    "M7",
    "Exact and MAID cannot be in the regime of fast weights",
    r"Exact has $\theta = \theta^\star(w)$, MAID $|\theta - \theta^\star(w)| \le \epsilon$ at "
    r"every step, whatever eta: there is no held $\theta$ to count at. What counts is the flow of "
    r"h: from uniform weights, and from where MAID is after some steps, it ends solved, "
    r"$\nabla F(\theta) = 0$, with any number of samples, or trapped with $|S| \le p$ (T6). Joint "
    r"at a fast eta leaves $\theta^\star(w)$ far behind.",
    ("ridge regression, $\\lambda > 0$", "limits that attract"),
)
def adapted_theta(quick: bool) -> Evidence:
    """Run the methods on small problems, some of them trapped; follow the flow of h to its end."""
    seeds = range(1, 6) if quick else range(40)
    rows = [_observe(ridge_problem(seed, 8, 2, 1e-2), ETAS[seed % 2]) for seed in seeds]
    return Evidence(_checks(rows), {"runs": rows})


def _observe(problem: Any, eta: float) -> dict[str, Any]:
    """Return how far theta is from theta*(w) in three methods, and where the flow of h goes."""
    rho = 0.05 / float(problem.constants()[1])
    maid = _run(problem, methods.MAID(eta=eta))
    exact = _run(problem, methods.Exact(eta=eta))
    joint = _run(problem, methods.Joint(rho=rho, eta=FAST))
    w0 = uniform(problem)
    onward = np.maximum(np.asarray(maid.w[-1]), 1e-9)
    ends = [_end(problem, w) for w in (w0, onward / onward.sum())]
    return {
        "eta": eta, "p": problem.num_params,
        "lag": max(_lag(problem, run) for run in (maid, exact)), "joint_lag": _lag(problem, joint),
        "rises": float(np.diff([_outer(problem, x) for x in maid.w]).max()),
        "kinds": [end.kind for end in ends], "supports": [end.support.size for end in ends],
        "pulls": [_pull(problem, end.w) for end in ends],
        "slip": float(np.abs(ends[1].w - onward / onward.sum()).sum()),
    }  # fmt: skip


def _run(problem: Any, method: Any) -> Any:
    return run_method(problem, method, num_steps=100, num_saved=11)


def _end(problem: Problem, w0: np.ndarray) -> Limit:
    """Return the limit of the flow of h; its scale is that of uniform weights."""

    def field(w: np.ndarray) -> np.ndarray:
        return np.asarray(problem.outer_grad(w))

    return fast_limit(field, w0, scale=float(np.ptp(field(uniform(problem)))))


def _theta(problem: Any, w: np.ndarray) -> np.ndarray:
    return np.linalg.solve(plain.hessian(problem, w), problem.X.T @ (w * problem.y))


def _outer(problem: Any, w: np.ndarray) -> float:
    residuals = problem.X_val @ _theta(problem, w) - problem.y_val
    return float(0.5 * np.mean(residuals**2))


def _pull(problem: Any, w: np.ndarray) -> float:
    """Return |grad F| at theta*(w) over that at theta = 0."""
    at = Instance(problem, _theta(problem, w))
    return float(
        np.linalg.norm(at.grad_val) / np.linalg.norm(Instance(problem, 0 * at.theta).grad_val)
    )


def _lag(problem: Any, run: Any) -> float:
    """Return the largest |theta - theta*(w)| over |theta*(w)| + 1, from the second state on."""
    lags = []
    for theta, w in zip(run.theta[1:], run.w[1:], strict=True):
        best = _theta(problem, np.asarray(w))
        lags.append(np.linalg.norm(theta - best) / (np.linalg.norm(best) + 1.0))
    return float(max(lags))


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    kinds, supports, pulls = (
        np.array([row[key] for row in rows]) for key in ("kinds", "supports", "pulls")
    )
    excess = supports - np.array([[row["p"]] for row in rows])
    trapped, solved = kinds == "rest", kinds == "solved"
    return [
        at_most("largest relative |theta - theta*(w)| of Exact and MAID, eta = 1 and 1e6",
                max(row["lag"] for row in rows), 0.1, "MAID's tolerance on theta at the start"),
        at_least("the same for Joint at eta = 10 and a twentieth of the safe inner step, median",
                 np.median([row["joint_lag"] for row in rows]), 0.2, "the weights are fast there"),
        at_most("largest rise of h between saved steps of MAID", max(row["rises"] for row in rows),
                1e-12, "a step is accepted when h surely falls"),
        exactly("ends of the flow of h that are neither solved nor trapped",
                (~trapped & ~solved).sum(), 0, "the dichotomy"),
        at_most("largest |S| - p at trapped ends", excess[trapped].max(initial=-1), 0,
                "T6: nondegenerate minima of h"),
        at_least("largest |S| - p at solved ends", excess[solved].max(initial=-1), 1,
                 "no count holds there"),
        at_most("largest |grad F| at solved ends, over that at theta = 0",
                pulls[solved].max(initial=-np.inf), 1e-4, "nothing is left to gain"),
        at_least("least of it at trapped ends", pulls[trapped].min(initial=np.inf), 1e-3,
                 "the two kinds are apart"),
        at_least("ends of the rarer kind", min(trapped.sum(), solved.sum()), 1,
                 "both are tested"),
    ]  # fmt: skip
