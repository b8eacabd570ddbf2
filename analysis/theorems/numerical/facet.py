"""T5b: which samples survive at frozen theta, by linear programs, and how fast they settle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull

from ....dynamics import LeastSquares, methods, run_method
from ....dynamics.types import Array
from ...rest_points import (
    FrozenRestPoint,
    frozen_portrait,
    frozen_rest_point,
    frozen_rest_points,
)
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from ..instances import ridge_problem
from .ridge_programs import Instance, all_obtuse, linear_program, two_limits

__all__ = ["facet"]

THRESHOLD = 1e-6
BAND = 0.02
"""How far, relative, to both sides of a stability limit steps are tried."""


def instances(quick: bool) -> list[Instance]:
    """Return problems with ridge 0 and small, on which grad F lies in the cone."""
    seeds, sizes = (2, (2, 3, 5)) if quick else (10, (2, 3, 5, 8))
    ridges = (0.0, 1e-2) if quick else (0.0, 1e-3, 1e-2, 1e-1)
    found = []
    for p in sizes:
        for ridge in ridges:
            candidates = _candidates(p, 12 * p if quick else 20 * p, ridge)
            found += [next(candidates) for _ in range(seeds)]
    return found


def _candidates(p: int, n: int, ridge: float) -> Iterator[Instance]:
    for seed in range(1000):
        rng = np.random.default_rng([seed, p])
        features = "heavy" if seed % 2 else "gaussian"
        problem = ridge_problem(seed, n, p, ridge, features=features)
        instance = Instance(problem, rng.standard_normal(p))
        if linear_program(instance.gamma, instance.grad_val) is not None:
            yield instance


@certifies(
    "T5b",
    "Which samples survive: a linear program",
    r"Ridge losses, frozen $\theta$, $\nabla F \ne 0$. A rest point with $s = -c > 0$ that no "
    r"absent sample can invade is $\nu = v/s$ with $\langle\nabla l_i, \nu\rangle \le 1$, "
    r"equality on $S$, "
    r"$\nabla F = \sum_i \lambda_i\nabla l_i + \lambda s\,\nu$, $\lambda_i \ge 0$, "
    r"$s = \sum_i \lambda_i r_i^2$, $w_i = \lambda_i r_i^2 / s$. For $\lambda = 0$ it solves "
    r"$\max \langle\nabla F, \nu\rangle$ subject to $\Gamma\nu \le \mathbf 1$, is finite iff "
    r"$\nabla F \in \mathrm{cone}\{\nabla l_i\}$, and is then the only rest point that can "
    r"attract; within its face all rates are $\beta s$ and the mirror step is stable iff "
    r"$\eta s < 2$. For $\lambda > 0$ it exists iff "
    r"$\max_i\langle\nabla l_i, \nabla F\rangle > 0$, and there may be several; rates within the "
    r"face are the eigenvalues of $-\beta P\,\partial_w\Psi$.",
    (
        "quadratic per-sample losses",
        "distinct gradients, and a nondegenerate vertex ($\\nabla F$ inside the cone of the facet)",
        "for no rest point at all to attract where $\\lambda = 0$ and $\\nabla F$ is outside the "
        "cone: no residual is zero, and $\\mathrm{rank}\\,X \\ge 2$",
        "for one limit at $\\lambda > 0$: $1 + \\lambda\\,(r_S^2)^\\top "
        "(\\Gamma_S\\Gamma_S^\\top)^{-1}\\mathbf 1 > 0$ on every active set of the path",
    ),
)
def facet(quick: bool) -> Evidence:
    """Programs against the flow, the uniqueness of the limit, and the step within the face."""
    studied = instances(quick)
    rows = [_compare(instance, starts=2 if quick else 3) for instance in studied]
    faces = [_steps(instance) for instance in studied]
    checks = [*_prediction_checks(rows), *_step_checks(faces), *_boundary_checks()]
    return Evidence(checks, {"instances": rows, "polytope": _polytope(), "portrait": _portrait()})


def _compare(instance: Instance, starts: int) -> dict[str, Any]:
    """Return the limits of one problem from several starts against the program and the tool."""
    n = instance.problem.num_samples
    rng = np.random.default_rng(n)
    w0 = [np.full(n, 1.0 / n), *(_spread_start(rng, n) for _ in range(starts - 1))]
    limits = np.array([instance.limit(start) for start in w0])
    program = instance.program()
    assert program is not None, "instances are chosen with a finite program"
    tool = frozen_rest_point(instance.problem, instance.theta)
    ascent = np.array([instance.ascent(w) for w in limits])
    s = (limits * ascent).sum(axis=1)
    support = limits > THRESHOLD * limits.max(axis=1, keepdims=True)
    tight = np.where(support, np.abs(ascent / s[:, None] - 1.0), 0.0)
    return {
        "p": instance.problem.num_params, "n": n, "ridge": instance.problem.ridge,
        "support": int((program > 0).sum()),
        "same_support": bool((support == (program > 0)).all()),
        "distance": float(np.abs(limits - program).sum(axis=1).max()),
        "tool": float(np.abs(tool.w - program).sum()),
        "spread": float(np.abs(limits - limits[0]).sum(axis=1).max()),
        "excess": float((ascent / s[:, None]).max() - 1.0),
        "slack": float(tight.max()),
        "smallest_s": float(s.min() / np.abs(ascent).max()),
    }  # fmt: skip


def _spread_start(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return weights over three orders of magnitude."""
    w = np.exp(1.5 * rng.standard_normal(n))
    return np.asarray(w / w.sum())


