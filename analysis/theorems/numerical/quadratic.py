"""T8: least squares is finite-dimensional whatever n is, and conserves what it should."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import null_space

from ....dynamics import LeastSquares, Trajectory, integrate, integrate_exact, methods, run_method
from ....dynamics.features import num_features, quadratic_features
from ....dynamics.types import Array
from ..certificate import Check, Evidence, at_most, certifies, exactly
from ..instances import ridge_problem, two_clusters
from .reference import RidgeFlows, log_softmax, solve

__all__ = ["reduction"]

SPEEDS: dict[str, Any] = {"alpha": 1.0, "beta": 3.0}
TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
TIMES = np.linspace(0.0, 3.0, 16)


def _problems(quick: bool) -> dict[str, LeastSquares]:
    problems = {
        "ridge": ridge_problem(0, n=40, p=2, ridge=1e-2),
        "ridge 0": ridge_problem(1, n=60, p=3, ridge=0.0),
        "two clusters": two_clusters(2, n=80, ridge=0.1),
        "duplicates": ridge_problem(3, n=25, p=2, ridge=1e-2).batch(train=np.r_[0:25, 0:9]),
    }
    if not quick:
        for seed in range(10, 30):
            p = 1 + seed % 5
            problems[f"seed {seed}"] = ridge_problem(
                seed, n=60 + seed, p=p, ridge=10.0 ** -(seed % 4), noise=0.1 * (1 + seed % 9)
            )
    return problems


@certifies(
    "T8",
    "Least squares is finite-dimensional whatever n is",
    r"$w(t) = \mathrm{softmax}(\log w(0) + \Phi U(t))$ with $d = p(p+3)/2$ features: the state is "
    r"$(\theta, U)$. Every $\xi\cdot\log w$ with $\Phi^\top\xi = 0$, $\mathbf 1^\top\xi = 0$ is "
    r"conserved.",
    ("quadratic losses",),
)
def reduction(quick: bool) -> Evidence:
    """Reduced against full coordinates and plain formulas; the conserved quantities."""
    found: dict[str, list[float]] = {k: [] for k in ("warm-started", "exact", "drift", "discrete")}
    counted, expected = 0, 0
    for problem in _problems(quick).values():
        for w0 in _starts(problem):
            warm, exact = _pairs(problem, w0)
            found["warm-started"].append(warm[1])
            found["exact"].append(exact[1])
            invariants = _invariants(problem)
            found["drift"] += [_drift(invariants, warm[0]), _drift(invariants, exact[0])]
        found["discrete"].append(_discrete_drift(problem, invariants))
        counted += invariants.shape[1]
        expected += _expected_invariants(problem)
    return Evidence(_checks(found, counted, expected), dict(found))


def _checks(found: dict[str, list[float]], counted: int, expected: int) -> list[Check]:
    worst = {name: max(values) for name, values in found.items()}
    return [
        at_most("warm-started flow: largest difference of (theta, w) between reduced, full and "
                "plain coordinates", worst["warm-started"], 1e-6,
                "rtol 1e-10, amplified along the flow"),
        at_most("exact flow: the same", worst["exact"], 1e-6, "as above"),
        at_most("drift of the invariants in full coordinates over their scale", worst["drift"],
                1e-8, "integration error"),
        at_most("drift of the invariants over 500 steps of the algorithm", worst["discrete"],
                1e-11, "round-off of log w"),
        exactly("number of invariants, all problems", counted, expected,
                "distinct samples minus d minus 1 in general position, plus one per duplicate"),
    ]  # fmt: skip


def _starts(problem: LeastSquares) -> list[np.ndarray]:
    n = problem.num_samples
    return [np.full(n, 1.0 / n), np.random.default_rng(n).dirichlet(np.ones(n))]


def _pairs(
    problem: LeastSquares, w0: Array
) -> tuple[tuple[Trajectory, float], tuple[Trajectory, float]]:
    """Return both flows in full coordinates, and how far reduced and plain coordinates are off."""
    flows = RidgeFlows(problem)
    options: dict[str, Any] = {"t_span": (0.0, TIMES[-1]), "t_eval": TIMES, "w0": w0}
    theta0 = np.full(problem.num_params, 0.5)
    warm = {
        c: _ended(integrate(problem, theta0=theta0, coordinates=c, **SPEEDS, **options, **TIGHT))
        for c in ("full", "reduced")
    }
    plain = solve(flows.warm_started(**SPEEDS), np.concatenate([theta0, np.log(w0)]), TIMES)
    p = problem.num_params
    off = max(
        _apart(warm["full"], warm["reduced"].theta, warm["reduced"].w),
        _apart(warm["full"], plain[:, :p], np.exp(log_softmax(plain[:, p:]))),
    )
    exact = {
        c: _ended(integrate_exact(problem, beta=3.0, coordinates=c, **options, **TIGHT))
        for c in ("full", "reduced")
    }
    w = np.exp(log_softmax(solve(flows.exact(3.0), np.log(w0), TIMES)))
    theta = np.array([flows.theta_star(row) for row in w])
    off_exact = max(
        _apart(exact["full"], exact["reduced"].theta, exact["reduced"].w),
        _apart(exact["full"], theta, w),
    )
    return (warm["full"], off), (exact["full"], off_exact)


def _ended(run: Trajectory) -> Trajectory:
    if not run.status.success:
        raise RuntimeError(run.message)
    return run


def _apart(run: Trajectory, theta: Array, w: Array) -> float:
    """Return the largest distance of theta, and of w in l1, along a run."""
    return float(max(np.abs(run.theta - theta).max(), np.abs(run.w - w).sum(axis=1).max()))


def _invariants(problem: LeastSquares) -> np.ndarray:
    """Return an orthonormal basis ``(n, k)`` of the vectors orthogonal to [Phi, 1]."""
    return np.asarray(null_space(_design(problem).T, rcond=1e-10))


def _design(problem: LeastSquares) -> np.ndarray:
    phi = quadratic_features(problem.X, problem.y)
    return np.hstack([phi / np.abs(phi).max(axis=0), np.ones((len(phi), 1))])


def _expected_invariants(problem: LeastSquares) -> int:
    """Return n - 1 - d for general data: duplicates only add samples."""
    return problem.num_samples - 1 - num_features(problem.num_params)


def _drift(invariants: Array, run: Trajectory) -> float:
    values = run.log_w @ invariants
    return float(np.abs(values - values[0]).max() / np.abs(run.log_w).max())


def _discrete_drift(problem: LeastSquares, invariants: Array) -> float:
    """Return the drift over 500 steps of the algorithm."""
    method = methods.Joint(rho=0.05, eta=0.1)
    return _drift(invariants, _ended(run_method(problem, method, num_steps=500, num_saved=51)))
