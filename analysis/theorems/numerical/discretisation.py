"""T2: the warm-started algorithm is Euler's method, against a plain high-order integration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.stats import linregress
from scipy.stats import t as student

from ....dynamics import Problem, SoftmaxRegression, methods, run_method, sweep, weights
from ....dynamics.types import Array
from ..certificate import Check, Evidence, at_most, certifies
from ..instances import ridge_problem, softmax_problem

__all__ = ["euler"]

ALPHA, BETA, TIME = 0.5, 2.0, 1.0
STEPS = 16
"""Steps of the coarsest run."""
EPS = float(np.finfo(np.float64).eps)
Plain = Callable[[Array, Array], tuple[np.ndarray, np.ndarray]]


@certifies(
    "T2",
    "The algorithm is Euler's method",
    r"At fixed $\alpha$, $\beta$ the warm-started algorithm with $\rho = \alpha\,dt$, $\eta = "
    r"\beta\,dt$ is Euler's method on $\theta' = -\alpha\nabla_\theta G$, $(\log w)' = -\beta\Psi$ "
    r"modulo constants: its error at a fixed time is $c\,dt + O(dt^2)$, with $c$ the solution of "
    r"the variational equation; the weights stay on the simplex to round-off. The sweep engine "
    r"runs the same map.",
    (
        "the flow is smooth on [0, T]: H positive definite along the orbit",
        "both right-hand sides at the old state (order simultaneous)",
    ),
)
def euler(quick: bool) -> Evidence:
    """Measure the error at time 1 over six or eight halvings of the step."""
    halvings = 6 if quick else 8
    studies = [
        study(problem, start, halvings)
        for problem in problems(1 if quick else 3)
        for start in ("uniform", "random")
    ]
    checks = [
        *order_checks(studies),
        sweep_check(studies),
        simplex_check(studies, 1000 if quick else 30_000),
    ]
    keys = ("name", "start", "dt", "error", "slope", "interval")
    return Evidence(checks, {"studies": [{key: row[key] for key in keys} for row in studies]})


def problems(count: int) -> list[Problem]:
    """Return random problems of both kinds."""
    found: list[Problem] = []
    for seed in range(count):
        found += [ridge_problem(seed, 20, 2, 1e-2), softmax_problem(seed, 20, 2, 3, 0.1)]
    return found


# ---------------------------------------------------------------------- plain formulas
def plain_field(problem: Problem) -> Plain:
    """Return ``(theta, w) -> (theta', (log w)')`` from the data alone."""
    formulas = _softmax(problem) if isinstance(problem, SoftmaxRegression) else _squares(problem)

    def field(theta: Array, w: Array) -> tuple[np.ndarray, np.ndarray]:
        gamma, H, slope = formulas(theta, w)
        a = gamma @ np.linalg.solve(H + problem.ridge * np.eye(theta.size), slope)
        return -ALPHA * (w @ gamma + problem.ridge * theta), BETA * (a - w @ a)

    return field


def _squares(q: Any) -> Callable[[Array, Array], tuple[np.ndarray, ...]]:
    def formulas(theta: Array, w: Array) -> tuple[np.ndarray, ...]:
        gamma = (q.X @ theta - q.y)[:, None] * q.X
        slope = q.X_val.T @ (q.X_val @ theta - q.y_val) / q.y_val.size
        return gamma, (q.X.T * w) @ q.X, slope

    return formulas


def _softmax(q: Any) -> Callable[[Array, Array], tuple[np.ndarray, ...]]:
    classes = q.num_classes

    def rows(X: Array, labels: Array, theta: Array) -> tuple[np.ndarray, np.ndarray]:
        z = X @ theta.reshape(-1, classes)
        prob = np.exp(z - z.max(axis=1, keepdims=True))
        prob /= prob.sum(axis=1, keepdims=True)
        error = prob - np.eye(classes)[labels]
        return prob, np.einsum("if,ic->ifc", X, error).reshape(len(X), -1)

    def formulas(theta: Array, w: Array) -> tuple[np.ndarray, ...]:
        prob, gamma = rows(q.X, q.labels, theta)
        spread = prob[:, :, None] * (np.eye(classes) - prob[:, None, :])
        H = np.einsum("i,if,ig,icd->fcgd", w, q.X, q.X, spread).reshape(theta.size, -1)
        return gamma, H, rows(q.X_val, q.labels_val, theta)[1].mean(axis=0)

    return formulas


def reference(field: Plain, theta0: Array, w0: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (theta, w) at time 1 and the constant c of the error of Euler's method.

    DOP853 at 1e-12 on z' = f(z) together with e' = f'(z) e - f'(z) f(z) / 2, whose solution is the
    leading error over dt (Hairer, Norsett and Wanner, II.8).
    """
    p = theta0.size

    def f(z: Array) -> np.ndarray:
        w = np.exp(z[p:] - z[p:].max())
        return np.concatenate(field(z[:p], w / w.sum()))

    def both(_: float, y: Array) -> np.ndarray:
        z, e = np.split(y, 2)
        slope = f(z)
        along, size = e - 0.5 * slope, 1e-5
        return np.concatenate([slope, (f(z + size * along) - f(z - size * along)) / (2.0 * size)])

    z0 = np.concatenate([theta0, np.log(w0)])
    run = solve_ivp(
        both, (0.0, TIME), np.concatenate([z0, 0.0 * z0]), "DOP853", rtol=1e-12, atol=1e-13
    )
    z, e = np.split(run.y[:, -1], 2)
    w = np.exp(z[p:] - z[p:].max())
    w /= w.sum()
    change = w * (e[p:] - w @ e[p:])
    return np.concatenate([z[:p], w]), np.concatenate([e[:p], change])


