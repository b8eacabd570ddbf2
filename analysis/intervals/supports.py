"""Proofs that no rest point of the frozen flow has more than p nonzero weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from ...dynamics import Problem, checks
from ...dynamics.types import Array
from .arithmetic import flint, lower, precision
from .enclosure import FrozenBalls
from .proof import PRECISIONS, checked_exact_problem, checked_precisions

__all__ = ["SupportExclusion", "exclude_dense_supports"]


@dataclass(frozen=True)
class SupportExclusion:
    """Which supports of more than p samples were proved to carry no rest point.

    Attributes
    ----------
    num_supports : int
        Supports with more than p samples.
    num_excluded : int
        Those proved to carry no rest point at which H is invertible.
    open : list of tuple of int
        The others: nothing was shown about them.
    gradient_size : float
        Proved lower bound of ``max_a |dF/dtheta_a|``; 0 where it was not shown to be positive.
    smallest_determinant : float
        Proved lower bound of ``|det [Gamma_T, 1]|`` over those T (of p + 1 samples) that served.
    precision : int
        Bits of the last attempt.
    """

    num_supports: int
    num_excluded: int
    open: list[tuple[int, ...]]
    gradient_size: float
    smallest_determinant: float
    precision: int

    @property
    def proved(self) -> bool:
        """Whether every support of more than p samples was excluded."""
        return not self.open

    @property
    def verdict(self) -> str:
        """``"proved"`` or ``"not proved"``."""
        return "proved" if self.proved else "not proved"


def exclude_dense_supports(
    problem: Problem,
    theta: Array,
    *,
    max_supports: int = 10_000,
    precisions: Sequence[int] = PRECISIONS,
    progress: Callable[[float], None] | None = None,
) -> SupportExclusion:
    r"""Prove that the frozen flow at theta has no rest point with more than p nonzero weights.

    .. math::

        [\Gamma_S, \mathbf 1]\begin{pmatrix} v \\ c \end{pmatrix} = 0, \qquad
        H v = \nabla F(\theta) \ne 0 .

    A rest point with support S solves the first system with v different from zero. Where some
    T in S of p + 1 samples has :math:`\det[\Gamma_T, \mathbf 1] \ne 0`, only v = 0 does: S carries
    no rest point, whatever its weights. All supports are enumerated; a determinant counts as
    non-zero only where its ball excludes zero, and so does a component of the gradient. Theory T5.

    Parameters
    ----------
    problem : LeastSquares or SoftmaxRegression
        Float64; its data are taken as the exact values of the floats.
    theta : (p,)
    max_supports : int
        Refuse to enumerate more.
    precisions : sequence of int
        Bits to work with, tried in turn until nothing is left open.
    progress : callable, optional
        Called with the share of the determinants that is done at the precision in force.

    Returns
    -------
    SupportExclusion
        Duplicated samples leave supports open, rightly: any split of their weight is at rest. So do
        softmax losses, whose gradients span fewer than p dimensions.

    Raises
    ------
    ImportError
        Without python-flint (extra ``certify``).
    ValueError, TypeError
        For an argument out of its range, or more supports than ``max_supports``.
    """
    flint("exclude_dense_supports")
    problem = checked_exact_problem(problem, "exclude_dense_supports")
    theta = checks.array("theta", theta, shape=(problem.num_params,))
    limit = checks.integer("max_supports", max_supports, minimum=1)
    n, p = problem.num_samples, problem.num_params
    count = sum(comb(n, k) for k in range(p + 1, n + 1))
    if count > limit:
        raise ValueError(
            f"`max_supports` ({limit}) is below the {count} supports of more than {p} of {n} "
            "samples; raise it or take fewer samples."
        )
    result = None
    for bits in checked_precisions(precisions):
        with precision(bits):
            result = _attempt(problem, theta, bits, progress)
        if result.proved:
            break
    assert result is not None, "at least one precision was tried"
    return result


def _attempt(
    problem: Problem, theta: np.ndarray, bits: int, progress: Callable[[float], None] | None
) -> SupportExclusion:
    """Enumerate all supports at the precision in force."""
    balls = FrozenBalls.of(problem, theta)
    gradient = max(0.0, *(lower(abs(entry)) for entry in balls.target.entries()))
    sizes = _determinants(balls, problem.num_samples, progress) if gradient > 0 else {}
    regular = {T for T, size in sizes.items() if size > 0}
    count, left = 0, []
    for S in _supports(problem.num_samples, problem.num_params):
        count += 1
        if regular.isdisjoint(combinations(S, problem.num_params + 1)):
            left.append(S)
    return SupportExclusion(
        num_supports=count,
        num_excluded=count - len(left),
        open=left,
        gradient_size=gradient,
        smallest_determinant=min((sizes[T] for T in regular), default=0.0),
        precision=bits,
    )


def _supports(n: int, p: int) -> Iterator[tuple[int, ...]]:
    """Return all subsets of more than p of n samples, small ones first."""
    for size in range(p + 1, n + 1):
        yield from combinations(range(n), size)


def _determinants(
    balls: FrozenBalls, n: int, progress: Callable[[float], None] | None
) -> dict[tuple[int, ...], float]:
    """Return proved lower bounds of ``|det [Gamma_T, 1]|`` for all T of p + 1 samples."""
    p, sizes = balls.num_params, {}
    total = comb(n, p + 1)
    for done, T in enumerate(combinations(range(n), p + 1), start=1):
        rows = [[*row, 1] for row in balls.rows(T).tolist()]
        sizes[T] = lower(abs(flint().arb_mat(rows).det()))
        if progress is not None:
            progress(done / total)
    return sizes
