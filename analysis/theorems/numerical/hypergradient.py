"""T1 and the identities I1-I3: what the hypergradient is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....dynamics import LeastSquares, Problem, geometries
from ....dynamics.types import Array
from ..certificate import Evidence, at_least, at_most, certifies
from ..instances import ridge_problem, softmax_problem
from .points import random_point, relative_error
from .rationals import ridge_gradient
from .reference import derivative, log_softmax, order_of_convergence

__all__ = [
    "exact_rationals",
    "homogeneity",
    "hypergradient",
    "softmax_weights",
]

STEPS = np.geomspace(0.1, 1e-3, 7)
"""Relative steps of the differences: small enough for their law, far above round-off."""


def _wide() -> LeastSquares:
    """Return a problem with more parameters than a dense factorisation is used for."""
    return ridge_problem(5, n=40, p=520, ridge=0.2)


def _problems(quick: bool) -> dict[str, Problem]:
    """Return the problems to verify on: every way of solving is among them."""
    repeated = ridge_problem(3, n=12, p=3, ridge=0.0)
    twice = np.r_[0:12, 0:4]
    problems: dict[str, Problem] = {
        "ridge": ridge_problem(1, n=30, p=4, ridge=1e-2),
        "n < p": ridge_problem(2, n=5, p=9, ridge=0.1),
        "duplicates, ridge 0": repeated.batch(train=twice),
        "softmax": softmax_problem(4, n=24, d=3, classes=3, ridge=0.05),
        "p > 500 (conjugate gradients)": _wide(),
    }
    if not quick:
        for seed in range(20):
            problems[f"ridge, seed {seed}"] = ridge_problem(seed, n=25, p=1 + seed % 6, ridge=1e-3)
            problems[f"softmax, seed {seed}"] = softmax_problem(
                seed, n=20, d=2, classes=2 + seed % 3, ridge=0.1
            )
    return problems


def _difference_errors(problem: Problem) -> np.ndarray:
    """Return the relative errors of central differences of h against Psi, one per step."""
    _, w, d = random_point(problem)
    psi = problem.hypergradient(problem.theta_star(w), w)
    slopes = np.array(
        [(problem.outer_loss(w + s * d) - problem.outer_loss(w - s * d)) / (2 * s) for s in STEPS]
    )
    return np.abs(slopes - psi @ d) / (np.abs(psi) @ np.abs(d))


def _oracle_error(problem: Problem) -> dict[str, float]:
    """Return the relative error of each oracle against central differences of the one below it."""
    theta, w, _ = random_point(problem, seed=1)
    v = np.random.default_rng(2).standard_normal(problem.num_params)
    v /= np.linalg.norm(v)

    def along(f: Callable[[Array], Array]) -> np.ndarray:
        return derivative(lambda s: f(theta + s * v), 1e-3)

    pairs = {
        "val_grad": (problem.val_grad(theta) @ v, along(problem.val_loss)),
        "train_grad": (problem.train_grad(theta, w) @ v, along(lambda x: problem.train_loss(x, w))),
        "hvp": (problem.hvp(theta, w, v), along(lambda x: problem.train_grad(x, w))),
        "per_sample_jvp": (problem.per_sample_jvp(theta, v), along(problem.per_sample_losses)),
    }
    errors = {name: relative_error(a, b) for name, (a, b) in pairs.items()}
    star = problem.theta_star(w)
    zero = np.linalg.norm(problem.train_grad(star, w))
    errors["theta_star"] = float(zero / np.linalg.norm(problem.train_grad(0.0 * star, w)))
    adjoint, g = problem.adjoint(star, w), problem.val_grad(star)
    g = problem.in_range(g)
    errors["adjoint"] = relative_error(problem.hvp(star, w, adjoint), g)
    return errors


@certifies(
    "T1",
    "Hypergradient",
    r"$\nabla h(w) = \Psi(\theta^\star(w), w) = -J^\top H^{-1}\nabla F$.",
    ("$H$ invertible on the row space", "losses twice differentiable"),
)
def hypergradient(quick: bool) -> Evidence:
    """Central differences of h converge to Psi with the order of the differences."""
    problems = _problems(quick)
    errors = {name: _difference_errors(problem) for name, problem in problems.items()}
    orders = {name: order_of_convergence(STEPS, e) for name, e in errors.items()}
    oracles = {name: _oracle_error(problem) for name, problem in problems.items()}
    worst = {k: max(found[k] for found in oracles.values()) for k in oracles["ridge"]}
    checks = [
        at_most(
            "error of a central difference of h with relative step 1e-3, worst problem",
            max(e[-1] for e in errors.values()), 1e-5,
            "its square, times third derivatives of h of order one on this scale",
        ),
        at_least(
            "order at which the difference converges to Psi, worst problem",
            min(orders.values()), 1.9, "2 for central differences; 0 if Psi were off by a factor",
        ),
    ]  # fmt: skip
    checks += [
        at_most(f"relative error of {oracle}, worst problem", error, 1e-9, _why(oracle))
        for oracle, error in worst.items()
    ]
    return Evidence(
        checks, {"steps": STEPS, "errors": errors, "orders": orders, "oracles": oracles}
    )


def _why(oracle: str) -> str:
    if oracle in ("theta_star", "adjoint"):
        return "residual of the equation that defines it; solved to 1e-12 or round-off"
    return "fourth-order difference with step 1e-3: 1e-12 and round-off over the step"


@certifies(
    "I1",
    "Hypergradient in exact arithmetic",
    r"$\nabla h(w) = \Psi(\theta^\star(w), w)$ for ridge regression, to round-off.",
    ("ridge losses with rational data",),
)
def exact_rationals(quick: bool) -> Evidence:
    """Compare with the derivative of h computed in rational arithmetic, without any step."""
    errors = []
    for seed in range(4 if quick else 30):
        p = 1 + seed % 3
        problem = ridge_problem(seed, n=p + 3, p=p, ridge=0.0 if seed % 2 else 0.125)
        w = np.random.default_rng(seed).dirichlet(np.ones(p + 3))
        exact = ridge_gradient(problem, w)
        condition = float(np.linalg.cond(problem.hessian(np.zeros(p), w)))
        errors.append(relative_error(problem.outer_grad(w), exact) / condition)
    bound = 1e-13
    return Evidence(
        [
            at_most(
                "relative error over the condition number of H, worst problem", max(errors), bound,
                "some hundred roundings of 1.1e-16",
            )
        ],
        {"errors": errors},
    )  # fmt: skip


@certifies(
    "I2",
    "Radial derivative",
    r"$\langle w, \Psi(\theta^\star(w), w)\rangle = \lambda\,\langle\theta^\star, v\rangle$; "
    r"without ridge $h$ is 0-homogeneous.",
    ("$\\theta^\\star(w)$ is the inner minimiser",),
)
def homogeneity(quick: bool) -> Evidence:
    """Compare both sides, and h(s w) with h(w) where the ridge is 0."""
    errors, scaled = {}, {}
    for name, problem in _problems(quick).items():
        _, w, _ = random_point(problem)
        star = problem.theta_star(w)
        psi, v = problem.hypergradient(star, w), problem.adjoint(star, w)
        radial = problem.ridge * float(star @ v)
        errors[name] = abs(float(w @ psi) - radial) / float(w @ np.abs(psi))
        if problem.ridge == 0:
            scaled[name] = abs(float(problem.outer_loss(3.0 * w) / problem.outer_loss(w)) - 1.0)
    checks = [
        at_most(
            "difference of the two sides over <w, |Psi|>, worst problem", max(errors.values()),
            1e-8, "theta_star of softmax is solved to a gradient of 1e-10",
        ),
        at_most("|h(3 w)/h(w) - 1| at ridge 0", max(scaled.values()), 1e-12, "round-off"),
    ]  # fmt: skip
    return Evidence(checks, {"errors": errors, "scaled": scaled})


@certifies(
    "I3",
    "Softmax weights",
    r"For $w = \mathrm{softmax}(s)$, $\nabla_s h = P(w)\Psi$: gradient descent on logits uses the "
    r"metric $P^2$, mirror descent $P$.",
    (),
)
def softmax_weights(quick: bool) -> Evidence:
    """Differences of h in the logits against the steps that the geometries take."""
    errors: dict[str, list[float]] = {"SoftmaxLogits": [], "Mirror": []}
    for problem in _problems(quick).values():
        _, w, _ = random_point(problem)
        psi, logits = problem.outer_grad(w), np.log(w)
        numbers = np.linspace(0, w.size - 1, 6).astype(int)
        exact = np.array([_logit_derivative(problem, logits, i) for i in numbers])
        step = geometries.SoftmaxLogits().step(logits, psi, 1.0) - logits
        errors["SoftmaxLogits"].append(relative_error(-step[numbers], exact))
        # Mirror steps move log w by -eta (Psi - c): the metric P enters through the softmax.
        moved = geometries.Mirror().step(logits, psi, 1e-6) - logits
        errors["Mirror"].append(relative_error(-(w * moved)[numbers] / 1e-6, exact))
    return Evidence(
        [
            at_most(
                f"step of geometries.{name} against differences of h, worst problem",
                max(found), bound, why,
            )
            for (name, found), (bound, why) in zip(
                errors.items(),
                (
                    (2e-7, "fourth-order differences, h solved to 1e-12 over a step of 1e-2"),
                    (1e-5, "an Euler step of 1e-6 differs from the flow by its square"),
                ),
                strict=True,
            )
        ],
        dict(errors),
    )  # fmt: skip


def _logit_derivative(problem: Problem, logits: Array, i: int) -> float:
    """Return dh/ds_i."""
    unit = np.eye(logits.size)[i]
    h = lambda s: problem.outer_loss(np.exp(log_softmax(logits + s * unit)))  # noqa: E731
    return float(derivative(h, 1e-2))
