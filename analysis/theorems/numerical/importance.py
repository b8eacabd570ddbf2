r"""T10: importance weights, on a Gaussian shift whose likelihood ratio and moments are known.

Training features are standard normal in R^2, those of the target law have mean mu; in both,

.. math:: y = a \cdot x + b\,(x_1^2 - k) + \varepsilon,

and the model is linear with an intercept, hence wrong: what fits best depends on the law of x. With
:math:`\omega(x) = \exp(\mu\cdot x - |\mu|^2/2)` the target risk is least at slope
:math:`a + 2 b \mu_1 e_1` and intercept :math:`b(1 - \mu_1^2 - k)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import t as student

from ....dynamics import LeastSquares, Status, integrate_exact
from ....dynamics.types import Array
from ...optimality import kkt_residual
from ...rest_points import solved_vertex
from ..certificate import Check, Evidence, at_least, at_most, certifies, exactly

__all__ = ["importance_weights"]

MU = np.array([0.4, -0.2])
SLOPE = np.array([1.0, -0.5])
CURVATURE, NOISE = 0.7, 0.3
NODES = 14
"""Gauss-Hermite nodes per coordinate: exact to degree 27, and the ratio is entire."""


@certifies(
    "T10",
    "Importance weights solve the population problem without ridge",
    r"For $\lambda = 0$ the likelihood ratio $\omega$ of target to training law satisfies "
    r"$\nabla F(\theta^\star(\omega)) = 0$ in the population, whatever the model; at finite $n$ "
    r"its error is asymptotically normal with the sandwich covariance, of size $n^{-1/2}$. With "
    r"ridge $\nabla F(\theta^\star(\omega)) = -\lambda\theta^\star$, which vanishes only if "
    r"$\theta^\star = 0$. The solutions $\{w : J w = -\lambda\hat\theta\}$ have codimension $p$ in "
    r"the simplex: $\omega$ is one of many.",
    (
        r"the target law has a density with respect to the training law; moments are finite",
        r"$E[\omega^2 r^2 |x|^2] < \infty$ for the rate",
    ),
)
def importance_weights(quick: bool) -> Evidence:
    """Population by quadrature, finite samples by draws, other solutions by programs and flows."""
    sizes = np.array([500, 1000, 2000, 4000, 8000]) * (1 if quick else 4)
    rates, finite = _finite_samples(sizes, 120 if quick else 800, seed=2)
    others, many = _other_solutions()
    return Evidence([*_population(), *finite, *many], {"rates": rates, "others": others})


def optimum(offset: float) -> np.ndarray:
    """Return the minimiser (intercept, slopes) of the target risk, in closed form."""
    slope = SLOPE + np.array([2.0 * CURVATURE * MU[0], 0.0])
    return np.append(CURVATURE * (1.0 - MU[0] ** 2 - offset), slope)


def mean_response(x: Array, offset: float) -> np.ndarray:
    """Return E[y | x] for rows x."""
    return np.asarray(x @ SLOPE + CURVATURE * (x[:, 0] ** 2 - offset))


def ratio(x: Array) -> np.ndarray:
    """Return the likelihood ratio of target to training law."""
    return np.asarray(np.exp(x @ MU - 0.5 * MU @ MU))


def with_intercept(x: Array) -> np.ndarray:
    """Return features (1, x)."""
    return np.column_stack([np.ones(len(x)), x])


def population(ridge: float, offset: float) -> tuple[LeastSquares, np.ndarray, np.ndarray]:
    """Return the population problem on quadrature nodes, the training law and the ratio weights.

    The validation set has p rows with exactly the second moments of the target law.
    """
    nodes, mass = np.polynomial.hermite_e.hermegauss(NODES)
    x = np.array([(a, b) for a in nodes for b in nodes])
    prior = np.outer(mass, mass).ravel()
    prior /= prior.sum()
    mean = np.append(1.0, MU)
    second = np.outer(mean, mean) + np.diag([0.0, 1.0, 1.0])
    root = np.linalg.cholesky(second)
    X_val = np.sqrt(3.0) * root.T
    problem = LeastSquares(with_intercept(x), mean_response(x, offset), X_val,
                           X_val @ optimum(offset), ridge=ridge)  # fmt: skip
    w = prior * ratio(x)
    return problem, prior, w / w.sum()


def null_shift(ridge: float) -> tuple[LeastSquares, np.ndarray]:
    """Return a population problem whose best target model is zero: y = (x_1 - mu_1)^2 - 1."""
    problem, _, w = population(ridge, 0.0)
    y = (problem.X[:, 1] - MU[0]) ** 2 - 1.0
    return LeastSquares(problem.X, y, problem.X_val, np.zeros(3), ridge=ridge), w


def _population() -> list[Check]:
    problem, prior, w = population(0.0, 0.0)
    theta = problem.theta_star(w)
    ridged, _, _ = population(0.1, 0.0)
    shrunk = ridged.theta_star(w)
    zero, _ = null_shift(0.1)
    plain = np.linalg.norm(problem.val_grad(problem.theta_star(prior)))
    return [
        at_most("|theta_star(ratio) - argmin of the target risk|, in closed form, ridge 0",
                np.abs(theta - optimum(0.0)).max(), 1e-10, "quadrature and round-off"),
        at_most("largest hypergradient there", np.abs(problem.hypergradient(theta, w)).max(), 1e-8,
                "grad F = 0; the same, times the largest gradient at a node"),
        at_least("|grad F| without weights", plain, 0.1, "the model is wrong: weights matter"),
        at_most("|grad F + lam theta_star| at the ratio, ridge 0.1",
                np.linalg.norm(ridged.val_grad(shrunk) + 0.1 * shrunk), 1e-10,
                "the inner stationarity under the target law"),
        at_least("stationarity gap of h at the ratio, ridge 0.1", kkt_residual(ridged, w), 1e-3,
                 "the ratio does not solve the ridged problem"),
        at_most("stationarity gap of h at the ratio where theta_star = 0, ridge 0.1",
                kkt_residual(zero, w) + np.abs(zero.theta_star(w)).max(), 1e-10,
                "grad F = -lam theta_star = 0"),
    ]  # fmt: skip


def _finite_samples(sizes: Array, seeds: int, seed: int) -> tuple[dict[str, Any], list[Check]]:
    """Draw training samples and compare the error of theta_star(ratio) with its limit law."""
    goal, rng = optimum(0.0), np.random.default_rng(seed)
    errors = np.empty((sizes.size, seeds, 3))
    for k, n in enumerate(sizes):
        for draw in range(seeds):
            x = rng.standard_normal((n, 2))
            y = mean_response(x, 0.0) + NOISE * rng.standard_normal(n)
            problem = LeastSquares(with_intercept(x), y, np.eye(3), goal, ridge=0.0)
            w = ratio(x)
            errors[k, draw] = problem.theta_star(w / w.sum()) - goal
    size = np.sqrt((errors**2).sum(axis=-1))
    rows, logs = np.repeat(np.log(sizes), seeds), np.log(size).ravel()
    centred = rows - rows.mean()
    slope = float(centred @ logs / (centred @ centred))
    left = logs - logs.mean() - slope * centred
    spread = np.sqrt(left @ left / (logs.size - 2) / (centred @ centred))
    quantile = float(student.ppf(0.9995, logs.size - 2))
    expected = np.trace(sandwich()) / sizes
    relative = (size**2).mean(axis=1) / expected
    # Standard errors of the mean of |error|^2 at the largest n.
    noise = (size[-1] ** 2).std(ddof=1) / np.sqrt(seeds) / expected[-1]
    data = {"n": sizes, "rms": np.sqrt((size**2).mean(axis=1)), "sandwich": np.sqrt(expected),
            "slope": slope, "interval": quantile * spread}  # fmt: skip
    return data, [
        at_most("slope of log error against log n, distance from -1/2, over the half-width of its "
                "99.9 % confidence interval", abs(slope + 0.5) / (quantile * spread), 1.0,
                "central limit theorem"),
        at_most("half-width of that interval", quantile * spread, 0.1, "the test has power"),
        at_most("n E|error|^2 at the largest n against the sandwich covariance in closed form, in "
                "standard errors", abs(relative[-1] - 1.0) / noise, 4.0,
                "asymptotic variance of an M-estimator; bias of order 1/n is below one"),
        at_most("that standard error, relative", noise, 0.2, "the test has power"),
    ]  # fmt: skip


def sandwich() -> np.ndarray:
    r"""Return ``A^{-1} B A^{-1}``, the limit of n times the covariance of the error.

    ``A = E_target[z z^T]`` and ``B = E[omega^2 r^2 z z^T] = e^{|mu|^2} E_{N(2 mu, I)}[r^2 z z^T]``,
    with z = (1, x), by Gauss-Hermite quadrature of polynomials.
    """
    nodes, mass = np.polynomial.hermite_e.hermegauss(8)
    grid = np.array([(a, b) for a in nodes for b in nodes])
    weights = np.outer(mass, mass).ravel() / mass.sum() ** 2
    z = with_intercept(grid + MU)
    A = z.T @ (weights[:, None] * z)
    x = grid + 2.0 * MU
    z = with_intercept(x)
    r = z @ optimum(0.0) - mean_response(x, 0.0)
    B = np.exp(MU @ MU) * z.T @ ((weights * (r**2 + NOISE**2))[:, None] * z)
    half = np.linalg.solve(A, B)
    return np.asarray(np.linalg.solve(A, half.T))


def _other_solutions() -> tuple[dict[str, Any], list[Check]]:
    """Exhibit other weights that solve the population problem: a vertex, and what a flow finds."""
    problem, prior, w = population(0.0, 0.0)
    theta = optimum(0.0)
    vertex = solved_vertex(problem, theta, np.random.default_rng(0).standard_normal(len(w)))
    equations = np.vstack([problem.per_sample_grads(theta).T, np.ones(len(w))])
    codimension = np.linalg.matrix_rank(equations / np.abs(equations).max(axis=1)[:, None]) - 1
    run = integrate_exact(problem, t_span=(0.0, 1e4), rest_tol=1e-9, w0=prior, num_saved=2)
    found = np.exp(run.log_weights(-1))
    distance = np.abs(found - w).sum() if run.status == Status.converged else 0.0
    goal = [np.abs(problem.theta_star(v) - theta).max() for v in (vertex, found)]
    return {"ratio": w, "vertex": vertex, "flow": found}, [
        exactly("codimension of the solutions in the simplex, p = 3", codimension, 3,
                "rank of [J; 1] less one"),
        at_most("nonzeros of another solution, a vertex", (vertex > 0).sum(), 4, "p + 1"),
        at_most("|theta_star - argmin of the target risk| there and at the limit of the exact flow",
                max(goal), 1e-6, "both solve; rest tolerance"),
        at_least("l1 distance of the limit of the exact flow, from the training law, to the ratio",
                 distance, 0.05, "no method need select the ratio"),
    ]  # fmt: skip
