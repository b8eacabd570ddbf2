r"""The frozen flow at a given theta in balls: its rest points as zeros of a polynomial system.

At frozen theta the per-sample gradients :math:`\nabla l_i`, the per-sample Hessians :math:`A_i` and
:math:`g = \nabla F(\theta)` are constants. A rest point with support S solves

.. math::

    \Big(\sum_{j \in S} w_j A_j + \lambda I\Big) v = g, \qquad
    \Gamma_S v + c\,\mathbf 1 = 0, \qquad \sum_{j \in S} w_j = 1

for :math:`(w_S, v, c)`, of degree two and without an inverse; then :math:`\Psi = -\Gamma v` and
:math:`c = \langle w, \Psi\rangle` (theory T5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...dynamics import LeastSquares, Problem, SoftmaxRegression
from .arithmetic import ball_matrix, flint

__all__ = ["FrozenBalls", "RestPointSystem"]


@dataclass(frozen=True)
class FrozenBalls:
    r"""The constants of the frozen flow, enclosed; the data are the exact values of the floats.

    Attributes
    ----------
    gamma : arb_mat (n, p)
        Rows :math:`\nabla l_i(\theta)`.
    hessians : list of arb_mat (p, p)
        :math:`A_i = \nabla^2 l_i(\theta)`.
    target : arb_mat (p, 1)
        :math:`\nabla F(\theta)`.
    ridge : arb
    """

    gamma: Any
    hessians: list[Any]
    target: Any
    ridge: Any

    @classmethod
    def of(cls, problem: Problem, theta: np.ndarray) -> FrozenBalls:
        """Enclose the constants of a problem at theta ``(p,)``, at the precision in force.

        Raises
        ------
        TypeError
            For a problem that is neither LeastSquares nor SoftmaxRegression.
        """
        ridge = flint().arb(problem.ridge)
        if isinstance(problem, LeastSquares):
            gradients, hessians = _least_squares(problem.X, problem.y, theta)
            validation, _ = _least_squares(problem.X_val, problem.y_val, theta)
        elif isinstance(problem, SoftmaxRegression):
            C = problem.num_classes
            gradients, hessians = _softmax(problem.X, problem.labels, C, theta)
            validation, _ = _softmax(problem.X_val, problem.labels_val, C, theta)
        else:
            raise TypeError(
                "`problem` must be LeastSquares or SoftmaxRegression, whose derivatives are known "
                f"in balls; got {type(problem).__name__}."
            )
        mean = flint().arb(1) / problem.num_val
        target = [mean * sum(column, flint().arb(0)) for column in zip(*validation, strict=True)]
        columns = [[entry] for entry in target]
        return cls(flint().arb_mat(gradients), hessians, flint().arb_mat(columns), ridge)

    @property
    def num_params(self) -> int:
        """Number of parameters, p."""
        return int(self.target.nrows())

    def hessian(self, support: Sequence[int], w: Sequence[Any]) -> Any:
        """Enclose ``H = sum_j w_j A_j + ridge`` for balls w on the support."""
        p = self.num_params
        total = flint().arb_mat(p, p)
        for j, weight in zip(support, w, strict=True):
            total = total + self.hessians[j] * weight
        for a in range(p):
            total[a, a] = total[a, a] + self.ridge
        return total

    def rows(self, samples: Sequence[int]) -> Any:
        """Return the gradients of some samples, ``(k, p)``."""
        p = self.num_params
        entries = [self.gamma[i, a] for i in samples for a in range(p)]
        return flint().arb_mat(len(samples), p, entries)

    def curvatures(self, samples: Sequence[int], v: Any) -> Any:
        """Return the rows ``A_j v`` of some samples, ``(k, p)``."""
        entries = [entry for j in samples for entry in (self.hessians[j] * v).entries()]
        return flint().arb_mat(len(samples), self.num_params, entries)


@dataclass(frozen=True)
class RestPointSystem:
    """The system above for one support; unknowns are the column ``(w_S, v, c)``."""

    balls: FrozenBalls
    support: tuple[int, ...]

    def split(self, z: Any) -> tuple[list[Any], Any, Any]:
        """Return w_S (a list), v (a column) and c."""
        entries, k = z.entries(), len(self.support)
        return entries[:k], flint().arb_mat(len(entries) - k - 1, 1, entries[k:-1]), entries[-1]

    def residual(self, z: Any) -> Any:
        """Enclose the left-hand sides minus the right-hand sides."""
        w, v, c = self.split(z)
        first = self.balls.hessian(self.support, w) * v - self.balls.target
        second = [entry + c for entry in (self.balls.rows(self.support) * v).entries()]
        entries = [*first.entries(), *second, sum(w, flint().arb(0)) - 1]
        return flint().arb_mat(len(entries), 1, entries)

    def jacobian(self, z: Any) -> Any:
        """Enclose the derivative of :meth:`residual`, rows and columns in its order."""
        w, v, _ = self.split(z)
        p, k = self.balls.num_params, len(self.support)
        H, rows = self.balls.hessian(self.support, w), self.balls.rows(self.support)
        K = self.balls.curvatures(self.support, v)
        out = flint().arb_mat(p + k + 1, k + p + 1)
        for a in range(p):
            for j in range(k):
                out[a, j] = K[j, a]
                out[p + j, k + a] = rows[j, a]
            for b in range(p):
                out[a, k + b] = H[a, b]
        for j in range(k):
            out[p + j, k + p] = 1
            out[p + k, j] = 1
        return out


def _least_squares(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Return the gradients ``r_i x_i`` and the Hessians ``x_i x_i^T``."""
    rows, point = ball_matrix(X), ball_matrix(theta)
    residuals = (rows * point - ball_matrix(y)).entries()
    gradients = [[r * x for x in row] for r, row in zip(residuals, rows.tolist(), strict=True)]
    hessians = [flint().arb_mat([[a * b for b in row] for a in row]) for row in rows.tolist()]
    return gradients, hessians


def _softmax(
    X: np.ndarray, labels: np.ndarray, num_classes: int, theta: np.ndarray
) -> tuple[list[Any], list[Any]]:
    r"""Return the gradients and Hessians of the logistic losses, theta in C order.

    They are :math:`x \otimes (\pi - e_y)` and :math:`xx^\top \otimes (\mathrm{diag}\,\pi -
    \pi\pi^\top)`.
    """
    gradients, hessians = [], []
    logits = ball_matrix(X) * ball_matrix(theta.reshape(-1, num_classes))
    for x, z, label in zip(ball_matrix(X).tolist(), logits.tolist(), labels, strict=True):
        # 1 / sum_d exp(z_d - z_c) needs no shift against overflow
        share = [1 / sum(((d - c).exp() for d in z), flint().arb(0)) for c in z]
        error = [s - int(c == label) for c, s in enumerate(share)]
        spread = [[s * (int(c == d) - t) for d, t in enumerate(share)] for c, s in enumerate(share)]
        gradients.append([a * e for a in x for e in error])
        hessians.append(
            flint().arb_mat([[a * b * s for b in x for s in row] for a in x for row in spread])
        )
    return gradients, hessians
