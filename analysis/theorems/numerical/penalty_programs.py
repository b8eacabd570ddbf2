r"""M4: fast weights of the penalty family solve a quadratic program that does not see F.

.. math:: \min_{w \in \Delta}\ \tfrac\mu2\,|J w + \lambda\theta - \nu/\mu|^2 = \tfrac\mu2 |M w|^2,
    \qquad M = J + (\lambda\theta - \nu/\mu)\mathbf 1^\top .

The mirror flow keeps ``log w - log w0`` in the range of :math:`[M^\top, 1]`; where a w with
:math:`M w = 0` exists that makes its limit the projection of w0 in relative entropy,
:math:`w \propto w_0\,e^{M^\top\xi}`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.special import logsumexp, softmax

from ....dynamics import LeastSquares, methods, run_method
from ....dynamics.types import Array
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from .fast_weights import Limit, fast_limit, held_field, held_state
from .method_cases import draws, uniform
from .ridge_programs import Instance

__all__ = ["least_point", "penalty_programs"]


@certifies(
    "M4",
    "The penalty family solves a quadratic program blind to F",
    r"At held $(\theta, \nu)$ fast weights of Penalty and AugmentedLagrangian descend on "
    r"$\frac\mu2|Jw+\lambda\theta-\nu/\mu|^2$ over the simplex. If some w makes it zero the limit "
    r"is "
    r"the one of least relative entropy to $w_0$, $w \propto w_0 e^{M^\top\xi}$, with all samples "
    r"where 0 lies inside $\mathrm{conv}\{M_i\}$; otherwise it is on the face that meets the point "
    r"of $\mathrm{conv}\{M_i\}$ nearest to 0, with at most p samples. With $\nu = 0$ nothing of F "
    r"enters. The same holds for the value gaps of F2SA, ScaleBiO and LVHBA when u is as fast as "
    r"w and "
    r"$\theta$ alone is held: they descend on the convex "
    r"$G(\theta,w)-\min_uG(u,w) = \frac12|\nabla_\theta G|^2_{H^{-1}}$, with its zeros on the same "
    r"polytope, but there faces of more than p samples occur.",
    ("ridge regression", "$\\lambda > 0$", "mirror weights", "columns of M in general position"),
)
def penalty_programs(quick: bool) -> Evidence:
    """Compare the limits with a nonnegative least-squares code and with the entropic dual."""
    near = list(draws(2 if quick else 20, (1, 2, 3), 12, far=0.3, first=40))
    far = list(draws(3 if quick else 20, (1, 2, 3), 12, far=3.0, first=60))
    rows = [_observe(at, name) for at in near + far for name in ("Penalty", "AugmentedLagrangian")]
    middle = draws(6 if quick else 25, (2, 3), 24, far=1.5)
    gaps = [_value_gap(at) for at in middle]
    blind = max(_other_target(at) for at in near[:3] + far[:3])
    stepped = [row for at in near[1 : 4 if quick else None] if (row := _stepped(at)) is not None]
    checks = [*_checks(rows), *_gap_checks(gaps, blind), *_step_checks(stepped)]
    return Evidence(checks, {"programs": rows, "gaps": gaps, "steps": stepped})


def least_point(columns: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return weights on the simplex with least ``|M w|``, and ``M w``; M is ``(p, n)``.

    Nonnegative least squares: ``min |M u|^2 + (1'u - 1)^2`` over ``u >= 0`` has ``w = u / 1'u``.
    """
    scale = float(np.abs(columns).max())
    u, _ = nnls(np.vstack([columns / scale, np.ones(columns.shape[1])]),
                np.append(np.zeros(len(columns)), 1.0))  # fmt: skip
    w = u / u.sum()
    return w, columns @ w


