"""A problem of another array library behind NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import array_api_compat.numpy as np_namespace
import numpy as np
from array_api_compat import is_numpy_namespace

from ..namespaces import resolve_namespace, to_numpy
from ..types import Array
from .base import Problem

__all__ = ["Hosted"]


class Hosted(Problem):
    """The same problem, computed where it lives, with NumPy arrays in and out.

    For problems whose data cannot move to NumPy, such as a network: SciPy's integrators and
    everything in :mod:`warmflow.analysis` work on NumPy arrays.

    Parameters
    ----------
    problem : Problem
        Of another array library.
    """

    def __init__(self, problem: Problem) -> None:
        self.origin = problem
        self.xp = np_namespace
        self.num_samples, self.num_params = problem.num_samples, problem.num_params
        self.ridge, self.clean = problem.ridge, problem.clean

    def __repr__(self) -> str:
        return repr(self.origin)

    # ------------------------------------------------------------------ oracles
    def val_grad(self, theta: Array) -> Array:
        return self._call(self.origin.val_grad, theta)

    def train_grad(self, theta: Array, w: Array) -> Array:
        return self._call(self.origin.train_grad, theta, w)

    def hvp(self, theta: Array, w: Array, v: Array) -> Array:
        return self._call(self.origin.hvp, theta, w, v)

    def hvp_at(self, theta: Array, w: Array) -> Callable[[Array], Array]:
        product = self.origin.hvp_at(self._native(theta), self._native(w))
        return lambda v: to_numpy(product(self._native(v)))

    def per_sample_jvp(self, theta: Array, v: Array) -> Array:
        return self._call(self.origin.per_sample_jvp, theta, v)

    def per_sample_losses(self, theta: Array) -> Array:
        return self._call(self.origin.per_sample_losses, theta)

    # ------------------------------------------------------------------ values
    def val_loss(self, theta: Array) -> Array:
        return self._call(self.origin.val_loss, theta)

    def test_loss(self, theta: Array) -> Array:
        return self._call(self.origin.test_loss, theta)

    def test_accuracy(self, theta: Array) -> Array:
        return self._call(self.origin.test_accuracy, theta)

    @property
    def num_val(self) -> int:
        return self.origin.num_val

    @property
    def has_test(self) -> bool:
        return self.origin.has_test

    @property
    def has_accuracy(self) -> bool:
        return self.origin.has_accuracy

    # ------------------------------------------------------------------ exact answers
    @property
    def capabilities(self) -> frozenset[str]:
        return self.origin.capabilities

    @property
    def is_convex(self) -> bool:
        return self.origin.is_convex

    def constants(self) -> tuple[float, float]:
        return self.origin.constants()

    def initial_theta(self, w0: Array) -> Array:
        return self._call(self.origin.initial_theta, w0)

    def theta_star(self, w: Array, guess: Array | None = None) -> Array:
        if guess is None:
            return self._call(self.origin.theta_star, w)
        return self._call(self.origin.theta_star, w, guess)

    def adjoint(
        self, theta: Array, w: Array, tol: float = 1e-12, guess: Array | None = None
    ) -> Array:
        start = None if guess is None else self._native(guess)
        points = self._native(theta), self._native(w)
        return to_numpy(self.origin.adjoint(*points, tol=tol, guess=start))

    def hessian(self, theta: Array, w: Array) -> Array:
        return self._call(self.origin.hessian, theta, w)

    def per_sample_grads(self, theta: Array) -> Array:
        return self._call(self.origin.per_sample_grads, theta)

    def per_sample_hvp(self, theta: Array, v: Array) -> Array:
        return self._call(self.origin.per_sample_hvp, theta, v)

    # ------------------------------------------------------------------ elsewhere
    def batch(self, train: Any = None, val: Any = None) -> Self:
        return type(self)(self.origin.batch(train, val))

    def to(self, dtype: str | None = None, device: Any = None, xp: Any = None) -> Any:
        """Return the problem elsewhere; ``xp`` other than NumPy gives the original's own kind.

        ``device`` is that of the library that computes.
        """
        if xp is not None and not is_numpy_namespace(resolve_namespace(xp)):
            return self.origin.to(dtype=dtype, device=device, xp=xp)
        return type(self)(self.origin.to(dtype=dtype, device=device))

    def fingerprint(self) -> str:
        return self.origin.fingerprint()

    @property
    def dtype(self) -> Any:
        return np.dtype(str(self.origin.dtype).split(".")[-1])

    @property
    def device(self) -> Any:
        return "cpu"

    def _call(self, act: Callable[..., Array], *args: Array) -> np.ndarray:
        """Call a function of the original with NumPy arrays."""
        return to_numpy(act(*(self._native(a) for a in args)))

    def _native(self, a: Array) -> Array:
        """Return a copy in the original's library: no view of reversed or read-only memory."""
        origin = self.origin
        return origin.xp.asarray(np.array(a), dtype=origin.dtype, device=origin.device)
