"""M1: how many samples fast weights keep, method by method, at held theta."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import LeastSquares, methods
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from .fast_weights import fast_limit, held_field, held_state
from .memoryless import look_ahead_counts
from .method_cases import CASES, Case, draws, uniform
from .ridge_programs import Instance

__all__ = ["supports"]


@certifies(
    "M1",
    "How many samples fast weights keep, by method",
    r"At held $\theta$, with everything else at rest for the present weights, $w' = -P(w)g(w)$ "
    r"ends "
    r"where $g$ vanishes, or at a rest point whose support is bounded by the form of $g$: "
    r"$g = -J^\top q(w)$ with $q(w) \in \mathbb R^p$ (Joint, SOBA, conjugate gradients, Neumann "
    r"series, one look ahead, penalties) gives $|S| \le p$; the same with $q = \kappa(w)q_0$, "
    r"$\kappa > 0$, and constant $g$ give $|S| = 1$; $g = \Phi m(w)$ with the "
    r"features of quadratic losses (unrolled steps, value gaps with u fast) gives "
    r"$|S| \le p(p+3)/2$. For Exact, where nothing can be held, attracting rest points with "
    r"$\nabla F \ne 0$ have $|S| \le p$.",
    (
        "ridge regression, distinct rows in general position",
        "$\\nabla F(\\theta) \\ne 0$",
        "mirror weights",
        "inner steps that are stable at all weights, $\\rho L < 2$",
    ),
)
def supports(quick: bool) -> Evidence:
    """Run every method to rest from uniform weights, and certify who is left by plain formulas."""
    pool = list(draws(2, (1, 2, 3), 12) if quick else draws(8, (1, 2, 3, 4), 24))
    runs = [observe(case, at) for case in CASES for at in pool]
    data = {
        "runs": runs,
        "unbounded": look_ahead_counts(pool),
        "num_samples": pool[0].gamma.shape[0],
    }
    return Evidence([*_count_checks(runs), *_rest_checks(runs), *_edge_checks()], data)


def observe(case: Case, at: Instance) -> dict[str, Any]:
    """Return how one run ended, and what the plain formulas say of its end."""
    w0 = uniform(at.problem)
    field, expected = case.fields(at, w0)
    limit, scale = fast_limit(field, w0), float(np.ptp(expected(w0)))
    w = np.random.default_rng(3).dirichlet(np.ones(w0.size))
    slope = expected(limit.w)
    c = float(slope[limit.support].mean())
    absent = np.delete(slope, limit.support)
    return {
        "label": case.label, "family": case.family, "p": at.problem.num_params,
        "bound": case.bound(at.problem.num_params), "kind": limit.kind,
        "support": limit.support.size, "moved": limit.moved,
        "agreement": float(np.abs(field(w) - expected(w)).max() / np.abs(expected(w)).max()),
        "spread": float(np.abs(slope[limit.support] - c).max()) / scale,
        "excess": float((absent - c).min(initial=np.inf)) / scale,
        "size": float(np.abs(slope).max()) / scale,
    }  # fmt: skip


def _count_checks(runs: list[dict[str, Any]]) -> list[Check]:
    rest = [run for run in runs if run["kind"] == "rest"]

    def excess(family: str) -> int:
        return max(run["support"] - run["bound"] for run in rest if run["family"] == family)

    unrolled = [run for run in rest if run["label"].startswith("ReverseMode")]
    return [
        at_most("largest |S| - p at rest, fields -J'q(w)", excess("p"), 0,
                "p + 1 rows of [Gamma, 1] are independent"),
        at_most("largest |S| - 1 at rest, fields of one direction", excess("one"), 0,
                "the order of the samples never changes"),
        at_most("largest |S| - p(p+3)/2 at rest, fields in the quadratic features",
                excess("quadratic"), 0, "rows of [Phi, 1] are independent up to that number"),
        at_least("largest |S| - p at rest, unrolled steps",
                 max(run["support"] - run["p"] for run in unrolled), 1,
                 "J differs from step to step: the bound p does not hold for them"),
        at_least("share of the rest points of Joint, p >= 2, that keep more than one",
                 np.mean([run["support"] > 1 for run in rest
                          if run["label"] == "Joint" and run["p"] > 1]), 0.5,
                 "p is not one: the bound is not empty"),
        exactly("solved runs among fields of one direction",
                sum(run["kind"] == "solved" for run in runs if run["family"] == "one"), 0,
                "such a field vanishes nowhere"),
    ]  # fmt: skip


def _rest_checks(runs: list[dict[str, Any]]) -> list[Check]:
    rest = [run for run in runs if run["kind"] == "rest"]
    solved = [run for run in runs if run["kind"] == "solved"]
    return [
        exactly("runs that did not settle", len(runs) - len(rest) - len(solved), 0,
                "KKT residual, not time, decides"),
        at_most("field of the method's step against the plain one at random weights, relative",
                max(run["agreement"] for run in runs), 1e-10, "round-off, cond(H)"),
        at_most("spread of the plain field over the support at rest, in units of the start",
                max(run["spread"] for run in rest), 1e-7,
                "Newton's method with a Jacobian by differences"),
        at_least("least excess of the plain field at absent samples, in the same units",
                 min(run["excess"] for run in rest), 0.0, "nobody can come back"),
        at_most("l1 from the end of the flow to the certified point",
                max(run["moved"] for run in rest), 1e-3,
                "samples below 1e-6 of the largest, and the rest of the integration"),
        at_most("largest entry of the plain field at solved weights, in units of the start",
                max((run["size"] for run in solved), default=0.0), 2e-5,
                "such a limit is reached at an exponential rate"),
    ]  # fmt: skip


def _edge_checks() -> list[Check]:
    """Return what a broken assumption does: a repeated sample, and grad F = 0."""
    at = next(draws(1, (3,), 12, first=3))
    problem, w0 = at.problem, uniform(at.problem)
    method = methods.Joint(rho=0.0)
    alone = fast_limit(held_field(problem, method, held_state(problem, method, at.theta, w0)), w0)
    twice = problem.batch(train=np.append(np.arange(12), alone.support[0]))
    start = uniform(twice)
    both = fast_limit(held_field(twice, method, held_state(twice, method, at.theta, start)), start)
    flat = _solution(problem)
    pull = held_field(problem, method, held_state(problem, method, flat, w0))(w0)
    size = float(np.abs(at.ascent(w0)).max())
    return [
        exactly("nonzeros of Joint that a repeated support sample adds",
                both.support.size - alone.support.size, 1 if both.kind == "rest" else np.nan,
                "the rows are not distinct: both copies stay"),
        at_most("|w_a / w_b - 1| of the two copies",
                abs(both.w[alone.support[0]] / both.w[12] - 1.0), 1e-6, "their ratio is conserved"),
        at_most("field of Joint where grad F = 0, over that elsewhere",
                np.abs(pull).max() / size, 1e-12, "then every w is at rest, however dense"),
    ]  # fmt: skip


def _solution(problem: LeastSquares) -> np.ndarray:
    """Return argmin F."""
    return np.asarray(np.linalg.lstsq(problem.X_val, problem.y_val, rcond=None)[0])
