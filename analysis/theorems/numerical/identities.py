"""I4 and I5: what the field is not, and what is special about quadratic losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....dynamics import Problem
from ....dynamics.types import Array
from ..certificate import Check, Evidence, at_least, at_most, certifies
from ..instances import ridge_problem, softmax_problem
from .points import random_point, relative_error
from .reference import derivative, order_of_convergence

__all__ = ["midpoint", "not_a_gradient"]


@certifies(
    "I4",
    "Psi is not a gradient",
    r"At frozen $\theta$, $\partial\Psi_i/\partial w_j = "
    r"\langle\nabla l_i, H^{-1}\nabla^2 l_j\, v\rangle$: of rank at most $p$ and not symmetric, "
    r"also after projecting $\mathbf 1$ out.",
    ("$H$ invertible",),
)
def not_a_gradient(quick: bool) -> Evidence:
    """The Jacobian of Psi in w by differences, against the formula; its rank and asymmetry."""
    problems: list[Any] = [
        ridge_problem(seed, n=15, p=1 + seed % 4, ridge=1e-2 * (seed % 2))
        for seed in range(4 if quick else 40)
    ]
    problems.append(softmax_problem(1, n=15, d=2, classes=3, ridge=0.1))
    errors, tails, skew = [], [], []
    for problem in problems:
        theta, w, _ = random_point(problem)
        numeric = _weight_jacobian(problem, theta, w)
        H = problem.hessian(theta, w)
        v = np.linalg.solve(H, problem.val_grad(theta))
        K = problem.per_sample_hvp(theta, v)
        formula = problem.per_sample_grads(theta) @ np.linalg.solve(H, K.T)
        errors.append(relative_error(formula, numeric))
        singular = np.linalg.svd(numeric, compute_uv=False)
        tails.append(singular[problem.num_params] / singular[0])
        centre = np.eye(w.size) - 1.0 / w.size
        tangent = centre @ numeric @ centre
        skew.append(np.linalg.norm(tangent - tangent.T) / np.linalg.norm(tangent))
    why = "fourth-order differences of a rational function of w"
    return Evidence(
        [
            at_most("formula against differences of Psi, worst problem", max(errors), 1e-7, why),
            at_most("singular value p+1 over the first, worst problem", max(tails), 1e-7, why),
            at_least("relative skew part on the tangent space, least", min(skew), 0.05,
                     "a gradient field would have 0"),
        ],
        {"errors": errors, "tails": tails, "skew": skew},
    )  # fmt: skip


def _weight_jacobian(problem: Problem, theta: Array, w: Array) -> np.ndarray:
    """Return dPsi/dw at frozen theta, ``(n, n)``."""

    def column(j: int) -> np.ndarray:
        unit = np.eye(w.size)[j]
        return derivative(lambda s: problem.hypergradient(theta, w + s * unit), 1e-3 * float(w[j]))

    return np.stack([column(j) for j in range(w.size)], axis=-1)


@certifies(
    "I5",
    "Midpoint rule",
    r"For quadratic losses $l_i(a) - l_i(b) = \langle\nabla l_i(\tfrac{a+b}{2}), a - b\rangle$; "
    r"otherwise the difference is $O(|a-b|^3)$.",
    ("quadratic losses for the identity",),
)
def midpoint(quick: bool) -> Evidence:
    """Both sides for ridge losses; the order of the remainder for softmax."""
    rng = np.random.default_rng(0)
    errors = []
    for seed in range(5 if quick else 50):
        problem = ridge_problem(seed, n=20, p=4, ridge=0.1)
        a, b = rng.standard_normal((2, 4))
        errors.append(relative_error(*_midpoint_sides(problem, a, b)))
    softmax = softmax_problem(0, n=20, d=3, classes=3, ridge=0.1)
    a, direction = rng.standard_normal((2, 9))
    steps = 0.5 ** np.arange(3, 8)
    remainders = []
    for step in steps:
        left, right = _midpoint_sides(softmax, a + step * direction, a)
        remainders.append(float(np.abs(left - right).max()))
    order = order_of_convergence(steps, np.array(remainders))
    checks: list[Check] = [
        at_most("difference of both sides for ridge losses", max(errors), 1e-13, "round-off"),
        at_least("order of the remainder for softmax losses", order, 2.8, "3, from above or below"),
    ]
    return Evidence(checks, {"errors": errors, "steps": steps, "remainders": remainders})


def _midpoint_sides(problem: Problem, a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
    losses = problem.per_sample_losses(a) - problem.per_sample_losses(b)
    return problem.per_sample_jvp(0.5 * (a + b), a - b), losses