def _prediction_checks(rows: list[dict[str, Any]]) -> list[Check]:
    def largest(key: str, ridge: bool) -> float:
        # NaN, of a run that did not settle, must win.
        return float(np.max([row[key] for row in rows if (row["ridge"] > 0) == ridge]))

    flow = "rest residual 1e-11 over the smallest gaps of the instances"
    return [
        at_most("ridge 0: flow against the linear program, l1 of w", largest("distance", False),
                1e-6, flow),
        at_most("ridge > 0: flow against the quadratic program, l1 of w", largest("distance", True),
                1e-6, flow),
        exactly("problems whose support is not the predicted one (relative threshold 1e-6)",
                sum(not row["same_support"] for row in rows), 0, "the active set of the program"),
        at_most("largest <grad l_i, nu> - 1 at the limits", np.max([row["excess"] for row in rows]),
                1e-8, "feasible for the program, to the rest residual over s"),
        at_most("largest |<grad l_i, nu> - 1| on the support",
                np.max([row["slack"] for row in rows]), 1e-4,
                "a weight of 1e-6 may still miss rest by 1e-11 / 1e-6 over s"),
        at_most("l1 between the limits of one problem from several starts",
                np.max([row["spread"] for row in rows]), 1e-6, "one limit, " + flow),
        at_most("`frozen_rest_point` against the programs, l1 of w",
                np.max([row["tool"] for row in rows]), 1e-7, "tolerance 1e-7 of the simplex code"),
        at_least("smallest s over the largest |Psi| at the limits",
                 np.min([row["smallest_s"] for row in rows]), 1e-6,
                 "grad F in the cone: <grad l_i, v> <= s <= 0 for all i would contradict v'Hv > 0"),
    ]  # fmt: skip


def _steps(instance: Instance) -> dict[str, Any]:
    """Return rates and stability of mirror steps within the face of the predicted point."""
    program = instance.program()
    assert program is not None, "instances are chosen with a finite program"
    chosen = np.flatnonzero(program)
    face = instance.problem.batch(train=chosen)
    w, theta = program[chosen], instance.theta
    point = frozen_rest_point(instance.problem, theta)
    s = float(program @ instance.ascent(program))

    def flow(z: np.ndarray) -> np.ndarray:
        a = -face.hypergradient(theta, _softmax(z))
        return a[:-1] - a[-1]

    rates = np.linalg.eigvals(_jacobian(flow, np.log(w[:-1] / w[-1])))
    limit = float((-2.0 * rates.real / np.abs(rates) ** 2).min(initial=np.inf))
    result = {
        "ridge": instance.problem.ridge, "s": s, "rates": rates,
        "formula": float(np.abs(np.sort_complex(rates) - np.sort_complex(point.face_eigenvalues))
                         .max(initial=0.0) / s),
        "uniform": float(np.abs(rates + s).max(initial=0.0) / s),
        "limit": limit * s,
    }  # fmt: skip
    if chosen.size > 1:
        result |= {"radius": [np.inf, 0.0], "runs": [np.inf, 0.0]}
        if limit > 0.0:  # else no step is stable
            small, large = (1.0 - BAND) * limit, (1.0 + BAND) * limit
            result["radius"] = [_radius(face, theta, w, eta) for eta in (small, large)]
            result["runs"] = [_run(face, theta, w, eta) for eta in (0.9 * limit, 1.1 * limit)]
    return result


def _softmax(z: Array) -> np.ndarray:
    """Return weights from logits relative to the last sample."""
    w = np.exp(np.append(z, 0.0))
    return np.asarray(w / w.sum())


def _jacobian(function: Any, z: Array, step: float = 1e-5) -> np.ndarray:
    """Return the Jacobian by central differences."""
    columns = [(function(z + e) - function(z - e)) / (2.0 * step) for e in step * np.eye(len(z))]
    return np.array(columns).reshape(len(z), len(z)).T


