"""Ridge regression, the problem with everything in closed form."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, Self

import array_api_compat.numpy as np_namespace
import numpy as np

from .. import checks
from ..linalg import apply_last, cg
from ..namespaces import to_numpy
from ..status import ConvergenceError
from ..types import Array
from .base import DENSE_LIMIT, Problem
from .data import check_test, largest_row, subset

__all__ = ["LeastSquares"]


class LeastSquares(Problem):
    r"""Weighted ridge regression.

    .. math::

        l_i(\theta) = \tfrac12 (x_i\cdot\theta - y_i)^2, \qquad
        H(w) = X^\top \mathrm{diag}(w) X + \lambda I, \qquad
        \theta^\star(w) = H(w)^{-1} X^\top \mathrm{diag}(w)\, y.

    The ridge stays outside the weighted sum. With ridge 0 and rows that do not span, the solution
    of minimum norm is meant, and the adjoint is taken in the row space.

    Parameters
    ----------
    X, y : (n, p), (n,)
        Training samples. No intercept is added: append a constant column for one.
    X_val, y_val : (m, p), (m,)
        Samples of the target law.
    ridge : float
        :math:`\lambda \ge 0`.
    test : ((k, p), (k,)), optional
        An independent test set, for reports only.
    clean : (n,) bool, optional
        Which training samples are known to be clean, for reports only.

    Raises
    ------
    ValueError, TypeError
        For wrong shapes, non-finite or non-numeric values, or a negative ridge.
    """

    _arrays: ClassVar[tuple[str, ...]] = ("X", "y", "X_val", "y_val", "X_test", "y_test")

    def __init__(
        self,
        X: Any,
        y: Any,
        X_val: Any,
        y_val: Any,
        ridge: float = 1e-3,
        test: tuple[Any, Any] | None = None,
        clean: Any = None,
    ) -> None:
        self.xp = np_namespace
        self.X = checks.data("X", X, shape=(None, None))
        self.num_samples, self.num_params = self.X.shape
        self.y = checks.data("y", y, shape=(self.num_samples,))
        self.X_val = checks.data("X_val", X_val, shape=(None, self.num_params))
        self.y_val = checks.data("y_val", y_val, shape=(self.X_val.shape[0],))
        self.ridge = checks.nonnegative("ridge", ridge)
        self.X_test, self.y_test = None, None
        if test is not None:
            X_test, y_test = check_test(test)
            self.X_test = checks.data("test[0]", X_test, shape=(None, self.num_params))
            self.y_test = checks.data("test[1]", y_test, shape=(self.X_test.shape[0],))
        self.clean = None if clean is None else checks.mask("clean", clean, length=self.num_samples)

    def __repr__(self) -> str:
        return (
            f"LeastSquares(n={self.num_samples}, p={self.num_params}, m={self.X_val.shape[0]}, "
            f"ridge={self.ridge:g})"
        )

    # ------------------------------------------------------------------ oracles
    def residuals(self, theta: Array) -> Array:
        r"""Return :math:`r_i = x_i\cdot\theta - y_i`, shape ``(..., n)``."""
        return apply_last(theta, self.X.T) - self.y

    def val_grad(self, theta: Array) -> Array:
        r = apply_last(theta, self.X_val.T) - self.y_val
        return apply_last(r, self.X_val) / self.X_val.shape[0]

    def train_grad(self, theta: Array, w: Array) -> Array:
        return apply_last(w * self.residuals(theta), self.X) + self.ridge * theta

    def hvp(self, theta: Array, w: Array, v: Array) -> Array:
        out = apply_last(w * apply_last(v, self.X.T), self.X) + self.ridge * v
        return self._spread(out, theta)

    def per_sample_jvp(self, theta: Array, v: Array) -> Array:
        return self.residuals(theta) * apply_last(v, self.X.T)

    def per_sample_losses(self, theta: Array) -> Array:
        return 0.5 * self.residuals(theta) ** 2

    # ------------------------------------------------------------------ values
    def val_loss(self, theta: Array) -> Array:
        return self._risk(theta, self.X_val, self.y_val)

    def test_loss(self, theta: Array) -> Array:
        if self.X_test is None:
            return super().test_loss(theta)
        return self._risk(theta, self.X_test, self.y_test)

    @property
    def num_val(self) -> int:
        return self.X_val.shape[0]

    @property
    def has_test(self) -> bool:
        return self.X_test is not None

    def _risk(self, theta: Array, X: Array, y: Array) -> Array:
        r = apply_last(theta, X.T) - y
        return 0.5 * self.xp.mean(r * r, axis=-1)

    # ------------------------------------------------------------------ exact answers
    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"theta_star", "hessian", "constants"})

    def hessian(self, theta: Array, w: Array) -> Array:
        xp = self.xp
        H = xp.matmul(self.X.T * w[..., None, :], self.X) + self.ridge * self._identity
        lead = np.broadcast_shapes(tuple(theta.shape[:-1]), tuple(w.shape[:-1]))
        return xp.broadcast_to(H, (*lead, *H.shape[-2:]))

    def theta_star(self, w: Array, guess: Array | None = None) -> Array:
        target = apply_last(w * self.y, self.X)
        if self.num_params <= DENSE_LIMIT:
            return self.solve(self.hessian(target, w), target)
        result = cg(
            lambda v: self.hvp(v, w, v),
            target,
            guess=guess,
            tol=max(1e-13, 10.0 * float(self.xp.finfo(w.dtype).eps)),
        )
        if not result.converged:
            worst = float(self.xp.max(result.residual))
            raise ConvergenceError(
                f"theta_star stopped at a relative residual of {worst:.1e}; "
                f"raise `ridge` ({self.ridge:g})."
            )
        return result.x

    def constants(self) -> tuple[float, float]:
        """Return ``(ridge, max_i |x_i|^2 + ridge)``: tight, as one sample may hold all weight."""
        return self.ridge, self._largest_row + self.ridge

    @cached_property
    def _largest_row(self) -> float:
        return largest_row(self.X)

    # ------------------------------------------------------------------ per-sample matrices
    def per_sample_grads(self, theta: Array) -> Array:
        r"""Return :math:`\Gamma = J^\top`, rows :math:`r_i x_i`, shape ``(..., n, p)``."""
        return self.residuals(theta)[..., None] * self.X

    def per_sample_hvp(self, theta: Array, v: Array) -> Array:
        r"""Return the rows :math:`\nabla^2 l_i\, v = (x_i\cdot v) x_i`, shape ``(..., n, p)``."""
        return self._spread(apply_last(v, self.X.T), theta)[..., None] * self.X

    @cached_property
    def val_hessian(self) -> Array:
        r"""The constant :math:`\nabla^2 F = X_v^\top X_v / m`, shape ``(p, p)``."""
        return self.X_val.T @ self.X_val / self.X_val.shape[0]

    @cached_property
    def val_target(self) -> Array:
        r"""The constant :math:`X_v^\top y_v / m`, with grad F = val_hessian theta - val_target."""
        return self.X_val.T @ self.y_val / self.X_val.shape[0]

    @cached_property
    def row_space(self) -> Array | None:
        """An orthonormal basis ``(p, r)`` of the row space of X if ridge = 0 and r < p, else None.

        For strictly positive weights the null space of H is that of X, so that the pseudo-inverse
        of H is a plain inverse in these coordinates. The rank is that of X with columns of unit
        length: units of features do not matter.
        """
        if self.ridge > 0:
            return None
        X = to_numpy(self.X)
        length = np.linalg.norm(X, axis=0)
        singular = np.linalg.svd(X / np.where(length > 0, length, 1.0), compute_uv=False)
        rank = int((singular > max(X.shape) * np.finfo(X.dtype).eps * singular[0]).sum())
        if rank == self.num_params:
            return None
        rows = np.linalg.svd(X, full_matrices=False)[2]
        return self.xp.asarray(np.ascontiguousarray(rows[:rank].T), device=self.device)

    def solve_columns(self, H: Array, B: Array) -> Array:
        Q = self.row_space
        if Q is None:
            return super().solve_columns(H, B)
        if Q.shape[1] == 0:  # all features are zero
            return self.xp.zeros_like(H[..., :1]) * B
        return Q @ super().solve_columns(Q.T @ H @ Q, Q.T @ B)

    def in_range(self, b: Array) -> Array:
        Q = self.row_space
        if Q is None:
            return b
        return self.xp.zeros_like(b) if Q.shape[1] == 0 else apply_last(apply_last(b, Q), Q.T)

    @cached_property
    def _identity(self) -> Array:
        return self.xp.eye(self.num_params, dtype=self.dtype, device=self.device)

    # ------------------------------------------------------------------ elsewhere
    def batch(self, train: Any = None, val: Any = None) -> Self:
        return subset(
            self, train=("X", "y"), train_index=train, val=("X_val", "y_val"), val_index=val
        )

    def _spread(self, out: Array, theta: Array) -> Array:
        """Give ``out`` the leading axes of ``theta`` too."""
        lead = np.broadcast_shapes(tuple(out.shape[:-1]), tuple(theta.shape[:-1]))
        return (
            out
            if lead == tuple(out.shape[:-1])
            else self.xp.broadcast_to(out, (*lead, out.shape[-1]))
        )
