"""M2: which methods put fast weights on one sample, on which one, and when they cease to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....dynamics import methods, run_method
from ..certificate import Check, Evidence, at_least, certifies, exactly
from .fast_weights import fast_limit, held_field, held_state
from .method_cases import CASES, Case, draws, uniform
from .ridge_programs import Instance

__all__ = ["one_sample"]

Predicted = Callable[[Instance, Any], np.ndarray]


@certifies(
    "M2",
    "Fields of one direction keep one sample",
    r"Where $g(w) = \kappa(w)\,g_0 + \mathrm{const}(w)\mathbf 1$ with $\kappa > 0$, "
    r"$\log(w_i/w_j)$ is monotone in time, and all weight goes to $\arg\min_i g_{0,i}$: "
    r"$\arg\max_i\langle\nabla l_i, \nabla F\rangle$ for conjugate gradients with one step from 0 "
    r"and for a short look ahead, $\arg\max_i\langle\nabla l_i, v\rangle$ for SOBA with v held and "
    r"BOREP, $\arg\min_i\, l_i(\theta) - l_i(u)$ for F2SA, ScaleBiO, LVHBA with u held. OneStep "
    r"does "
    r"so exactly for $\rho \le \rho_c = \min_j \langle\nabla F, \nabla l_{i}-\nabla l_j\rangle / "
    r"\langle\nabla^2F(\nabla l_{i}+\lambda\theta), \nabla l_{i}-\nabla l_j\rangle_+$. An "
    r"adjoint that moves on brings others back where p > 1.",
    ("ridge regression (the threshold: quadratic F)", "the least entry of $g_0$ is unique"),
)
def one_sample(quick: bool) -> Evidence:
    """Predict the sample from plain formulas, run the methods, and cross the threshold of rho."""
    pool = list(draws(2 if quick else 40, (1, 2, 4), 12, first=20))
    cases = [case for case in CASES if case.family == "one"]
    rows = [_winner(case, at) for case in cases for at in pool]
    crossed = [row for at in pool if (row := _threshold(at)) is not None]
    vertices = draws(10 if quick else 100, (1, 2, 4), 12, first=20)
    revived = [(at.problem.num_params, _invaded(at)) for at in vertices]
    stepped = [_by_the_algorithm(at) for at in pool[:3]]
    checks = [*_winner_checks(rows, stepped), *_threshold_checks(crossed), *_revival(revived)]
    return Evidence(checks, {"winners": rows, "thresholds": crossed, "revived": revived})


def _winner(case: Case, at: Instance) -> dict[str, Any]:
    w0 = uniform(at.problem)
    field, expected = case.fields(at, w0)
    limit = fast_limit(field, w0)
    return {
        "label": case.label, "p": at.problem.num_params, "support": limit.support.size,
        "kind": limit.kind, "right": bool(limit.support[0] == np.argmin(expected(w0))),
    }  # fmt: skip


def _by_the_algorithm(at: Instance) -> bool:
    """Return whether mirror steps of the method itself put all weight on the predicted sample."""
    run = run_method(
        at.problem, methods.ConjugateGradient(rho=0.0, num_cg=1, eta=20.0), num_steps=3000,
        theta0=at.theta, num_saved=2,
    )  # fmt: skip
    best = int(np.argmax(at.gamma @ at.grad_val))
    return bool(np.asarray(run.w[-1])[best] > 1 - 1e-6)


def _winner_checks(rows: list[dict[str, Any]], stepped: list[bool]) -> list[Check]:
    return [
        exactly("runs that do not end on one sample", sum(row["support"] != 1 for row in rows), 0,
                "one direction: the order of the samples never changes"),
        exactly("runs that end on another sample than predicted beforehand",
                sum(not row["right"] for row in rows), 0, "the least entry of the plain field"),
        exactly("runs of the algorithm itself (ConjugateGradient, K = 1) that do not",
                sum(not ok for ok in stepped), 0, "mirror steps of any size keep the order too"),
    ]  # fmt: skip


def _threshold(at: Instance) -> dict[str, Any] | None:
    """Return the limits of OneStep on both sides of the largest rho that keeps one sample."""
    problem, f, gamma = at.problem, at.grad_val, at.gamma
    best = int(np.argmax(gamma @ f))
    curvature = problem.X_val.T @ problem.X_val / len(problem.y_val)
    others = np.delete(gamma[best] - gamma, best, axis=0)
    slope = others @ curvature @ (gamma[best] + problem.ridge * at.theta)
    if slope.max() <= 0:
        return None
    rho = float(((others @ f)[slope > 0] / slope[slope > 0]).min())
    w0, found = uniform(problem), []
    for factor in (0.9, 1.1):
        method = methods.OneStep(order="simultaneous", rho=factor * rho)
        field = held_field(problem, method, held_state(problem, method, at.theta, w0))
        found.append(fast_limit(field, w0))
    return {
        "rho": rho, "p": problem.num_params, "below": found[0].support.size,
        "same": bool(found[0].support[0] == best), "above": found[1].support.size,
        "kind": found[1].kind,
    }  # fmt: skip


def _threshold_checks(crossed: list[dict[str, Any]]) -> list[Check]:
    return [
        exactly("runs of OneStep at 0.9 rho_c that do not keep the predicted sample alone",
                sum(row["below"] != 1 or not row["same"] for row in crossed), 0,
                "the vertex obeys the optimality conditions of a convex program"),
        exactly("runs at 1.1 rho_c that keep one sample", sum(row["above"] == 1 for row in crossed),
                0, "it no longer does: a face, or solved"),
        at_least("draws in which the threshold is finite", len(crossed), 3, "not an empty test"),
    ]  # fmt: skip


def _invaded(at: Instance) -> bool:
    """Return whether a sample grows at the vertex of SOBA with v held, once v moves to rest."""
    best = int(np.argmax(at.ascent(uniform(at.problem))))
    vertex = np.eye(at.problem.num_samples)[best]
    growth = at.ascent(vertex)
    return bool(np.argmax(growth) != best)


def _revival(invaded: list[tuple[int, bool]]) -> list[Check]:
    return [
        at_least("share of the vertices of SOBA with v held that are invaded once v moves, p > 1",
                 np.mean([grew for p, grew in invaded if p > 1]), 0.8,
                 "one sample is a stage: the rest points of (v, w) together are those of Joint"),
        exactly("of these with p = 1", sum(grew for p, grew in invaded if p == 1), 0,
                "v keeps its sign: the order of the samples does not change"),
    ]  # fmt: skip