def entropic_projection(columns: Array, w0: Array) -> np.ndarray:
    """Return ``w ~ w0 exp(M' xi)`` with ``M w = 0``, by the dual ``log sum w0 exp(M' xi)``."""
    scale = float(np.abs(columns).max())
    M = columns / scale

    def dual(xi: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.log(w0) + M.T @ xi
        return float(logsumexp(logits)), M @ softmax(logits)

    xi = minimize(dual, np.zeros(len(M)), jac=True, method="BFGS", options={"gtol": 1e-12}).x
    for _ in range(20):
        w = softmax(np.log(w0) + M.T @ xi)
        spread = (M * w) @ M.T - np.outer(M @ w, M @ w)
        xi = xi - np.linalg.lstsq(spread, M @ w, rcond=None)[0]
    return np.asarray(softmax(np.log(w0) + M.T @ xi))


def _limit(at: Instance, name: str, w0: Array) -> tuple[Limit, np.ndarray]:
    """Return the limit of a penalty method and the columns of its program."""
    if name == "Penalty":
        method: Any = methods.Penalty(rho=0.0, num_inner_steps=1, num_warmup=0)
        mu, nu = float(method.gamma), np.zeros(at.problem.num_params)
    else:
        method = methods.AugmentedLagrangian(rho=0.0, mu=10.0, num_inner_steps=1, num_warmup=0)
        mu, nu = 10.0, np.linalg.solve(at.problem.hessian(at.theta, w0), at.grad_val)
    state = held_state(at.problem, method, at.theta, w0)
    if name != "Penalty":
        state = replace(state, multiplier=nu)
    columns = at.gamma.T + (at.problem.ridge * at.theta - nu / mu)[:, None]
    return fast_limit(held_field(at.problem, method, state), w0), columns


def _observe(at: Instance, name: str) -> dict[str, Any]:
    n = at.problem.num_samples
    w0 = np.random.default_rng([n, at.problem.num_params]).dirichlet(5.0 * np.ones(n))
    limit, columns = _limit(at, name, w0)
    vertex, nearest = least_point(columns)
    scale = float(np.abs(columns).max())
    solvable = float(np.linalg.norm(nearest)) < 1e-9 * scale
    expected = entropic_projection(columns, w0) if solvable else vertex
    return {
        "method": name, "p": at.problem.num_params, "solvable": solvable, "kind": limit.kind,
        "support": limit.support.size, "vertex": int((vertex > 0).sum()),
        "value_error": float(np.linalg.norm(columns @ limit.w - nearest)) / scale,
        "weight_error": float(np.abs(limit.w - expected).sum()),
    }  # fmt: skip


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    inside = [row for row in rows if row["solvable"]]
    outside = [row for row in rows if not row["solvable"]]
    return [
        at_most("|M w - nearest point of conv{M_i} to 0| at the limits, over max |M_ij|",
                max(row["value_error"] for row in rows), 1e-5, "nonnegative least squares"),
        at_most("l1 from the limits to the weights of least relative entropy, 0 in the hull",
                max(row["weight_error"] for row in inside), 1e-4,
                "the dual by BFGS and Newton; limits near a face are reached slowly"),
        at_least("least number of weights above 1e-6 of the largest there, less p",
                 min(row["support"] - row["p"] for row in inside), 1,
                 "all are positive; how many are large depends on how deep 0 lies"),
        at_most("l1 from the limits to the program's weights, 0 outside the hull",
                max(row["weight_error"] for row in outside), 1e-6, "a unique vertex of the face"),
        at_most("largest |S| - p, 0 outside the hull",
                max(row["support"] - row["p"] for row in outside), 0,
                "p columns span a facet of the hull"),
        at_least("programs of either kind", min(len(inside), len(outside)), 3, "both are tested"),
    ]  # fmt: skip


def _stepped(at: Instance) -> tuple[float, float] | None:
    """Return how far late mirror steps are from the projection, below and above the stable size."""
    problem, w0, method = at.problem, uniform(at.problem), methods.Penalty()
    columns = at.gamma.T + problem.ridge * at.theta[:, None]
    w = entropic_projection(columns, w0)
    if np.linalg.norm(columns @ w) > 1e-9 * np.abs(columns).max():
        return None
    spread = (columns * w) @ columns.T
    stable = 2.0 / float(method.gamma) / float(np.linalg.eigvalsh(spread)[-1])
    ends = []
    for factor in (0.9, 1.1):
        steps = methods.Penalty(rho=0.0, eta=factor * stable, num_inner_steps=1, num_warmup=0)
        run = run_method(problem, steps, num_steps=600, theta0=at.theta, num_saved=13)
        ends.append(float(np.abs(np.asarray(run.w[-3:]) - w).sum(axis=1).max()))
    return ends[0], ends[1]


def _step_checks(stepped: list[tuple[float, float]]) -> list[Check]:
    below, above = np.array(stepped).reshape(-1, 2).T
    return [
        at_most("l1 from mirror steps at 0.9 of the stable size to those weights, median",
                np.median(below), 1e-6, "every step keeps the range of [M', 1]"),
        at_least("the same at 1.1 of it, least", above.min(initial=np.inf), 1e-3,
                 "2/gamma over the top eigenvalue of M diag(w) M'"),
        at_least("draws with 0 in the hull", len(stepped), 2, "not an empty test"),
    ]  # fmt: skip


def _settled_u(problem: LeastSquares, state: Any, w: np.ndarray) -> Any:
    return replace(state, other=problem.theta_star(w))


def _value_gap(at: Instance) -> dict[str, Any]:
    """Return where F2SA goes with u at rest for the present weights and theta alone held."""
    problem, w0 = at.problem, uniform(at.problem)
    method = methods.F2SA(rho=0.0)
    state = held_state(problem, method, at.theta, w0)
    field = held_field(problem, method, state, lambda s, w: _settled_u(problem, s, w))
    limit = fast_limit(field, w0)
    columns = at.gamma.T + problem.ridge * at.theta[:, None]
    nearest = least_point(columns)[1]
    scale = float(np.abs(columns).max())
    return {
        "p": problem.num_params, "kind": limit.kind, "support": limit.support.size,
        "solvable": float(np.linalg.norm(nearest)) < 1e-9 * scale,
        "slope": float(np.linalg.norm(columns @ limit.w)) / scale,
    }  # fmt: skip


def _other_target(at: Instance) -> float:
    """Return how much the fields of both change when the validation set is another one."""
    problem = at.problem
    other = LeastSquares(problem.X, problem.y, -3.0 * problem.X_val, problem.y_val + 1.0,
                         ridge=problem.ridge)  # fmt: skip
    w = np.random.default_rng(0).dirichlet(np.ones(problem.num_samples))
    changes = []
    for method in (
        methods.Penalty(rho=0.0, num_inner_steps=1, num_warmup=0),
        methods.F2SA(rho=0.0),
    ):
        fields = []
        for case in (problem, other):
            state = held_state(case, method, at.theta, w)
            settle = None if isinstance(method, methods.Penalty) else (
                lambda s, v, case=case: _settled_u(case, s, v))  # fmt: skip
            fields.append(held_field(case, method, state, settle)(w))
        changes.append(float(np.abs(fields[0] - fields[1]).max() / np.abs(fields[0]).max()))
    return max(changes)


def _gap_checks(gaps: list[dict[str, Any]], blind: float) -> list[Check]:
    rest = [row for row in gaps if row["kind"] == "rest"]
    return [
        exactly("value gaps with u fast that are solved though 0 lies outside the hull, or not "
                "though it lies inside",
                sum((row["kind"] == "solved") != row["solvable"] for row in gaps), 0,
                "zero gap means grad_theta G(theta, w) = 0"),
        at_most("largest |S| - p(p+3)/2 among those at rest",
                max(row["support"] - row["p"] * (row["p"] + 3) // 2 for row in rest), 0,
                "fields in the quadratic features"),
        at_least("largest |S| - p of those at rest", max(row["support"] - row["p"] for row in rest),
                 1, "the bound p of the penalties does not carry over"),
        at_most("change of both fields when the validation set is another one, relative", blind,
                1e-12, "blind to F"),
    ]  # fmt: skip
