r"""Where stability is asked for: a checked point, and the matrices of its linearisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...dynamics import LeastSquares, Problem, checks
from ...dynamics.types import Array
from ..optimality import checked_problem, checked_weights

__all__ = ["SolvedPoint", "checked_point", "checked_state", "solved_point"]


@dataclass(frozen=True)
class SolvedPoint:
    r"""The matrices that decide the stability of a solved point, all ``(p, p)``.

    Attributes
    ----------
    H : (p, p)
        Inner Hessian.
    C : (p, p)
        Covariance :math:`J P(w) J^\top` of the per-sample gradients under the weights.
    B : (p, p)
        Hessian of F.
    """

    H: np.ndarray
    C: np.ndarray
    B: np.ndarray

    @property
    def N(self) -> np.ndarray:
        r"""The restoring matrix :math:`C H^{-1}\nabla^2 F`, ``(p, p)``."""
        return self.C @ np.linalg.solve(self.H, self.B)


def checked_point(
    problem: Any, theta: Array, w: Array, who: str
) -> tuple[LeastSquares, np.ndarray, np.ndarray]:
    """Return problem, theta ``(p,)`` and normalised weights ``(n,)``, or raise."""
    if not isinstance(problem, LeastSquares):
        checked_problem(problem, who)
        raise TypeError(f"`problem` must be LeastSquares for {who}; got {type(problem).__name__}.")
    _, theta, w = checked_state(problem, theta, w, who)
    return problem, theta, w


def checked_state(
    problem: Any, theta: Array, w: Array, who: str
) -> tuple[Problem, np.ndarray, np.ndarray]:
    """Return any problem, theta ``(p,)`` and normalised weights ``(n,)``, or raise."""
    problem = checked_problem(problem, who)
    theta = checks.array("theta", theta, shape=(problem.num_params,))
    w = checks.array("w", w, shape=(problem.num_samples,))
    return problem, theta, checked_weights(problem, w)


def solved_point(problem: Any, theta: Array, w: Array, who: str, tol: float = 1e-6) -> SolvedPoint:
    """Return the matrices of a solved point; raise where ``grad F`` or ``grad G`` is not zero.

    Both are compared with the sizes of the terms that cancel in them.
    """
    problem, theta, w = checked_point(problem, theta, w, who)
    outer, inner = _term_sizes(problem, theta, w)
    rule = "`theta` must solve grad F(theta) = 0"
    _refuse(rule, np.linalg.norm(problem.val_grad(theta)), tol * outer)
    rule = "`w` must solve grad_theta G(theta, w) = 0"
    _refuse(rule, np.linalg.norm(problem.train_grad(theta, w)), tol * inner)
    gamma = problem.per_sample_grads(theta)
    centred = gamma - w @ gamma
    H = problem.hessian(theta, w)
    smallest = np.linalg.eigvalsh(H)
    if smallest[0] <= H.shape[0] * np.finfo(np.float64).eps * smallest[-1]:
        raise ValueError(
            f"`w` must give a positive definite inner Hessian; got eigenvalues "
            f"{smallest[0]:.1e} ... {smallest[-1]:.1e}: raise `ridge`."
        )
    return SolvedPoint(H, (centred.T * w) @ centred, problem.val_hessian)


def _term_sizes(problem: LeastSquares, theta: Array, w: Array) -> tuple[float, float]:
    """Return the sums of the sizes of the terms of grad F and of grad G."""

    def size(X: Array, y: Array) -> np.ndarray:
        return np.asarray((np.abs(X @ theta) + np.abs(y)) * np.linalg.norm(X, axis=1))

    outer = size(problem.X_val, problem.y_val).mean()
    inner = w @ size(problem.X, problem.y) + problem.ridge * np.linalg.norm(theta)
    return float(outer), float(inner)


def _refuse(rule: str, size: Any, bound: Any) -> None:
    if size > bound:
        raise ValueError(f"{rule} up to {bound:.1e}; got a gradient of {size:.1e}.")
