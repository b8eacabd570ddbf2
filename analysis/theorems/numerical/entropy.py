r"""T12: an entropy penalty selects the solved point of largest entropy, and what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from ....dynamics import LeastSquares, Problem, integrate_exact
from ....dynamics.simplex import entropy as entropy_of
from ....dynamics.types import Array
from ...rest_points import (
    is_solvable,
    max_entropy_weights,
    solved_theta,
    stationary_point_on_face,
)
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly
from ..instances import ridge_problem, two_clusters
from .reference import RidgeFlows, log_softmax

__all__ = ["entropy_penalty"]

Field = Callable[[float, np.ndarray], np.ndarray]


@certifies(
    "T12",
    "The entropy penalty",
    r"With $\Psi + \tau\log w$ in place of $\Psi$ and $\lambda > 0$ an interior rest point exists "
    r"at frozen $\theta$; it is unique and attracts everything where $\tau > \max_i|\nabla l_i|\,"
    r"\max_j|x_j|^2\,|\nabla F| / \lambda^2$. With $\theta$ moving, the branch of rest points that "
    r"starts at the solved point of largest entropy has "
    r"$w_\tau = w_{me} + \tau\dot w + O(\tau^2)$, $w \propto e^{J^\top\mu}$, $v = \tau\mu$. "
    r"$h + \tau\,\mathrm{KL}(w|\mathrm{uniform})$ falls at the rate "
    r"$\beta s^\top P s$, $s = \Psi + \tau\log w$, along the exact flow. At intermediate "
    r"$\tau$ the frozen rest point need not be unique, and for small $\tau$ the flow may end at a "
    r"trapped point.",
    (
        r"quadratic losses, $\lambda > 0$",
        r"$0$ in the interior of $\mathrm{conv}\{g_i(\arg\min F)\}$, $\nabla^2 F > 0$",
        "speeds at which the rest point is stable (the exact flow, or slow weights)",
    ),
)
def entropy_penalty(quick: bool) -> Evidence:
    """Penalised flows by SciPy against the dual, linear response, and closed forms."""
    selected = [_selection(seed, 4 if quick else 8) for seed in range(2 if quick else 10)]
    descent = _lyapunov(two_clusters(1, n=20, p=2, ridge=1e-2, m=40))
    frozen = _frozen(4 if quick else 40)
    roots, second = _two_rest_points()
    trap, third = _caught()
    checks = [*_selection_checks(selected), *descent, *frozen, *second, *third]
    return Evidence(checks, {"selection": selected, "two_rest_points": roots, "caught": trap})


# ---------------------------------------------------------------------- flows
def joint_field(problem: Problem, alpha: float, beta: float, tau: float) -> Field:
    """Return the penalised warm-started flow of (theta, log w), by the problem's oracles."""
    p = problem.num_params

    def field(t: float, z: np.ndarray) -> np.ndarray:
        theta, log_w = z[:p], log_softmax(z[p:])
        w = np.exp(log_w)
        s = -(problem.hypergradient(theta, w) + tau * log_w)
        return np.concatenate([-alpha * problem.train_grad(theta, w), beta * (s - w @ s)])

    return field


def exact_field(problem: Problem, tau: float) -> Field:
    """Return the penalised exact flow of log w; the last entry gathers the dissipation."""

    def field(t: float, z: np.ndarray) -> np.ndarray:
        log_w = log_softmax(z[:-1])
        w = np.exp(log_w)
        s = problem.outer_grad(w) + tau * log_w
        s = s - w @ s
        return np.append(-s, w @ (s * s))

    return field


def frozen_field(problem: Problem, theta: Array, tau: float) -> Field:
    """Return the penalised flow of logits at frozen theta, not centred: contracts in them."""
    return lambda t, z: -problem.hypergradient(theta, np.exp(log_softmax(z))) - tau * z


def _end(field: Field, z0: Array, t_end: float) -> np.ndarray:
    result = solve_ivp(field, (0.0, t_end), z0, method="LSODA", rtol=1e-10, atol=1e-12)
    if not result.success:
        raise RuntimeError(f"the penalised flow was not integrated: {result.message}")
    return np.asarray(result.y[:, -1])


# ---------------------------------------------------------------------- theta moves
def _selection(seed: int, count: int) -> dict[str, Any]:
    """Follow the rest points of the joint flow to tau = 0, over tau with errors 0.1 to 0.003."""
    problem = two_clusters(seed, n=30, p=2, ridge=1e-2, m=40)
    theta = solved_theta(problem)
    best = max_entropy_weights(problem, theta)
    predicted = np.abs(_response(problem, theta, best)).sum()
    taus = np.geomspace(0.1, 0.003, count) / predicted
    z = np.concatenate([theta, np.full(30, -np.log(30.0))])
    errors, rest = np.empty(count), 0.0
    for k, tau in enumerate(taus):
        field = joint_field(problem, 1.0, 1.0, tau)
        z = _end(field, z, 30.0 / tau)
        rest = max(rest, float(np.abs(field(0.0, z)).max()))
        errors[k] = np.abs(np.exp(log_softmax(z[2:])) - best).sum()
    # Two errors c tau + d tau^2 give c: what is left is of second order.
    steep = (errors[-1] / taus[-1] - errors[-2] / taus[-2]) / (taus[-1] - taus[-2])
    run = integrate_exact(problem, t_span=(0.0, 1e4), rest_tol=1e-9, num_saved=2)
    w = np.exp(run.log_weights(-1))
    return {
        "tau": taus, "error": errors, "predicted_slope": predicted, "rest": rest,
        "measured_slope": errors[-1] / taus[-1] - steep * taus[-1],
        "order": np.log(errors[-2] / errors[-1]) / np.log(taus[-2] / taus[-1]),
        "unpenalised_distance": np.abs(w - best).sum(),
        "entropy_gap": entropy_of(best) - entropy_of(w),
        "held": np.abs(RidgeFlows(problem).theta_star(best) - theta).max(),
    }  # fmt: skip


