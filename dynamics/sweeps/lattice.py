"""The integer lattice between the values of a coarse grid, and what is known on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np

__all__ = ["Box", "Lattice", "Phase", "Point"]

Point = tuple[int, int]
Box = tuple[int, int, int, int]
"""Corners ``(x0, y0, x1, y1)`` of a rectangle; an edge is flat."""


class Phase(IntEnum):
    """Where a cell lies: up to the level, above it, or failed."""

    low = 0
    high = 1
    failed = 2


class Lattice:
    """Positions in both axes, ``unit`` of them between coarse neighbours, even in logarithm.

    Parameters
    ----------
    axes : pair of (a,), (b,)
        Positive and increasing; one of them may hold a single value.
    unit : int
        A power of two.
    failed_is_high : bool
        On which side of the level failed cells count.

    Attributes
    ----------
    phase : dict of Phase
        By point, of the cells known.
    height : dict of float
        The values of these cells, as shares of the range of the coarse grid.
    spacing, step : float
        Mean distance of coarse neighbours and largest one of lattice neighbours, in decades.
    """

    def __init__(self, axes: Sequence[np.ndarray], unit: int, failed_is_high: bool) -> None:
        self.unit = unit
        self.phase: dict[Point, Phase] = {}
        self.height: dict[Point, float] = {}
        self._axes = axes
        self._logs = [np.log10(axis) for axis in axes]
        self._failed_is_high = failed_is_high
        gaps = [np.diff(logs) for logs in self._logs if logs.size > 1]
        self.spacing = float(np.mean([gap.mean() for gap in gaps]))
        self.step = float(max(gap.max() for gap in gaps)) / unit

    def is_high(self, point: Point) -> bool:
        """On which side of the level a known cell counts."""
        phase = self.phase[point]
        return self._failed_is_high if phase == Phase.failed else phase == Phase.high

    def last(self, axis: int) -> int:
        """Return the largest position."""
        return (self._axes[axis].size - 1) * self.unit

    def place(self, axis: int, position: int) -> float:
        """Return log10 of the rate at a position."""
        index, part = divmod(position, self.unit)
        logs = self._logs[axis]
        if part == 0:
            return float(logs[index])
        share = part / self.unit
        return float((1 - share) * logs[index] + share * logs[index + 1])

    def nearest(self, axis: int, place: float) -> int:
        """Return the position nearest to log10 of a rate."""
        logs = self._logs[axis]
        if logs.size == 1:
            return 0
        index = min(max(int(np.searchsorted(logs, place)) - 1, 0), logs.size - 2)
        share = (place - logs[index]) / (logs[index + 1] - logs[index])
        return min(max(round((index + share) * self.unit), 0), self.last(axis))

    def length(self, axis: int, box: Box) -> float:
        """Return the extent of a box in decades."""
        return self.place(axis, box[2 + axis]) - self.place(axis, box[axis])

    def rates(self, points: Sequence[Point]) -> np.ndarray:
        """Return alpha and beta ``(k, 2)`` of points; on the coarse grid exactly the given ones."""
        out = np.empty((len(points), 2))
        for k, point in enumerate(points):
            for axis, position in enumerate(point):
                index, part = divmod(position, self.unit)
                is_coarse = part == 0
                out[k, axis] = (
                    self._axes[axis][index] if is_coarse else 10.0 ** self.place(axis, position)
                )
        return out

    def coarse_points(self) -> list[Point]:
        """Return the points of the coarse grid, beta running fastest."""
        a, b = (range(0, self.last(axis) + 1, self.unit) for axis in (0, 1))
        return [(x, y) for x in a for y in b]

    def coarse_boxes(self) -> Iterator[Box]:
        """Yield the rectangles between coarse points; edges, if an axis holds a single value."""
        xs, ys = (
            [(k, k + self.unit) for k in range(0, self.last(axis), self.unit)] or [(0, 0)]
            for axis in (0, 1)
        )
        for x0, x1 in xs:
            for y0, y1 in ys:
                yield x0, y0, x1, y1

    def halves(self, box: Box) -> list[Box]:
        """Return a rectangle cut across its longer extent; none where the lattice ends."""
        x0, y0, x1, y1 = box
        axes = [axis for axis in (1, 0) if box[2 + axis] - box[axis] > 1]
        if not axes:
            return []
        if max(axes, key=lambda axis: self.length(axis, box)) == 0:
            x = (x0 + x1) // 2
            return [(x0, y0, x, y1), (x, y0, x1, y1)]
        y = (y0 + y1) // 2
        return [(x0, y0, x1, y), (x0, y, x1, y1)]
