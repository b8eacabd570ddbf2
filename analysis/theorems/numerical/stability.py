"""T7: spectra of the flow at its rest points, against differences of the field and against runs."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm

from ....dynamics import integrate
from ....dynamics.flows import FullJoint
from ...rest_points.solved import solved_theta
from ...stability import simplex_tangent, transversal_rates
from ..certificate import Check, Evidence, at_most, certifies, exactly
from .linearised import DIFFERENCE_ERROR, flow_jacobian, matched_distance
from .linearised_points import (
    ALPHA,
    BETA,
    RestPoint,
    degenerate_points,
    oracle_jacobian,
    plain_gaps,
    rest_points,
)

__all__ = ["spectra"]

ZERO = 1e-7
"""Eigenvalue, relative to the norm of the Jacobian, that counts as zero (measured ones: 1e-11)."""


@certifies(
    "T7",
    "Spectra at rest points",
    r"At a rest point $(\theta, w)$ of the warm-started flow with support $S$, the spectrum on "
    r"$T(\mathbb R^p \times \Delta)$ is that of the face $S$ together with the transversal "
    r"eigenvalues $\beta(c - \Psi_i)$, $i \notin S$, $c = \langle w, \Psi\rangle$. At a solved "
    r"point $\Psi = 0$, and $0$ has the multiplicity $n - 1 - \mathrm{rank}\,C\nabla^2 F$, "
    r"$C = J P(w) J^\top$: the dimension $n - \mathrm{rank}[\Gamma, 1]$ of the polytope of solved "
    r"weights, where $\nabla^2 F$ is regular and all samples are present.",
    (
        "squared losses",
        "the inner Hessian $H$ is positive definite on the span of the data",
    ),
)
def spectra(quick: bool) -> Evidence:
    """Measure Jacobians at solved, trapped and frozen rest points."""
    count = 2 if quick else 12
    points = rest_points(count)
    checks = [
        jacobian_check(points),
        *face_checks(points),
        count_check(4 if quick else 20),
        *flow_checks([point for point in points if point.kind == "solved"]),
        invasion_check([point for point in points if point.kind == "trapped"]),
        frozen_check([point for point in points if point.kind == "frozen"]),
    ]
    shown = {point.kind: point for point in points}
    data = {
        kind: {
            "analytic": np.linalg.eigvals(point.analytic()),
            "measured": np.linalg.eigvals(point.measured()),
            "transversal": transversal_rates(point.problem, point.theta, point.w, BETA),
            "n": point.problem.num_samples,
            "p": point.problem.num_params,
        }
        for kind, point in shown.items()
    }
    return Evidence(checks, {"alpha": ALPHA, "beta": BETA, "points": data})


# ---------------------------------------------------------------------- checks
def jacobian_check(points: list[RestPoint]) -> Check:
    """Compare whole matrices."""
    worst = max(
        float(np.abs(A - point.measured()).max() / np.linalg.norm(A, 2))
        for point in points
        for A in [point.analytic()]
    )
    return at_most(
        f"analytic against measured Jacobian at {len(points)} rest points (relative)",
        worst, DIFFERENCE_ERROR, "round-off and truncation of differences of order 6",
    )  # fmt: skip


def face_checks(points: list[RestPoint]) -> list[Check]:
    """Compare the measured spectrum with that of the face and the rates of absent samples."""
    distances, residuals = [], []
    for point in points:
        J, present = point.measured(), np.flatnonzero(point.w)
        face = point.problem.batch(train=present)
        on_face = oracle_jacobian(face, point.theta, point.w[present], point.alpha)
        absent = BETA * plain_gaps(point)[point.w == 0]
        predicted = np.concatenate([np.linalg.eigvals(on_face), absent])
        distances.append(matched_distance(np.linalg.eigvals(J), predicted) / np.linalg.norm(J, 2))
        rates = transversal_rates(point.problem, point.theta, point.w, BETA)
        residuals.append(np.abs(rates - absent).max(initial=0.0) / np.linalg.norm(J, 2))
    return [
        at_most(
            "measured spectrum against face plus beta (c - Psi_i) (relative to the Jacobian)",
            max(distances), 1e-7,
            "difference error 1e-9 times condition numbers of eigenvectors up to 100",
        ),
        at_most(
            "transversal_rates against plain dense algebra (relative)", max(residuals), 1e-11,
            "round-off of a solve with the inner Hessian",
        ),
    ]  # fmt: skip


def count_check(count: int) -> Check:
    """Count zero eigenvalues where samples repeat, data lack rank, or an intercept is there."""
    wrong = 0
    for seed in range(count):
        for problem, w in degenerate_points(seed):
            theta = solved_theta(problem)
            mu = np.abs(np.linalg.eigvals(oracle_jacobian(problem, theta, w, ALPHA)))
            gamma = (problem.X @ theta - problem.y)[:, None] * problem.X
            dimension = w.size - np.linalg.matrix_rank(np.column_stack([gamma, np.ones(w.size)]))
            wrong += int((mu < ZERO * mu.max()).sum() != dimension)
    return exactly(
        f"wrong counts of zero eigenvalues in {5 * count} problems (generic, repeated samples, "
        "intercept, ridge 0, data of rank p - 1)",
        wrong, 0, "the dimension of the polytope, from a singular value decomposition",
    )  # fmt: skip


def flow_checks(points: list[RestPoint]) -> list[Check]:
    """Compare with the flow in log-weights: its field, its own Jacobian, and short runs."""
    by_flow, by_jacobian, by_hvp, by_run = [0.0], [0.0], [0.0], [0.0]
    for point in points:
        q, theta, w = point.problem, point.theta, point.w
        J = flow_jacobian(q, theta, w, ALPHA, BETA)
        size, p = np.linalg.norm(J, 2), theta.size
        spectrum = np.append(np.linalg.eigvals(point.analytic()), 0.0)
        by_flow.append(float(matched_distance(np.linalg.eigvals(J), spectrum) / size))
        flow = FullJoint(q, ALPHA, BETA, theta, np.log(w))
        by_jacobian.append(float(np.abs(flow.jacobian(flow.initial) - J).max() / size))
        columns = q.hvp(theta, w, np.eye(p))
        by_hvp.append(float(np.abs(ALPHA * columns + J[:p, :p]).max() / size))
    for point in points[::2]:
        by_run.append(propagation_error(point))
    exact = "round-off and truncation of differences of order 6"
    return [
        at_most(
            "spectrum in the tangent space against differences of the flow in log-weights "
            "(one more zero: the constant; relative)", max(by_flow), 1e-7,
            "difference error 1e-9 times condition numbers of eigenvectors up to 100",
        ),
        at_most(
            "Jacobian of the flow against its differences", max(by_jacobian), DIFFERENCE_ERROR,
            exact,
        ),
        at_most("Hessian-vector products against that block", max(by_hvp), DIFFERENCE_ERROR, exact),
        at_most(
            "perturbed runs against the matrix exponential (relative)", max(by_run), 1e-5,
            "integrator at rtol 1e-12 over a perturbation of 1e-4, whose cubic terms are 1e-8",
        ),
    ]  # fmt: skip


def propagation_error(point: RestPoint, size: float = 1e-4, time: float = 1.0) -> float:
    """Return how far half the difference of two runs is from exp(J t) times the perturbation."""
    q, p, n = point.problem, point.theta.size, point.w.size
    E, rng = simplex_tangent(n), np.random.default_rng(n)
    start = np.concatenate([rng.standard_normal(p), np.zeros(n)])
    start[p:] = point.w * rng.uniform(-1.0, 1.0, n)
    start[p:] -= point.w * start[p:].sum()
    ends = []
    for sign in (1.0, -1.0):
        theta0, w0 = point.theta + sign * size * start[:p], point.w + sign * size * start[p:]
        run = integrate(
            q, alpha=ALPHA, beta=BETA, theta0=theta0, w0=w0, t_span=(0.0, time), t_eval=[time],
            rtol=1e-12, atol=1e-14,
        )  # fmt: skip
        ends.append(np.concatenate([run.theta[-1], E.T @ run.w[-1]]))
    moved = (ends[0] - ends[1]) / (2.0 * size)
    predicted = expm(time * point.analytic()) @ np.concatenate([start[:p], E.T @ start[p:]])
    return float(np.linalg.norm(moved - predicted) / np.linalg.norm(predicted))


def invasion_check(points: list[RestPoint]) -> Check:
    """Give absent samples a trace of weight at trapped points and let the flow run."""
    worst, trace = 0.0, 1e-13
    for point in points:
        predicted = BETA * plain_gaps(point)[point.w == 0]
        time = 1.0 / float(np.abs(predicted).max())
        w0 = np.maximum(point.w, trace)
        run = integrate(
            point.problem, alpha=ALPHA, beta=BETA, theta0=point.theta, w0=w0 / w0.sum(),
            t_span=(0.0, time), t_eval=[0.0, time], rtol=1e-10, coordinates="full",
        )  # fmt: skip
        rates = (run.log_w[-1] - run.log_w[0])[point.w == 0] / time
        worst = max(worst, float(np.abs(rates - predicted).max() * time))
    return at_most(
        f"growth of traces of absent samples at {len(points)} trapped points, in runs, against "
        "beta (c - Psi_i) (relative)",
        worst, 1e-7, "traces of 1e-13 that grow by e at most, and tolerances of 1e-10",
    )  # fmt: skip


def frozen_check(points: list[RestPoint]) -> Check:
    """At frozen theta without ridge all rates within the face are the same."""
    worst = 0.0
    for point in points:
        present, q = np.flatnonzero(point.w), point.problem
        J = oracle_jacobian(q.batch(train=present), point.theta, point.w[present], 0.0)
        r = q.X @ point.theta - q.y
        slope = q.X_val.T @ (q.X_val @ point.theta - q.y_val) / q.y_val.size
        s = (point.w * r) @ (q.X @ np.linalg.solve((q.X.T * point.w) @ q.X, slope))
        worst = max(worst, float(np.abs(J / (BETA * s) + np.eye(len(J))).max(initial=0.0)))
    return at_most(
        "Jacobian within the face at frozen theta and ridge 0 against -beta s, s = -c (relative)",
        worst, 1e-7, "difference error 1e-9 over the smallest weight on the face, 0.01",
    )  # fmt: skip
