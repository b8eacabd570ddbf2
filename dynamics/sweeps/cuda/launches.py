"""The launches of a chunk of cells, in terms of their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...problems import LeastSquares
from ...types import Array
from .choice import Choice
from .device import Device
from .memory import MEMORY_SHARE, DeviceCells, Shared, threshold_levels
from .source import WARP, options_for, read_source

__all__ = ["Launcher"]


@dataclass
class Launcher:
    """Steps and descriptions of cells, as launches of kernels on a device."""

    problem: LeastSquares
    device: Device
    choice: Choice
    shared: Shared

    def __post_init__(self) -> None:
        self.source, self.options = read_source(), options_for(self.problem)
        self.n = np.int32(self.problem.num_samples)

    def march(self, cells: DeviceCells, size: int, first: int, steps: int) -> None:
        """Take some steps, in one launch or in two for each."""
        q, c = self.shared, cells
        samples = (q.rows, q.scale, q.constants, self.n)
        ends = (c.status, c.last_step)
        if self.choice.form == "march":
            span = (np.int64(first), np.int64(steps))
            whole = (*samples, c.rates, c.theta, c.U, *ends, *span)
            self._launch("march", (size, 1), self.choice.threads, *whole)
            return
        slices = np.int32(self.choice.slices)
        for step in range(first + 1, first + steps + 1):
            self._sum_slices(cells, size, with_top=False)
            states = (c.parts, slices, c.rates, c.theta, c.U, *ends, np.int64(step))
            self._launch("finish_step", (size, 1), WARP, q.scale, q.constants, *states)

    def describe(
        self, cells: DeviceCells, size: int, thresholds: tuple[float, ...], keep_weights: bool
    ) -> dict[str, np.ndarray]:
        """Return the variables ``(C, ...)`` of the present states, and theta_star."""
        q, c, get = self.shared, cells, self.device.get
        self._sum_slices(cells, size, with_top=True)
        results = (c.parts, np.int32(self.choice.slices), c.reference, c.theta_star)
        self._launch("finish_moments", (size, 1), WARP, q.constants, *results)
        counts = []
        for levels in threshold_levels(thresholds, self.problem.X.dtype):
            sums = (c.reference, q.clean, self.device.put(levels), c.sums, c.counts)
            self._sum_rows("partial_sums", cells, size, *sums)
            counts.append(get(c.counts).sum(axis=1, dtype=np.int64))
        total, sums = get(c.reference)[:, 2], get(c.sums).sum(axis=1)
        out = {
            **_statistics(total, sums),
            "support": np.concatenate(counts, axis=1)[:, : len(thresholds)],
            "theta": get(c.theta),
            "theta_star": get(c.theta_star),
            "U": get(c.U)[:, 0],
            "status": get(c.status).astype(np.int8),
            "last_step": get(c.last_step),
        }
        return out | ({"w": self._weights(cells, size)} if keep_weights else {})

    def _weights(self, cells: DeviceCells, size: int) -> np.ndarray:
        """Return the weights ``(C, n)``, some cells at a time."""
        n, dtype = self.problem.num_samples, self.problem.X.dtype
        room = int(MEMORY_SHARE * self.device.free_bytes) // (n * dtype.itemsize)
        at_once = max(1, min(room, size))
        rows = self.device.empty((at_once, n), dtype)
        out = np.empty((size, n), dtype)
        for first in range(0, size, at_once):
            count = min(at_once, size - first)
            self._sum_rows("weights", cells, count, cells.reference, np.int64(first), rows)
            out[first : first + count] = self.device.get(rows)[:count]
        return out

    def _sum_slices(self, cells: DeviceCells, size: int, *, with_top: bool) -> None:
        self._sum_rows(
            "partial_moments", cells, size, cells.status, np.int32(with_top), cells.parts
        )

    def _sum_rows(self, kernel: str, cells: DeviceCells, size: int, *rest: Any) -> None:
        """Launch a kernel of cells times slices."""
        q = self.shared
        samples = (q.rows, q.scale, q.constants, self.n, cells.theta, cells.U)
        grid = (size, self.choice.slices)
        self._launch(kernel, grid, self.choice.threads, *samples, *rest)

    def _launch(self, kernel: str, grid: tuple[int, int], threads: int, *arguments: Any) -> None:
        self.device.launch(kernel, grid, threads, arguments, self.source, self.options)


def _statistics(total: Array, sums: Array) -> dict[str, np.ndarray]:
    """Return ess, entropy and clean mass from sums relative to the largest weight."""
    with np.errstate(all="ignore"):
        return {
            "ess": total * total / sums[:, 0],
            "entropy": np.log(total) - sums[:, 1] / total,
            "clean_mass": np.minimum(sums[:, 2] / total, total.dtype.type(1)),
        }
