r"""Mixtures of quadratics: the bilevel problem with a chosen condition number and a known minimum.

.. math::

    l_i(\theta) = \tfrac12 (\theta - c_i)^\top A\,(\theta - c_i), \qquad
    F(\theta) = \tfrac12 |\theta - t|^2, \qquad
    \theta^\star(w) = \sum_i w_i c_i, \qquad
    h(w) = \tfrac12 \Big|\sum_i w_i c_i - t\Big|^2 .

H = A for all weights, and h is convex: its minimiser is put where it is wanted, by the choice of t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import array_api_compat.numpy as np_namespace
import numpy as np

from ...dynamics.problems import Problem
from ...dynamics.types import Array
from ..data import Data
from ..streams import stream

__all__ = ["Mixture", "QuadraticProblem", "Target"]

Target = Literal["inside", "edge", "outside"]


class QuadraticProblem(Problem):
    """The problem of centres ``(n, p)``, curvature A ``(p, p)`` and target ``(p,)``."""

    _arrays: ClassVar[tuple[str, ...]] = ("centres", "curvature", "target")

    def __init__(self, centres: Array, curvature: Array, target: Array) -> None:
        self.xp = np_namespace
        self.centres, self.curvature, self.target = centres, curvature, target
        self.inverse = np.linalg.inv(curvature)
        self.num_samples, self.num_params = centres.shape
        self.ridge, self.clean = 0.0, None

    def val_grad(self, theta: Array) -> Array:
        return theta - self.target

    def train_grad(self, theta: Array, w: Array) -> Array:
        return (theta * np.sum(w, axis=-1, keepdims=True) - w @ self.centres) @ self.curvature

    def hvp(self, theta: Array, w: Array, v: Array) -> Array:
        return np.sum(w, axis=-1, keepdims=True) * (v @ self.curvature) + 0.0 * theta

    def per_sample_jvp(self, theta: Array, v: Array) -> Array:
        pulled = v @ self.curvature
        return np.sum(theta * pulled, axis=-1, keepdims=True) - pulled @ self.centres.T

    def per_sample_losses(self, theta: Array) -> Array:
        away = theta[..., None, :] - self.centres
        return 0.5 * np.sum(away * (away @ self.curvature), axis=-1)

    def val_loss(self, theta: Array) -> Array:
        return 0.5 * np.sum((theta - self.target) ** 2, axis=-1)

    @property
    def num_val(self) -> int:
        return 1

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"theta_star", "constants"})

    def theta_star(self, w: Array, guess: Array | None = None) -> Array:
        return w @ self.centres / np.sum(w, axis=-1, keepdims=True)

    def adjoint(
        self, theta: Array, w: Array, tol: float = 1e-12, guess: Array | None = None
    ) -> Array:
        return self.val_grad(theta) @ self.inverse / np.sum(w, axis=-1, keepdims=True)

    def constants(self) -> tuple[float, float]:
        """Return the extreme eigenvalues of A."""
        values = np.linalg.eigvalsh(self.curvature)
        return float(values[0]), float(values[-1])

    def batch(self, train: Any = None, val: Any = None) -> Self:
        raise ValueError("`train` and `val` must be left out: this problem has no mini-batches.")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Settings of a mixture of quadratics; `make` draws it.

    Parameters
    ----------
    target : {"inside", "edge", "outside"}
        Where t lies. ``inside``: the mean of the centres under positive weights w0, so that
        min h = 0. ``outside``: at distance 1 from there, orthogonal to all differences of centres:
        the minimiser is still w0, but grad F does not vanish there. ``edge``: as outside, with the
        last entry of w0 zero and, by construction, no multiplier that would hold it there, so that
        mirror descent converges like a power of the number of steps and no faster.
    kappa : float
        Condition number of A; its eigenvalues are spaced evenly in logarithm from 1/kappa to 1.
    n, p : int
        Numbers of centres and of parameters, n <= p.
    seed : int
        Root seed of the streams ``quadratic/...``.
    """

    target: Target
    kappa: float = 10.0
    n: int = 5
    p: int = 10
    seed: int = 0

    def make(self) -> tuple[QuadraticProblem, Array]:
        """Return the problem and the minimiser w0 ``(n,)`` of h."""
        turn = np.linalg.qr(self._draw("curvature").standard_normal((self.p, self.p)))[0]
        curvature = turn * np.logspace(-np.log10(self.kappa), 0.0, self.p) @ turn.T
        centres = self._draw("centres").standard_normal((self.n, self.p))
        w = self._draw("weights").dirichlet(np.full(self.n, 2.0))
        if self.target == "edge":
            w[-1] = 0.0
            w /= w.sum()
        target = w @ centres
        if self.target != "inside":
            target = target + self._normal(centres)
        return QuadraticProblem(centres, 0.5 * (curvature + curvature.T), target), w

    def data(self) -> Data:
        """Return centres and target as a data set, for the keys of the store."""
        problem, _ = self.make()
        return Data(
            name="quadratic", kind="least-squares", X=problem.centres, y=np.zeros(self.n),
            X_val=problem.target[None], y_val=np.zeros(1),
        )  # fmt: skip

    def _normal(self, centres: Array) -> Array:
        """Return a random unit vector orthogonal to all differences of centres."""
        basis = np.linalg.svd(centres[1:] - centres[0])[2][self.n - 1 :]
        vector: Array = self._draw("normal").standard_normal(len(basis)) @ basis
        return vector / np.linalg.norm(vector)

    def _draw(self, what: str) -> np.random.Generator:
        return stream(self.seed, f"quadratic/{what}")