# ---------------------------------------------------------------------- measurement
def study(problem: Problem, start: str, halvings: int) -> dict[str, Any]:
    """Return errors at time 1 of runs with 16, 32, ... steps, and the regression of their order."""
    rng = np.random.default_rng(problem.num_samples)
    n, p = problem.num_samples, problem.num_params
    w0 = np.full(n, 1.0 / n) if start == "uniform" else rng.dirichlet(np.full(n, 2.0))
    theta0 = 0.5 * rng.standard_normal(p)
    exact, constant = reference(plain_field(problem), theta0, w0)
    counts = STEPS * 2 ** np.arange(halvings + 1)
    ends = np.array([end_of_run(problem, theta0, w0, int(count)) for count in counts])
    error = np.linalg.norm(ends - exact, axis=1)
    fit = linregress(np.log(TIME / counts[2:]), np.log(error[2:]))
    half = fit.stderr * student.ppf(0.975, counts.size - 4)
    return {
        "problem": problem, "name": type(problem).__name__, "start": start, "dt": TIME / counts,
        "error": error, "slope": fit.slope, "interval": [fit.slope - half, fit.slope + half],
        "limit": romberg(ends) - exact, "constant": (ends[-1] - exact) * counts[-1] - constant,
        "size": float(np.linalg.norm(constant)), "theta0": theta0, "w0": w0, "end": ends[0],
    }  # fmt: skip


def end_of_run(problem: Problem, theta0: Array, w0: Array, count: int) -> np.ndarray:
    """Return (theta, w) after ``count`` steps of the algorithm."""
    dt = TIME / count
    method = methods.Joint(rho=ALPHA * dt, eta=BETA * dt, tol=1e-12)
    run = run_method(problem, method, count, num_saved=2, theta0=theta0, w0=w0)
    return np.concatenate([run.theta[-1], run.w[-1]])


def romberg(rows: Array) -> np.ndarray:
    """Return the limit dt -> 0 of rows at halved steps, errors in powers of dt."""
    for k in range(1, 4):
        rows = (2.0**k * rows[1:] - rows[:-1]) / (2.0**k - 1.0)
    return np.asarray(rows[-1])


def order_checks(studies: list[dict[str, Any]]) -> list[Check]:
    """Order, leading constant, and the limit itself."""
    widest = max(row["interval"][1] - row["interval"][0] for row in studies)
    return [
        at_most(
            f"|order - 1| in {len(studies)} studies (ridge and softmax, uniform and random w(0); "
            f"95% intervals at most {widest:.1e} wide)",
            max(abs(row["slope"] - 1.0) for row in studies), 2e-2,
            "Euler's order; the next term shifts a slope by O(dt) at dt <= 1/64",
        ),
        at_most(
            "limit dt -> 0, by Richardson extrapolation, against DOP853 on plain formulas",
            max(np.abs(row["limit"]).max() for row in studies), 1e-8,
            "terms of order dt^4 left after three extrapolations",
        ),
        at_most(
            "error over dt at the finest step against the variational equation (relative)",
            max(np.linalg.norm(row["constant"]) / row["size"] for row in studies), 1e-2,
            "the next term, O(dt) at dt <= 1/1024",
        ),
    ]  # fmt: skip


def sweep_check(studies: list[dict[str, Any]]) -> Check:
    """The sweep engine, and the weights rebuilt from its U, against the driver of methods."""
    worst = 0.0
    for row in studies:
        ds = sweep(
            row["problem"], alpha=ALPHA, beta=BETA, dt=TIME / STEPS, num_steps=STEPS,
            theta0=row["theta0"], w0=row["w0"], keep_weights=True,
        )  # fmt: skip
        found = [ds["w"].values.ravel()]
        if "U" in ds:
            found.append(weights(ds.drop_vars("w"), row["problem"], alpha=ALPHA, beta=BETA))
        for w in found:
            end = np.concatenate([ds["theta"].values.ravel(), w])
            worst = max(worst, float(np.abs(end - row["end"]).max()))
    return at_most(
        f"sweep against run_method after {STEPS} steps", worst, 1e-12,
        f"round-off of {STEPS} steps",
    )  # fmt: skip


def simplex_check(studies: list[dict[str, Any]], steps: int) -> Check:
    """Sums of weights over a long run, in units of what exp and a sum may lose."""
    worst = 0.0
    for row in studies[:4]:
        problem, dt = row["problem"], TIME / STEPS
        method = methods.Joint(rho=ALPHA * dt, eta=BETA * dt)
        run = run_method(problem, method, steps, theta0=row["theta0"], w0=row["w0"], num_saved=101)
        log_w = run.log_w
        w = np.exp(log_w)
        # Rounding of a log-weight is eps |log w| / 2, of the logarithm of the sum eps times it.
        room = EPS * ((w * (2.0 + np.abs(log_w))).sum(axis=1) + np.log2(w.shape[1]) + 1.0)
        worst = max(worst, float((np.abs(w.sum(axis=1) - 1.0) / room).max()))
    return at_most(
        f"|sum w - 1| over {steps} steps, in units of the rounding of log w, exp and the sum",
        worst, 1.0, "every step normalises anew: nothing accumulates",
    )  # fmt: skip
