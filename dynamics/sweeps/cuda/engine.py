r"""The CUDA engine of least squares: theta and U per cell, nothing of size n x B.

.. math:: w = \mathrm{softmax}(\log w_0 + \Phi U), \qquad U^+ = U + \eta\,c(\theta, v)
    \quad\text{(theory T8)}.

Cells go through in chunks that fit into the memory, and through their steps in launches of a fifth
of a second. Nothing comes back to the host between saved steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ...features import num_features
from ...problems import LeastSquares
from ..cells import Plan
from ..losses import losses
from .choice import Choice, choose
from .device import Device
from .launches import Launcher
from .memory import MEMORY_SHARE, bytes_per_cell, put_cells, put_shared
from .pace import Pace, flops_per_sample

__all__ = ["run_cuda"]

FLOPS_PER_STEP = 5e10
"""Work of one step of a chunk that no device of today takes half a second for."""


def run_cuda(
    problem: LeastSquares,
    plan: Plan,
    keep_weights: bool,
    thresholds: tuple[float, ...],
    progress: Callable[[float], None] | None,
    device: Device,
    choice: Choice | None = None,
) -> dict[str, np.ndarray]:
    """Run all cells; return arrays ``(B, saves, ...)``, and ``status``, ``last_step`` ``(B,)``.

    Parameters
    ----------
    problem : LeastSquares
        With NumPy arrays; :func:`suits` holds.
    plan : Plan
    keep_weights : bool
    thresholds : tuple of float
    progress : callable, optional
        Called after every launch with the share of the work that is done.
    device : Device
    choice : Choice, optional
        That of :func:`choose` when left out.
    """
    chosen = choice or choose(problem, plan.rho.size, device.num_multiprocessors)
    if chosen is None:
        raise ValueError(f"`problem` must suit the CUDA kernels (see `suits`); got {problem!r}.")
    launcher = Launcher(problem, device, chosen, put_shared(problem, plan, device))
    table: dict[str, np.ndarray] = {}
    size, num_cells = _chunk_size(problem, chosen, keep_weights, device), plan.rho.size
    for start in range(0, num_cells, size):
        part = slice(start, min(start + size, num_cells))

        def report(share: float, part: slice = part) -> None:
            if progress is not None:
                progress((part.start + share * (part.stop - part.start)) / num_cells)

        cells = put_cells(problem, plan, part, chosen.slices, device)
        pace = Pace(flops_per_sample(problem.num_params) * problem.num_samples * _length(part))
        step = 0
        for k, save in enumerate(plan.save_steps):
            while step < save:
                count = min(pace.steps, save - step)
                began = time.perf_counter()
                launcher.march(cells, _length(part), step, count)
                device.synchronize()
                pace.learn(count, time.perf_counter() - began)
                step += count
                report(step / plan.save_steps[-1])
            found = launcher.describe(cells, _length(part), thresholds, keep_weights)
            _enter(table, found, part, k, (num_cells, len(plan.save_steps)))
        report(1.0)
    return _finish(problem, table)


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _chunk_size(problem: LeastSquares, choice: Choice, keep_weights: bool, device: Device) -> int:
    """Return how many cells fit into the memory, with no step of theirs too long."""
    room = MEMORY_SHARE * device.free_bytes
    if keep_weights:
        room /= 2
    work = flops_per_sample(problem.num_params) * problem.num_samples
    return int(max(1, min(room // bytes_per_cell(problem, choice.slices), FLOPS_PER_STEP // work)))


def _enter(
    table: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
    part: slice,
    save: int,
    lead: tuple[int, int],
) -> None:
    """Write the variables of a chunk at a saved step to the table."""
    for name, values in found.items():
        if name in ("status", "last_step"):
            table.setdefault(name, np.empty(lead[0], values.dtype))[part] = values
            continue
        if name not in table:
            table[name] = np.empty((*lead, *values.shape[1:]), values.dtype)
        table[name][part, save] = values


def _finish(problem: LeastSquares, table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the table with the losses, without what the problem has no use for."""
    if problem.clean is None:
        del table["clean_mass"]
    if num_features(problem.num_params) >= problem.num_samples:
        del table["U"]
    theta_star = table.pop("theta_star")
    return {**table, **losses(problem, table["theta"], theta_star)}
