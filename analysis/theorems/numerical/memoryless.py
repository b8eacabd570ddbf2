"""M6: weights that no equation counts: a look ahead at w = 0, and a function of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import LeastSquares, methods, run_method
from ....dynamics.geometries import Sigmoid, SoftmaxLogits
from ....dynamics.types import Array
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from ..instances import ridge_problem
from .method_cases import draws, uniform
from .ridge_programs import Instance

__all__ = ["look_ahead_counts", "memoryless"]

STEPS = 400
"""Steps of the learned function of the losses."""
LATE = 50
"""Saved states at the end of a run of LearningToReweight that count as late."""


@certifies(
    "M6",
    "Weights that no equation counts",
    r"LearningToReweight keeps exactly the samples with $\langle\nabla l_i, "
    r"\nabla F(\theta - \rho\lambda\theta)\rangle > 0$: about half of them where $\theta$ is near "
    r"$\theta^\star$ at uniform weights ($\sum_i\nabla l_i = -n\lambda\theta$), whatever p. At "
    r"ridge 0 F falls and $\max_i\langle\nabla l_i, \nabla F\rangle$ goes to 0 or below, but the "
    r"number kept goes to no limit: where $\nabla F \to 0$ its sign decides, and for p = 1 a set "
    r"and its complement take turns. The weights of MetaWeightNet are one function of the "
    r"loss: samples of equal loss have equal weights at every step, so that weights with p "
    r"nonzeros cannot occur where losses are tied in larger groups.",
    ("ridge regression", "n much larger than $p(p+3)/2$"),
)
def memoryless(quick: bool) -> Evidence:
    """Count by the sign of plain inner products; run the network on tied losses."""
    pool = list(draws(20 if quick else 200, (1, 2, 3), 40, far=0.0))
    counts = look_ahead_counts(pool)
    ends = [_at_the_end(seed, p) for seed in range(2 if quick else 10) for p in (1, 2)]
    tied = [_tied(seed) for seed in range(2 if quick else 10)]
    checks = [*_count_checks(pool, counts), *_end_checks(ends), *_tied_checks(tied)]
    return Evidence(checks, {"counts": counts, "ends": ends, "tied": tied})


def look_ahead_counts(pool: list[Instance]) -> list[dict[str, Any]]:
    """Return how many samples the first step of LearningToReweight keeps, at each instance."""
    rows = []
    for at in pool:
        method = methods.LearningToReweight()
        w = first_weights(at.problem, at.theta, method)
        rho = 1.0 / float(at.problem.constants()[1])
        ahead = at.theta * (1.0 - rho * at.problem.ridge)
        slope = at.problem.X_val.T @ (at.problem.X_val @ ahead - at.problem.y_val)
        rows.append({
            "label": "LearningToReweight", "p": at.problem.num_params, "n": w.size,
            "support": int((w > 0).sum()),
            "expected": int((at.gamma @ slope > 0).sum()),
        })  # fmt: skip
    return rows


def first_weights(problem: LeastSquares, theta: Array, method: Any) -> np.ndarray:
    """Return the weights after one step."""
    run = run_method(problem, method, num_steps=1, theta0=theta, save_steps=[1])
    return np.asarray(run.w[-1])


def _count_checks(pool: list[Instance], counts: list[dict[str, Any]]) -> list[Check]:
    shares = np.array([row["support"] / row["n"] for row in counts])
    error = float(shares.std(ddof=1) / np.sqrt(len(shares)))
    quadratic = [row["p"] * (row["p"] + 3) // 2 for row in counts]
    return [
        exactly("steps of LearningToReweight whose support is not that of the signs",
                sum(row["support"] != row["expected"] for row in counts), 0, "clipping at zero"),
        at_most("|mean share of the samples kept - 1/2| at theta*(uniform)",
                abs(shares.mean() - 0.5), 0.05 + 4.0 * error,
                "gradients sum to about zero there; skewness moves the median off the mean"),
        at_least("least number kept less p(p+3)/2",
                 min(row["support"] - bound for row, bound in zip(counts, quadratic, strict=True)),
                 1, "no count of equations bounds it"),
    ]  # fmt: skip


def _at_the_end(seed: int, p: int) -> dict[str, Any]:
    """Return who is kept at the start and late, where theta is nearly at rest."""
    problem = ridge_problem(seed, 40, p, 0.0)
    theta = np.asarray(problem.theta_star(uniform(problem)))
    run = run_method(
        problem, methods.LearningToReweight(), num_steps=1000, theta0=theta, num_saved=201
    )
    counts = (np.asarray(run.w) > 0).sum(axis=1)[1:]
    points = [Instance(problem, np.asarray(x)) for x in (run.theta[0], run.theta[-1])]
    wanted = [float((at.gamma @ at.grad_val).max()) for at in points]
    values = [float(problem.val_loss(at.theta)) for at in points]
    late = counts[-LATE:]
    return {
        "p": p, "counts": counts, "first": int(counts[0]), "median": float(np.median(late)),
        "turns": int(late.min() + late.max()) - problem.num_samples,
        "wanted": max(wanted[1], 0.0) / wanted[0], "value": values[1] / values[0],
    }  # fmt: skip


def _end_checks(ends: list[dict[str, Any]]) -> list[Check]:
    return [
        at_most("largest <grad l_i, grad F> after 1000 steps over that at the start (ridge 0)",
                max(end["wanted"] for end in ends), 0.1, "at rest nobody's is positive"),
        at_most("F then over F at the start, worst run", max(end["value"] for end in ends), 1.0,
                "F falls along the limit of short steps"),
        exactly("largest plus least number kept late, less n, p = 1, worst run",
                max(abs(end["turns"]) for end in ends if end["p"] == 1), 0,
                "grad F changes its sign: a set and its complement"),
        at_least("largest median number kept late less p, p = 2",
                 max(end["median"] - end["p"] for end in ends if end["p"] == 2), 1,
                 "no bound there either"),
    ]  # fmt: skip


def _tied(seed: int) -> dict[str, Any]:
    """Return the weights of samples whose losses are tied in groups of four at held theta."""
    base = ridge_problem(seed, 6, 2, 1e-2)
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(2)
    residuals = np.repeat(base.X @ theta - base.y, 4) * np.tile([1.0, -1.0, 1.0, -1.0], 6)
    X = rng.standard_normal((24, 2))
    problem = LeastSquares(X, X @ theta - residuals, base.X_val, base.y_val, ridge=1e-2)
    field = np.asarray(problem.hypergradient(theta, uniform(problem))).reshape(6, 4)
    found: dict[str, Any] = {"field_spread": float(np.ptp(field, axis=1).min() / np.ptp(field))}
    for geometry in (Sigmoid(), SoftmaxLogits()):
        method = methods.MetaWeightNet(rho=0.0, num_warmup=0)
        run = run_method(problem, method, num_steps=STEPS, theta0=theta, geometry=geometry,
                         seed=seed, num_saved=41)  # fmt: skip
        w = np.asarray(run.w).reshape(len(run.w), 6, 4)
        spread = np.ptp(w, axis=2) / w.max(axis=2)
        kept = int((w[-1] > 1e-6 * w[-1].max()).sum())
        found[type(geometry).__name__] = {
            "spread": float(spread.max()), "support": kept,
            "moved": float(np.abs(w[-1] - w[0]).sum() / w[0].sum()),
        }  # fmt: skip
    return found


def _tied_checks(tied: list[dict[str, Any]]) -> list[Check]:
    kinds = ("Sigmoid", "SoftmaxLogits")
    return [
        at_most("relative spread of MetaWeightNet's weights within groups of equal loss, all steps",
                max(row[kind]["spread"] for row in tied for kind in kinds), 1e-9,
                "one function of the loss; losses are tied to round-off"),
        at_least("least number kept by it less p = 2",
                 min(row[kind]["support"] for row in tied for kind in kinds) - 2, 1,
                 "groups of four are kept or dropped together"),
        at_least("how far its weights moved, in l1, over their sum",
                 min(row[kind]["moved"] for row in tied for kind in kinds), 1e-2,
                 "the network does learn"),
        at_least("least spread of Psi within a group, over all of it",
                 min(row["field_spread"] for row in tied), 1e-3,
                 "Psi tells tied samples apart: a method that follows it would too"),
    ]  # fmt: skip
