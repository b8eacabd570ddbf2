"""T4: at frozen theta the weights move in p dimensions, and uphill on a linear function."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from ....dynamics import LeastSquares, Problem, Trajectory, integrate_frozen
from ....dynamics.types import Array
from ..certificate import Check, Evidence, at_least, at_most, certifies
from ..instances import ridge_problem, softmax_problem
from .reference import RidgeFlows, log_softmax, solve

__all__ = ["reduction"]

TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def _problems(quick: bool) -> dict[str, Problem]:
    intercept = ridge_problem(3, n=30, p=3, ridge=1e-2)
    ones = np.ones((30, 1))
    problems: dict[str, Problem] = {
        "ridge": ridge_problem(0, n=40, p=3, ridge=1e-2),
        "ridge 0": ridge_problem(1, n=40, p=2, ridge=0.0),
        "intercept": LeastSquares(
            np.hstack([intercept.X, ones]), intercept.y,
            np.hstack([intercept.X_val, np.ones((len(intercept.y_val), 1))]), intercept.y_val,
            ridge=1e-2,
        ),
        "duplicates": ridge_problem(2, n=20, p=3, ridge=1e-2).batch(train=np.r_[0:20, 0:6]),
        "n < p": ridge_problem(4, n=5, p=8, ridge=1e-2),
        "softmax": softmax_problem(5, n=30, d=2, classes=3, ridge=0.05),
    }  # fmt: skip
    if not quick:
        for seed in range(10, 22):
            n, p = 20 + 3 * seed, 1 + seed % 6
            problems[f"ridge, seed {seed}"] = ridge_problem(seed, n=n, p=p, ridge=1e-3 * (seed % 3))
    return problems


def _starts(problem: Problem, count: int) -> list[np.ndarray]:
    """Return uniform and random initial weights, one nearly at a vertex."""
    n = problem.num_samples
    rng = np.random.default_rng([n, problem.num_params])
    random = [rng.dirichlet(np.ones(n)) for _ in range(count - 2)]
    vertex = np.full(n, 1e-6 / n)
    vertex[0] += 1.0 - 1e-6
    return [np.full(n, 1.0 / n), *random, vertex]


@certifies(
    "T4",
    "The frozen flow has p dimensions",
    r"$\log w(t) = \log w(0) + \Gamma u(t) + \mathrm{const}$ with $H(\theta, w(u))\,u' = "
    r"\beta\nabla F(\theta)$, so that $\frac{d}{dt}\langle\nabla F, u\rangle = "
    r"\beta\,\nabla F^\top H^{-1}\nabla F > 0$.",
    ("$\\nabla F(\\theta) \\ne 0$", "$H$ invertible on the row space"),
)
def reduction(quick: bool) -> Evidence:
    """Full coordinates against reduced ones, the span, and the monotone quantity."""
    keys = ("pair", "plain", "span", "law", "rise", "slope")
    found: dict[str, list[float]] = {key: [] for key in keys}
    climbs = {}
    for name, problem in _problems(quick).items():
        theta = np.random.default_rng(7).standard_normal(problem.num_params)
        theta /= np.sqrt(problem.num_params)
        for w0 in _starts(problem, 3 if quick else 6):
            times = _times(problem, theta, w0)
            run = _run(problem, theta, w0, times, "full")
            reduced = _run(problem, theta, w0, times, "reduced")
            found["pair"].append(float(np.abs(run.w - reduced.w).sum(axis=1).max()))
            if isinstance(problem, LeastSquares):
                found["plain"].append(_against_reference(problem, theta, run, w0))
            found["law"].append(_law_error(problem, theta, run))
            u, residual, unique = _coordinates(problem, theta, run)
            found["span"].append(residual)
            if unique:
                climb = u @ problem.val_grad(theta)
                found["rise"].append(float(np.diff(climb).min() / np.abs(climb).max()))
                found["slope"].append(_slope_error(problem, theta, run, climb))
                climbs[name] = {"t": times, "climb": climb}
    return Evidence(_checks(found), {"climbs": climbs, **found})


def _checks(found: dict[str, list[float]]) -> list[Check]:
    return [
        at_most("|w_reduced - w_full|_1 along the flow, worst run", max(found["pair"]), 1e-7,
                "two integrations at rtol 1e-10"),
        at_most("|w_full - w_plain|_1, worst run", max(found["plain"]), 1e-7,
                "plain NumPy formulas by DOP853 at 1e-12"),
        at_most("part of log w(t)/w(0) outside the span of [Gamma, 1], worst run",
                max(found["span"]), 1e-8, "integration error of the full coordinates"),
        at_most("log w(t)/w(0) against Gamma times the time integral of H^-1 grad F, worst run",
                max(found["law"]), 1e-5, "cubic splines through 121 times"),
        at_least("least increase of <grad F, u> between saved times over its total, worst run",
                 min(found["rise"]), 1e-12, "strictly increasing"),
        at_most("relative error of its slope against beta grad F' H^-1 grad F, worst run",
                max(found["slope"]), 1e-5, "fourth-order differences in time"),
    ]  # fmt: skip


def _times(problem: Problem, theta: Array, w0: Array) -> np.ndarray:
    """Return times over which log w changes by some units, by the field at the start."""
    psi = problem.hypergradient(theta, w0)
    return np.linspace(0.0, 6.0 / np.ptp(psi), 121)


def _run(problem: Problem, theta: Array, w0: Array, times: Array, coordinates: str) -> Trajectory:
    run = integrate_frozen(
        problem, theta=theta, beta=1.0, w0=w0, t_span=(0.0, times[-1]), t_eval=times,
        coordinates=coordinates, **TIGHT,
    )  # fmt: skip
    if not run.status.success:
        raise RuntimeError(run.message)
    return run


def _against_reference(problem: LeastSquares, theta: Array, run: Trajectory, w0: Array) -> float:
    plain = solve(RidgeFlows(problem).frozen(theta, 1.0), np.log(w0), run.t)
    return float(np.abs(np.exp(log_softmax(plain)) - run.w).sum(axis=1).max())


def _coordinates(problem: Problem, theta: Array, run: Trajectory) -> tuple[np.ndarray, float, bool]:
    """Return u(t) by least squares, the part of log w(t)/w(0) that it leaves, and uniqueness.

    Where [Gamma, 1] lacks rank, as for softmax or n <= p, many u give the same weights.
    """
    gamma = problem.per_sample_grads(theta)
    basis = np.hstack([gamma, np.ones((len(gamma), 1))])
    change = (run.log_w - run.log_w[0]).T
    solution, _, rank, _ = np.linalg.lstsq(basis, change, rcond=1e-10)
    residual = float(np.abs(change - basis @ solution).max() / np.abs(change).max())
    return solution[:-1].T, residual, bool(rank == basis.shape[1])


def _law_error(problem: Problem, theta: Array, run: Trajectory) -> float:
    """Return how far log w(t)/w(0) is from Gamma times the time integral of the adjoint."""
    v = np.array([problem.adjoint(theta, w) for w in run.w])
    u = CubicSpline(run.t, v).antiderivative()(run.t)
    gap = run.log_w - run.log_w[0] - u @ problem.per_sample_grads(theta).T
    gap -= gap.mean(axis=1, keepdims=True)
    return float(np.abs(gap).max() / np.abs(run.log_w - run.log_w[0]).max())


def _slope_error(problem: Problem, theta: Array, run: Trajectory, climb: Array) -> float:
    """Return the relative error of the slope of <grad F, u> in time."""
    dt = run.t[1] - run.t[0]
    slope = (8 * (climb[3:-1] - climb[1:-3]) - (climb[4:] - climb[:-4])) / (12 * dt)
    g = problem.in_range(problem.val_grad(theta))
    expected = np.array([g @ problem.adjoint(theta, w) for w in run.w[2:-2]])
    return float(np.abs(slope / expected - 1.0).max())
