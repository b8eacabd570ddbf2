"""Several lower problems that share the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from ..types import Array
from .base import Problem

__all__ = ["MultiProblem"]


class MultiProblem(Problem):
    r"""B lower problems with parameters :math:`\theta^b` and one weight vector w.

    .. math::

        G(\theta, w) = \sum_b G_b(\theta^b, w), \qquad F(\theta) = \tfrac1B\sum_b F_b(\theta^b),
        \qquad \Psi = \tfrac1B\sum_b \Psi_b .

    theta is the concatenation of the blocks, in order; H is block diagonal. A per-sample loss is
    the sum of the blocks' losses of that sample.

    Parameters
    ----------
    problems : sequence of Problem
        At least one; all with the same number of training samples, dtype and array library.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        if isinstance(problems, Problem) or not isinstance(problems, Iterable):
            kind = type(problems).__name__
            raise TypeError(f"`problems` must be a sequence of problems; got {kind}.")
        self.problems = tuple(problems)
        if not self.problems:
            raise ValueError("`problems` must hold at least one problem; got none.")
        for k, part in enumerate(self.problems):
            if not isinstance(part, Problem):
                raise TypeError(f"`problems` must hold problems; got {type(part).__name__} at {k}.")
        first = self.problems[0]
        for k, part in enumerate(self.problems):
            if part.num_samples != first.num_samples:
                raise ValueError(
                    "`problems` must share their training samples; got "
                    f"{first.num_samples} samples at 0 and {part.num_samples} at {k}."
                )
            if part.xp is not first.xp or part.dtype != first.dtype:
                raise ValueError(
                    f"`problems` must share array library and dtype; {k} differs from 0."
                )
        self.xp, self.clean = first.xp, first.clean
        self.num_samples = first.num_samples
        self.ridge = min(part.ridge for part in self.problems)
        sizes = [part.num_params for part in self.problems]
        self.num_params = sum(sizes)
        ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
        self.blocks = tuple(slice(end - size, end) for end, size in zip(ends, sizes, strict=True))

    def __repr__(self) -> str:
        return f"MultiProblem({list(self.problems)!r})"

    def split(self, theta: Array) -> list[Array]:
        """Return the blocks of theta, views of shape ``(..., p_b)``."""
        return [theta[..., block] for block in self.blocks]

    # ------------------------------------------------------------------ oracles
    def val_grad(self, theta: Array) -> Array:
        parts = [q.val_grad(t) for q, t in zip(self.problems, self.split(theta), strict=True)]
        return self.xp.concat(parts, axis=-1) / len(parts)

    def train_grad(self, theta: Array, w: Array) -> Array:
        parts = [q.train_grad(t, w) for q, t in zip(self.problems, self.split(theta), strict=True)]
        return self.xp.concat(parts, axis=-1)

    def hvp(self, theta: Array, w: Array, v: Array) -> Array:
        pairs = zip(self.problems, self.split(theta), self.split(v), strict=True)
        return self.xp.concat([q.hvp(t, w, u) for q, t, u in pairs], axis=-1)

    def per_sample_jvp(self, theta: Array, v: Array) -> Array:
        pairs = zip(self.problems, self.split(theta), self.split(v), strict=True)
        return _total([q.per_sample_jvp(t, u) for q, t, u in pairs])

    def per_sample_losses(self, theta: Array) -> Array:
        pairs = zip(self.problems, self.split(theta), strict=True)
        return _total([q.per_sample_losses(t) for q, t in pairs])

    # ------------------------------------------------------------------ values and exact answers
    def val_loss(self, theta: Array) -> Array:
        pairs = zip(self.problems, self.split(theta), strict=True)
        return _total([q.val_loss(t) for q, t in pairs]) / len(self.problems)

    def train_loss(self, theta: Array, w: Array) -> Array:
        pairs = zip(self.problems, self.split(theta), strict=True)
        return _total([q.train_loss(t, w) for q, t in pairs])

    def test_loss(self, theta: Array) -> Array:
        pairs = zip(self.problems, self.split(theta), strict=True)
        return _total([q.test_loss(t) for q, t in pairs]) / len(self.problems)

    @property
    def num_val(self) -> int:
        """The smallest m of the blocks: indices below it are valid in all of them."""
        return min(part.num_val for part in self.problems)

    @property
    def has_test(self) -> bool:
        return all(part.has_test for part in self.problems)

    @property
    def capabilities(self) -> frozenset[str]:
        shared = frozenset.intersection(*(part.capabilities for part in self.problems))
        return shared - {"hessian"}

    def theta_star(self, w: Array, guess: Array | None = None) -> Array:
        guesses = [None] * len(self.problems) if guess is None else self.split(guess)
        parts = [q.theta_star(w, g) for q, g in zip(self.problems, guesses, strict=True)]
        lead = np.broadcast_shapes(*(tuple(part.shape[:-1]) for part in parts))
        whole = [self.xp.broadcast_to(part, (*lead, part.shape[-1])) for part in parts]
        return self.xp.concat(whole, axis=-1)

    def in_range(self, b: Array) -> Array:
        parts = [q.in_range(part) for q, part in zip(self.problems, self.split(b), strict=True)]
        return self.xp.concat(parts, axis=-1)

    def initial_theta(self, w0: Array) -> Array:
        return self.xp.concat([part.initial_theta(w0) for part in self.problems], axis=-1)

    def adjoint(
        self, theta: Array, w: Array, tol: float = 1e-12, guess: Array | None = None
    ) -> Array:
        guesses = [None] * len(self.problems) if guess is None else self.split(guess)
        triples = zip(self.problems, self.split(theta), guesses, strict=True)
        parts = [q.adjoint(t, w, tol=tol, guess=g) for q, t, g in triples]
        return self.xp.concat(parts, axis=-1) / len(parts)

    def constants(self) -> tuple[float, float]:
        pairs = [part.constants() for part in self.problems]
        return min(mu for mu, _ in pairs), max(L for _, L in pairs)

    # ------------------------------------------------------------------ elsewhere
    def batch(self, train: Any = None, val: Any = None) -> Self:
        return type(self)([part.batch(train, val) for part in self.problems])

    def to(self, dtype: str | None = None, device: Any = None, xp: Any = None) -> Self:
        return type(self)([part.to(dtype=dtype, device=device, xp=xp) for part in self.problems])

    def with_ridge(self, ridge: float) -> Self:
        return type(self)([part.with_ridge(ridge) for part in self.problems])

    def fingerprint(self) -> str:
        parts = " ".join(part.fingerprint() for part in self.problems)
        return hashlib.sha256(parts.encode()).hexdigest()

    @property
    def dtype(self) -> Any:
        return self.problems[0].dtype

    @property
    def device(self) -> Any:
        return self.problems[0].device


def _total(parts: list[Array]) -> Array:
    """Return the sum of arrays of one shape."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
