"""Mini-batches in the order of a ``DataLoader``, as a function of the step alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ...dynamics.methods import Method
from ...dynamics.torch_bridge import TorchProblem

__all__ = ["LoaderRows", "describe_batches", "with_batches"]


def with_batches(
    problem: TorchProblem, method: Method, loader: Any, seed: int
) -> tuple[TorchProblem, Method]:
    """Return problem and method such that the method's mini-batches are those of a loader."""
    if loader is None:
        return problem, method
    if not hasattr(method, "batch_size"):
        raise ValueError(
            f"`loader` needs a method with mini-batches (`batch_size`); {type(method).__name__} "
            "has none."
        )
    dealt: Any = copy.copy(problem)
    dealt.sampler = LoaderRows(loader, problem.num_samples, seed)
    batched: Any = replace(cast(Any, method), batch_size=dealt.sampler.size)
    return dealt, batched


def describe_batches(problem: TorchProblem) -> str:
    """Return what is known of the mini-batches in words."""
    rows = problem.sampler
    return repr(rows) if isinstance(rows, LoaderRows) else "drawn by the method"


class LoaderRows:
    """The training samples of each step, as a loader's batch sampler deals them out.

    Only the indices are taken: the samples themselves are those of the problem. Epoch e is dealt
    with torch's generators seeded by (seed, e), so that a resumed run sees the same batches.

    Parameters
    ----------
    loader : torch.utils.data.DataLoader
        Over the training samples of the problem, with batches.
    num_samples : int
    seed : int

    Raises
    ------
    TypeError, ValueError
        For what is no loader of these samples.
    """

    def __init__(self, loader: Any, num_samples: int, seed: int) -> None:
        from torch.utils.data import DataLoader

        if not isinstance(loader, DataLoader):
            raise TypeError(f"`loader` must be a torch DataLoader; got {type(loader).__name__}.")
        if loader.batch_sampler is None or not hasattr(loader.dataset, "__len__"):
            raise ValueError("`loader` must deal batches of a dataset with a length.")
        if len(loader.dataset) != num_samples:
            raise ValueError(
                f"`loader` must run over the {num_samples} training samples of the problem; got "
                f"{len(loader.dataset)}."
            )
        self._loader, self._seed = loader, seed
        self._epoch = -1
        sampler: Any = loader.batch_sampler
        if not hasattr(sampler, "__len__"):
            raise ValueError("`loader` must know how many batches it deals; it has no length.")
        self.per_epoch = len(sampler)
        if self.per_epoch == 0:
            raise ValueError("`loader` must deal at least one batch; got none (`drop_last`?).")
        self.size = len(self(0))
        again = self._deal(0)
        if any(not np.array_equal(a, b) for a, b in zip(self._batches, again, strict=True)):
            raise ValueError(
                "`loader` must draw from torch's random generators: its first epoch was dealt "
                "twice from one seed and differed, so that no run could be resumed."
            )

    def __call__(self, step: int) -> np.ndarray:
        """Return the samples ``(b,)`` of a step."""
        epoch, k = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self._deal(epoch), epoch
        return self._batches[k]

    def __repr__(self) -> str:
        sampler = type(getattr(self._loader.batch_sampler, "sampler", None)).__name__
        return f"{self.per_epoch} batches of {self.size} by {sampler}"

    def _deal(self, epoch: int) -> list[np.ndarray]:
        """Return all batches of an epoch, without touching the global generator."""
        import torch

        sampler: Any = self._loader.batch_sampler
        own: list[Any] = [self._loader.generator, getattr(sampler, "generator", None)]
        own.append(getattr(getattr(sampler, "sampler", None), "generator", None))
        number = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0])
        used = [generator for generator in own if generator is not None]
        states = [generator.get_state() for generator in used]
        try:
            with torch.random.fork_rng(devices=[]):
                for generator in (torch, *used):
                    generator.manual_seed(number)
                return [np.asarray(batch, dtype=np.int64) for batch in sampler]
        finally:
            for generator, state in zip(used, states, strict=True):
                generator.set_state(state)
