"""Multinomial logistic regression: the strongly convex problem without a closed form."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Self

import array_api_compat.numpy as np_namespace
import numpy as np

from .. import checks
from ..types import Array
from .base import Problem
from .data import check_test, largest_row, subset
from .newton import newton_cg

__all__ = ["SoftmaxRegression"]

HESSIAN_LIMIT = 4096
"""Largest p for which a dense Hessian is formed at all (134 MB of float64)."""
GROUP_NUMBERS = 4_000_000
"""Numbers (n p C per cell) of the largest array while Hessians of a group of cells are formed."""


class SoftmaxRegression(Problem):
    r"""Weighted multinomial logistic regression with an l2 penalty.

    With :math:`\Theta` the ``(features, classes)`` matrix behind theta and logits
    :math:`z_i = \Theta^\top x_i`,

    .. math::

        l_i(\theta) = \log\sum_c e^{z_{ic}} - z_{i y_i}, \qquad
        \nabla l_i = x_i \otimes (\pi_i - e_{y_i}), \qquad
        \nabla^2 l_i = x_i x_i^\top \otimes (\mathrm{diag}\,\pi_i - \pi_i\pi_i^\top).

    Parameters
    ----------
    X, labels : (n, features), (n,) int
        Training samples. No intercept is added: append a constant column for one.
    X_val, labels_val : (m, features), (m,) int
        Samples of the target law.
    ridge : float
        :math:`\lambda \ge 0`; positive for ``theta_star`` to exist.
    num_classes : int, optional
        C; one more than the largest label when left out.
    test : ((k, features), (k,) int), optional
        An independent test set, for reports only.
    clean : (n,) bool, optional
        Which training samples are known to be clean, for reports only.

    Notes
    -----
    theta is ``(..., features * classes)`` in C order of (features, classes). Adding one vector to
    all classes changes no probability, so the unpenalised Hessian is singular and the smallest
    eigenvalue of H is exactly the ridge.
    """

    _arrays: ClassVar[tuple[str, ...]] = (
        "X",
        "labels",
        "X_val",
        "labels_val",
        "X_test",
        "labels_test",
    )

    def __init__(
        self,
        X: Any,
        labels: Any,
        X_val: Any,
        labels_val: Any,
        ridge: float = 1e-3,
        num_classes: int | None = None,
        test: tuple[Any, Any] | None = None,
        clean: Any = None,
    ) -> None:
        self.xp = np_namespace
        self.X = checks.data("X", X, shape=(None, None))
        self.num_samples, self.num_features = self.X.shape
        self.X_val = checks.data("X_val", X_val, shape=(None, self.num_features))
        self.labels = checks.labels("labels", labels, length=self.num_samples)
        self.labels_val = checks.labels("labels_val", labels_val, length=self.X_val.shape[0])
        self.ridge = checks.nonnegative("ridge", ridge)
        largest = max(int(self.labels.max()), int(self.labels_val.max()))
        if num_classes is None:
            num_classes = max(2, largest + 1)
        self.num_classes = checks.integer("num_classes", num_classes, minimum=2)
        _check_classes("labels", self.labels, self.num_classes)
        _check_classes("labels_val", self.labels_val, self.num_classes)
        self.X_test, self.labels_test = None, None
        if test is not None:
            X_test, labels_test = check_test(test)
            self.X_test = checks.data("test[0]", X_test, shape=(None, self.num_features))
            self.labels_test = checks.labels("test[1]", labels_test, length=self.X_test.shape[0])
            _check_classes("test[1]", self.labels_test, self.num_classes)
        self.clean = None if clean is None else checks.mask("clean", clean, length=self.num_samples)
        self.num_params = self.num_features * self.num_classes

    def __repr__(self) -> str:
        return (
            f"SoftmaxRegression(n={self.num_samples}, features={self.num_features}, "
            f"classes={self.num_classes}, m={self.X_val.shape[0]}, ridge={self.ridge:g})"
        )

    # ------------------------------------------------------------------ oracles
    def val_grad(self, theta: Array) -> Array:
        lead, (flat,) = self._flatten(theta)
        error = self._probabilities(flat, self.X_val) - self._one_hot_val
        return self._backward(error / self.X_val.shape[0], self.X_val, lead)

    def train_grad(self, theta: Array, w: Array) -> Array:
        lead, (flat, flat_w) = self._flatten(theta, w)
        error = self._probabilities(flat, self.X) - self._one_hot
        return self._backward(error * flat_w.T[:, :, None], self.X, lead) + self.ridge * theta

    def hvp(self, theta: Array, w: Array, v: Array) -> Array:
        return self.hvp_at(theta, w)(v)

    def hvp_at(self, theta: Array, w: Array) -> Callable[[Array], Array]:
        lead_tw, (flat, flat_w) = self._flatten(theta, w)
        prob = self._probabilities(flat, self.X)
        weighted = prob * flat_w.T[:, :, None]

        def product(v: Array) -> Array:
            lead = np.broadcast_shapes(lead_tw, tuple(v.shape[:-1]))
            if lead != lead_tw:
                ones = self.xp.ones((*lead, 1), dtype=v.dtype, device=v.device)
                return self.hvp_at(theta * ones, w * ones)(v * ones)
            v = self.xp.broadcast_to(v, (*lead, v.shape[-1]))
            _, (flat_v,) = self._flatten(v)
            a = self._logits(flat_v, self.X)
            inner = self.xp.sum(prob * a, axis=-1, keepdims=True)
            return self._backward(weighted * (a - inner), self.X, lead) + self.ridge * v

        return product

    def per_sample_jvp(self, theta: Array, v: Array) -> Array:
        lead, (flat, flat_v) = self._flatten(theta, v)
        error = self._probabilities(flat, self.X) - self._one_hot
        out = self.xp.sum(error * self._logits(flat_v, self.X), axis=-1)
        return self.xp.reshape(out.T, (*lead, self.num_samples))

    def per_sample_losses(self, theta: Array) -> Array:
        return self._losses(theta, self.X, self._one_hot)

    # ------------------------------------------------------------------ values
    def val_loss(self, theta: Array) -> Array:
        return self.xp.mean(self._losses(theta, self.X_val, self._one_hot_val), axis=-1)

    def test_loss(self, theta: Array) -> Array:
        if self.X_test is None:
            return super().test_loss(theta)
        one_hot = self._encode(self.labels_test)
        return self.xp.mean(self._losses(theta, self.X_test, one_hot), axis=-1)

    @property
    def num_val(self) -> int:
        return self.X_val.shape[0]

    @property
    def has_test(self) -> bool:
        return self.X_test is not None

    @property
    def has_accuracy(self) -> bool:
        return True

    def accuracy(self, theta: Array, X: Array, labels: Array) -> Array:
        """Return the share of correctly classified rows of X, shape ``(...)``."""
        lead, (flat,) = self._flatten(theta)
        hit = self.xp.argmax(self._logits(flat, X), axis=-1) == labels[:, None]
        share = self.xp.mean(self.xp.astype(hit, theta.dtype), axis=0)
        return self.xp.reshape(share, lead)

    def val_accuracy(self, theta: Array) -> Array:
        """Return the accuracy on the validation samples, shape ``(...)``."""
        return self.accuracy(theta, self.X_val, self.labels_val)

    def test_accuracy(self, theta: Array) -> Array:
        """Return the accuracy on the independent test set, shape ``(...)``."""
        if self.X_test is None:
            super().test_loss(theta)
        return self.accuracy(theta, self.X_test, self.labels_test)

    # ------------------------------------------------------------------ exact answers
    @property
    def capabilities(self) -> frozenset[str]:
        offers = {"constants"}
        if self.ridge > 0:
            offers.add("theta_star")
        if self.num_params <= HESSIAN_LIMIT:
            offers.add("hessian")
        return frozenset(offers)

    def theta_star(self, w: Array, guess: Array | None = None) -> Array:
        r"""Return the minimiser by Newton-CG, to a gradient norm of 1e-10; shape ``(..., p)``.

        Raises
        ------
        ValueError
            With ridge 0, where a minimiser need not exist.
        ConvergenceError
            When the gradient norm cannot be reached.
        """
        self.require(("theta_star",), "theta_star (which needs `ridge` > 0)")
        if guess is None:
            guess = self.xp.zeros(self.num_params, dtype=self.dtype, device=self.device)
        start = guess + self.xp.zeros_like(w[..., :1])
        return newton_cg(self, w, start)

    def hessian(self, theta: Array, w: Array) -> Array:
        self.require(
            ("hessian",), f"hessian (which needs p <= {HESSIAN_LIMIT}, got {self.num_params})"
        )
        lead, (flat, flat_w) = self._flatten(theta, w)
        xp, p = self.xp, self.num_params
        prob = self._probabilities(flat, self.X)
        group = max(1, GROUP_NUMBERS // (self.num_samples * p * self.num_classes))
        cells = prob.shape[1]
        parts = [slice(k, min(k + group, cells)) for k in range(0, cells, group)]
        H = xp.concat([self._hessians(prob[:, part, :], flat_w[part, :]) for part in parts])
        H = H + self.ridge * xp.eye(p, dtype=self.dtype, device=self.device)
        return xp.reshape(H, (*lead, p, p))

    def _hessians(self, prob: Array, w: Array) -> Array:
        """Return the Hessians (b, p, p) without ridge of cells with probabilities (n, b, C)."""
        xp, f, C = self.xp, self.num_features, self.num_classes
        n, b, _ = prob.shape
        eye = xp.eye(C, dtype=self.dtype, device=self.device)
        curvature = prob[:, :, :, None] * eye - prob[:, :, :, None] * prob[:, :, None, :]
        curvature = curvature * w.T[:, :, None, None]
        rows = curvature[:, :, None, :, :] * self.X[:, None, :, None, None]
        block = xp.reshape(self.X.T @ xp.reshape(rows, (n, -1)), (f, b, f, C, C))
        return xp.reshape(xp.permute_dims(block, (1, 0, 3, 2, 4)), (b, f * C, f * C))

    def constants(self) -> tuple[float, float]:
        """Return ``(ridge, max_i |x_i|^2 / 2 + ridge)``, since ``diag(pi) - pi pi' <= I/2``."""
        return self.ridge, 0.5 * self._largest_row + self.ridge

    @cached_property
    def _largest_row(self) -> float:
        return largest_row(self.X)

    def per_sample_hvp(self, theta: Array, v: Array) -> Array:
        r"""Return the rows :math:`\nabla^2 l_i\, v`, shape ``(..., n, p)``."""
        lead, (flat, flat_v) = self._flatten(theta, v)
        prob = self._probabilities(flat, self.X)
        a = self._logits(flat_v, self.X)
        rows = prob * (a - self.xp.sum(prob * a, axis=-1, keepdims=True))
        return self._outer(rows, lead)

    def per_sample_grads(self, theta: Array) -> Array:
        r"""Return :math:`\Gamma = J^\top`, rows :math:`x_i \otimes (\pi_i - e_{y_i})`."""
        lead, (flat,) = self._flatten(theta)
        return self._outer(self._probabilities(flat, self.X) - self._one_hot, lead)

    # ------------------------------------------------------------------ elsewhere
    def batch(self, train: Any = None, val: Any = None) -> Self:
        return subset(
            self,
            train=("X", "labels"),
            train_index=train,
            val=("X_val", "labels_val"),
            val_index=val,
        )

    # ------------------------------------------------------------------ kernels
    # Inside, samples come first and cells second, (n, B, C): every product with X is then one
    # matrix product over all cells.
    def _flatten(self, *arrays: Array) -> tuple[tuple[int, ...], list[Array]]:
        """Broadcast the leading axes of all arrays to one axis of B cells."""
        lead = np.broadcast_shapes(*(tuple(a.shape[:-1]) for a in arrays))
        return lead, [
            self.xp.reshape(self.xp.broadcast_to(a, (*lead, a.shape[-1])), (-1, a.shape[-1]))
            for a in arrays
        ]

    def _logits(self, flat: Array, X: Array) -> Array:
        """Return ``X Theta_b`` for all cells, shape ``(n, B, C)``."""
        f, C = self.num_features, self.num_classes
        columns = self.xp.permute_dims(self.xp.reshape(flat, (-1, f, C)), (1, 0, 2))
        return self.xp.reshape(X @ self.xp.reshape(columns, (f, -1)), (X.shape[0], -1, C))

    def _backward(self, rows: Array, X: Array, lead: tuple[int, ...]) -> Array:
        """Return ``X^T rows`` as parameters, shape ``(*lead, p)``."""
        f, C = self.num_features, self.num_classes
        grad = self.xp.reshape(X.T @ self.xp.reshape(rows, (X.shape[0], -1)), (f, -1, C))
        return self.xp.reshape(self.xp.permute_dims(grad, (1, 0, 2)), (*lead, f * C))

    def _outer(self, rows: Array, lead: tuple[int, ...]) -> Array:
        """Return ``x_i (x) rows_i`` as matrices ``(*lead, n, p)``."""
        products = self.X[None, :, :, None] * self.xp.permute_dims(rows, (1, 0, 2))[:, :, None, :]
        return self.xp.reshape(products, (*lead, self.num_samples, self.num_params))

    def _probabilities(self, flat: Array, X: Array) -> Array:
        """Return the softmax of the logits, shape ``(n, B, C)``."""
        z = self._logits(flat, X)
        z = self.xp.exp(z - self.xp.max(z, axis=-1, keepdims=True))
        return z / self.xp.sum(z, axis=-1, keepdims=True)

    def _losses(self, theta: Array, X: Array, one_hot: Array) -> Array:
        lead, (flat,) = self._flatten(theta)
        z = self._logits(flat, X)
        z = z - self.xp.max(z, axis=-1, keepdims=True)
        out = self.xp.log(self.xp.sum(self.xp.exp(z), axis=-1)) - self.xp.sum(z * one_hot, axis=-1)
        return self.xp.reshape(out.T, (*lead, X.shape[0]))

    def _encode(self, labels: Array) -> Array:
        """Return one-hot rows ``(n, 1, C)``."""
        classes = self.xp.arange(self.num_classes, dtype=labels.dtype, device=self.device)
        return self.xp.astype(labels[:, None] == classes, self.dtype)[:, None, :]

    @cached_property
    def _one_hot(self) -> Array:
        return self._encode(self.labels)

    @cached_property
    def _one_hot_val(self) -> Array:
        return self._encode(self.labels_val)


def _check_classes(name: str, labels: np.ndarray, num_classes: int) -> None:
    """Refuse labels that are not below the number of classes."""
    if labels.max() >= num_classes:
        raise ValueError(
            f"`{name}` must be below `num_classes` ({num_classes}); got {int(labels.max())}."
        )
