"""Mini-batches: the problem on a subset, and the way between all samples and the subset."""

from __future__ import annotations

from dataclasses import dataclass

from .. import checks
from ..problems import Problem
from ..types import Array
from .base import State, random_rows

__all__ = ["Batch", "check_batch_size", "draw_batch"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A problem on some of its samples; ``rows`` is None where these are all.

    Attributes
    ----------
    problem : Problem
        On the drawn training and validation samples.
    num_samples : int
        n of the whole problem.
    rows : (b,) or None
        The drawn training samples.
    """

    problem: Problem
    num_samples: int
    rows: Array | None

    def weights(self, w: Array) -> Array:
        """Return the weights of the batch ``(..., b)``, scaled so that gradients are unbiased."""
        if self.rows is None:
            return w
        return self.take(w) * (self.num_samples / self.rows.shape[0])

    def field(self, g: Array) -> Array:
        """Return the unbiased estimate ``(..., n)`` of a field that is known on the batch."""
        if self.rows is None:
            return g
        return self.spread(g) * (self.num_samples / self.rows.shape[0])

    def take(self, a: Array) -> Array:
        """Return the entries ``(..., b)`` of ``a (..., n)`` in the batch."""
        return a if self.rows is None else self.problem.xp.take(a, self.rows, axis=-1)

    def spread(self, a: Array) -> Array:
        """Return ``(..., n)`` with the entries of ``a (..., b)`` in their places, 0 elsewhere."""
        if self.rows is None:
            return a
        xp = self.problem.xp
        place = xp.arange(self.num_samples, device=a.device)[None, :] == self.rows[:, None]
        return a @ xp.astype(place, a.dtype)


def check_batch_size(value: int | None) -> None:
    """Check the number of samples of a mini-batch; None means all of them."""
    if value is not None:
        checks.integer("batch_size", value, minimum=1)


def draw_batch(
    problem: Problem, state: State, batch_size: int | None, *, all_val: bool = False
) -> Batch:
    """Return this step's mini-batch, a function of seed and step alone.

    ``batch_size`` training samples, and as many validation samples unless ``all_val``, are drawn
    without replacement (at most all of them); everything when it is None. The problem's
    ``sampler``, where it has one, chooses the training samples.
    """
    n = problem.num_samples
    if batch_size is None:
        return Batch(problem=problem, num_samples=n, rows=None)
    if problem.sampler is not None:
        train = problem.sampler(state.step)
    else:
        train = random_rows(state, n, min(batch_size, n), stream=0)
    val = None
    if not all_val:
        val = random_rows(state, problem.num_val, min(batch_size, problem.num_val), stream=1)
    rows = problem.xp.asarray(train, device=problem.device)
    return Batch(problem=problem.batch(train=train, val=val), num_samples=n, rows=rows)