def _selection_checks(rows: list[dict[str, Any]]) -> list[Check]:
    return [
        at_most(
            "slope of |w_tau - w_me|_1 in tau, relative to linear response",
            max(abs(row["measured_slope"] / row["predicted_slope"] - 1.0) for row in rows), 0.01,
            "the implicit function theorem; what is left after extrapolation is of order tau^2",
        ),
        at_most("order of |w_tau - w_me|_1 in tau, distance from 1",
                max(abs(row["order"] - 1.0) for row in rows), 0.1,
                "curvature where the error is 0.003"),
        at_most("rest residual of the penalised flow where w_tau was read",
                max(row["rest"] for row in rows), 1e-8, "integration tolerance"),
        at_most("|theta_star(w_me) - argmin F|, theta_star by plain least squares",
                max(row["held"] for row in rows), 1e-10, "constraint of the dual, to round-off"),
        at_least("l1 distance of the unpenalised limit from w_me",
                 min(row["unpenalised_distance"] for row in rows), 0.05,
                 "the exact flow selects another solved point"),
        at_least("entropy of w_me less that of the unpenalised limit",
                 min(row["entropy_gap"] for row in rows), 1e-3, "w_me has the largest"),
    ]  # fmt: skip


def _response(problem: LeastSquares, theta: Array, w: Array) -> np.ndarray:
    r"""Return dw/dtau at tau = 0, of ``J softmax(J^T mu) + lam theta = 0, grad F = tau H mu``."""
    r = problem.X @ theta - problem.y
    gamma = r[:, None] * problem.X
    basis = np.column_stack([gamma, np.ones(len(w))])
    mu = np.linalg.lstsq(basis, np.log(w), rcond=None)[0][:-1]
    K = (problem.X @ mu)[:, None] * problem.X
    H = RidgeFlows(problem).hessian(w)
    metric = np.diag(w) - np.outer(w, w)
    hess_val = problem.X_val.T @ problem.X_val / len(problem.y_val)
    dtheta = np.linalg.solve(hess_val, H @ mu)
    C = gamma.T @ metric @ gamma
    dmu = -np.linalg.solve(C, (H + gamma.T @ metric @ K) @ dtheta)
    return np.asarray(metric @ (K @ dtheta + gamma @ dmu))


def _lyapunov(problem: LeastSquares, tau: float = 0.05) -> list[Check]:
    """Check the descent of the penalised objective along the exact flow, and its rate."""
    plain, n = RidgeFlows(problem), problem.num_samples
    rng = np.random.default_rng(0)
    z0 = np.append(np.log(rng.dirichlet(np.ones(n))), 0.0)
    result = solve_ivp(exact_field(problem, tau), (0.0, 60.0), z0, method="LSODA", rtol=1e-10,
                       atol=1e-12, t_eval=np.linspace(0.0, 60.0, 200))  # fmt: skip

    def objective(log_w: Array) -> float:
        w = np.exp(log_w)
        r = plain.X_val @ plain.theta_star(w) - plain.y_val
        return float(0.5 * np.mean(r * r) + tau * (w @ (log_w + np.log(n))))

    values = np.array([objective(log_softmax(z[:-1])) for z in result.y.T])
    lost, drop = result.y[-1], np.abs(values[0] - values).max()
    return [
        at_most("largest rise of h + tau KL between saved times, over its total change",
                np.diff(values).max() / drop, 1e-7, "monotone; integration error"),
        at_most("fall of h + tau KL against the integrated dissipation s^T P s, relative",
                np.abs(values[0] - values - lost).max() / drop, 1e-7, "integration error"),
    ]  # fmt: skip