def _radius(face: LeastSquares, theta: Array, w: Array, eta: float) -> float:
    """Return the spectral radius of one mirror step of the package, by central differences."""

    def one_step(z: np.ndarray) -> np.ndarray:
        run = run_method(
            face, methods.Joint(rho=0.0, eta=eta), num_steps=1, theta0=theta, w0=_softmax(z)
        )
        log_w = np.asarray(run.log_w[-1])
        return log_w[:-1] - log_w[-1]

    return float(np.abs(np.linalg.eigvals(_jacobian(one_step, np.log(w[:-1] / w[-1])))).max())


def _run(face: LeastSquares, theta: Array, w: Array, eta: float) -> float:
    """Return the l1 distance to w after mirror steps that start 1e-4 away from it."""
    z = np.log(w[:-1] / w[-1]) + 1e-4 * (-1.0) ** np.arange(len(w) - 1)
    run = run_method(
        face, methods.Joint(rho=0.0, eta=eta), num_steps=300, theta0=theta, w0=_softmax(z)
    )
    return float(np.abs(np.asarray(run.w[-1]) - w).sum())


def _step_checks(faces: list[dict[str, Any]]) -> list[Check]:
    plain = [face for face in faces if face["ridge"] == 0.0]
    moving = [face for face in faces if "radius" in face]
    difference = "central differences with step 1e-5"
    return [
        at_most("ridge 0: relative distance of the rates within the face from beta s",
                max(face["uniform"] for face in plain), 1e-6, difference),
        at_most("relative distance of these rates from those of `frozen_rest_point`",
                max(face["formula"] for face in faces), 1e-6, difference),
        at_most("ridge 0: |eta s - 2| at the stability limit of the mirror step",
                max(abs(face["limit"] - 2.0) for face in plain), 1e-5, difference),
        at_most("spectral radius of the mirror step at 0.98 of the limit",
                max(face["radius"][0] for face in moving), 1.0 - 1e-4, "stable below"),
        at_least("smallest spectral radius of the mirror step at 1.02 of the limit",
                 min(face["radius"][1] for face in moving), 1.0 + BAND / 2, "unstable above"),
        at_most("distance after 300 steps at 0.9 of the limit, from 1e-4",
                max(face["runs"][0] for face in moving), 1e-6, "at most 0.8^300 at ridge 0"),
        at_least("smallest distance after 300 steps at 1.1 of the limit, from 1e-4",
                 min(face["runs"][1] for face in moving), 1e-3, "1.2^300 until it saturates"),
    ]  # fmt: skip


def _boundary_checks() -> list[Check]:
    """Return where a limit is not unique, and where none has s > 0."""
    several, away = two_limits(), all_obtuse()
    ends = [several.limit(np.array(w0)) for w0 in ([0.9, 0.05, 0.05], [0.05, 0.9, 0.05])]
    points = frozen_rest_points(several.problem, several.theta)
    exact = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    last = away.limit(np.array([0.5, 0.5]))
    return [
        at_most("ridge 1/2, grad F in the cone: limits e_1 and e_2 from two starts, l1 of w",
                np.max(np.abs(np.array(ends) - exact[[0, 2]]).sum(axis=1)), 1e-6,
                "s = 24/5 and 14/11 by hand: the limit is not unique for ridge > 0"),
        at_most("`frozen_rest_points` there against (1, 0, 0), (1/2, 1/2, 0), (0, 1, 0)",
                _distance(points, exact), 1e-12, "roots by hand; the middle one is a saddle"),
        at_most("largest s at the limit where all gradients are obtuse to grad F",
                float(last @ away.ascent(last)), -1e-3, "no rest point has s > 0"),
        exactly("`frozen_rest_point` says so",
                frozen_rest_point(away.problem, away.theta).status == "repelled", 1),
    ]  # fmt: skip


def _distance(points: list[FrozenRestPoint], exact: Array) -> float:
    if len(points) != len(exact):
        return float("inf")
    return float(np.abs(np.array([point.w for point in points]) - exact).max())


def _polytope() -> dict[str, Any]:
    """Return what the picture of the polytope shows, for p = 2 and ridge 0."""
    instance = next(_candidates(2, 24, 0.0))
    point = frozen_rest_point(instance.problem, instance.theta)
    return {
        "gradients": instance.gamma, "grad_val": instance.grad_val, "support": point.support,
        "weights": point.w[point.support], "nu": point.nu,
        "hull": ConvexHull(instance.gamma).vertices,
    }  # fmt: skip


def _portrait() -> dict[str, Any]:
    """Return field, orbits and rest points of the three samples with two attracting limits."""
    several = two_limits()
    return vars(frozen_portrait(several.problem, several.theta))