# ---------------------------------------------------------------------- theta frozen
def _frozen(starts: int) -> list[Check]:
    """Check contraction above the stated tau, and the closed form of the rest point."""
    problem = ridge_problem(5, n=15, p=2, ridge=0.5)
    theta, rng = np.array([0.5, -0.5]), np.random.default_rng(1)
    plain = RidgeFlows(problem)
    r = problem.X @ theta - problem.y
    gradient = plain.X_val.T @ (plain.X_val @ theta - plain.y_val) / len(plain.y_val)
    rows = np.linalg.norm(problem.X, axis=1)
    bound = (np.abs(r) * rows).max() * (rows**2).max() * np.linalg.norm(gradient)
    bound /= problem.ridge**2
    tau = 1.5 * bound
    field = frozen_field(problem, theta, tau)
    z = 5.0 * rng.standard_normal((starts, problem.num_samples))
    span = 1.0 / tau
    moved = np.array([_end(field, start, span) for start in z])
    before, after = (np.abs(a[1:] - a[:1]).max(axis=1) for a in (z, moved))
    ends = np.array([_end(frozen_field(problem, theta, 0.3), s, 80.0) for s in z])
    w = np.exp(log_softmax(ends))
    v = np.array([np.linalg.solve(plain.hessian(row), gradient) for row in w])
    logits = (r[:, None] * problem.X) @ v.T / 0.3
    gamma = r[:, None] * problem.X
    reduced = _end(
        lambda t, u: np.linalg.solve(plain.hessian(np.exp(log_softmax(gamma @ u))), gradient)
        - 0.3 * u, np.zeros(2), 2.0,
    )  # fmt: skip
    full = _end(frozen_field(problem, theta, 0.3), np.zeros(problem.num_samples), 2.0)
    return [
        at_most("logits against Gamma u with u' = v - tau u, from uniform weights, at t = 2",
                np.abs(full - gamma @ reduced).max(), 1e-7, "integration tolerance"),
        at_most("shrinking of sup distances between orbits over a time 1/tau at frozen theta, over "
                "exp(-(1 - L/tau))", (after / before).max() / np.exp(-1.0 / 3.0), 1.0,
                "logits contract at tau - L, L the Lipschitz constant of Psi"),
        at_most("|w - softmax(J^T v / tau)|_1 at the frozen rest points, v by dense algebra",
                np.abs(w - np.exp(log_softmax(logits.T))).sum(axis=1).max(), 1e-7,
                "the rest equation; integration tolerance"),
        at_least("smallest weight there, times n", w.min() * w.shape[1], 1e-6, "interior"),
    ]  # fmt: skip


def _two_rest_points() -> tuple[dict[str, Any], list[Check]]:
    r"""Return the counterexample to uniqueness: n = 2, p = 1, ``tau u H(u) = grad F``.

    A sample with a large gradient and a small x takes the weight as u grows; H falls faster than
    u rises, so that the left-hand side is not monotone.
    """
    problem = LeastSquares([[1.0], [0.1]], [0.0, -10.0], [[1.0]], [-1.0], ridge=0.01)
    theta, tau = np.zeros(1), 5.0

    def excess(u: float) -> float:
        w = 1.0 / (1.0 + np.exp(-u))
        return tau * u * ((1.0 - w) + 0.01 * w + 0.01) - 1.0

    grid = np.linspace(0.0, 30.0, 3001)
    values = np.array([excess(u) for u in grid])
    brackets = np.flatnonzero(np.diff(np.sign(values)))
    roots = np.array([brentq(excess, grid[k], grid[k + 1], xtol=1e-14) for k in brackets])
    field = frozen_field(problem, theta, tau)
    ends = np.array([_end(field, np.array([0.0, u]), 40.0) for u in (0.0, 20.0)])
    u = ends[:, 1] - ends[:, 0]
    return {"roots": roots, "ends": u, "tau": tau}, [
        exactly("rest points at frozen theta of the counterexample, n = 2, p = 1", len(roots), 3,
                "a scalar equation that is not monotone"),
        at_most("limits of two starts against its outer roots",
                np.abs(u - roots[[0, -1]]).max(), 1e-6, "both attract: uniqueness fails"),
    ]  # fmt: skip


def _caught(tau: float = 1e-3) -> tuple[dict[str, Any], list[Check]]:
    """Return a solvable problem whose penalised exact flow stays at a trapped point."""
    problem = ridge_problem(14, n=8, p=2, ridge=1e-2)
    best, trap = max_entropy_weights(problem), None
    for i in range(problem.num_samples):
        for j in range(i):
            for support in ([i], [i, j]):
                point = stationary_point_on_face(problem, support)
                if point.converged and point.attracting and point.w[support].min() > 1e-6:
                    trap = point
    if trap is None:
        raise RuntimeError("no attracting trapped point on an edge")
    w0 = 0.99 * trap.w + 0.01 / problem.num_samples
    z = _end(exact_field(problem, tau), np.append(np.log(w0), 0.0), 20.0 / tau)
    w = np.exp(log_softmax(z[:-1]))
    rest = float(np.abs(exact_field(problem, tau)(0.0, z)[:-1]).max())
    return {"w": w, "trap": trap.w, "max_entropy": best, "grad_norm": trap.grad_norm}, [
        at_most("solvable problem, started near an attracting trapped point: l1 distance of the "
                "penalised limit from it", np.abs(w - trap.w).sum() if is_solvable(problem) else 2,
                0.1, "small tau does not free a trapped orbit"),
        at_least("its l1 distance from the solved point of largest entropy",
                 np.abs(w - best).sum() if rest <= 1e-7 else 0.0, 0.5,
                 "the penalty selects among minima of h only as a global minimiser"),
    ]  # fmt: skip
