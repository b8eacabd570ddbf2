r"""Adaptive refinement of a sweep: which cells (alpha, beta) to compute next.

Two phases (healthy and collapsed weights) meet in a curve, and a uniform grid spends nearly all of
its cells away from it. :class:`Refiner` starts from a coarse grid and follows the curves on which a
quantity crosses a level, in :math:`(\log\alpha, \log\beta)`: :mod:`.tracking` says which cells
would sharpen them most, :mod:`.lattice` keeps positions as integers, halvings of the coarse
spacing, so that no cell is computed twice.

Learners of triangulations exist (python-adaptive's ``Learner2D``); own code has integer positions
to look results up by, spends its cells across the curve, not along it, and adds no dependency.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..status import Status
from .lattice import Box, Lattice, Phase, Point
from .tracking import Curve, Move, Station, corners

if TYPE_CHECKING:
    import xarray

__all__ = ["Refinement", "Refiner"]

EXPLORED = 0.1
"""Share of the new cells that lie away from the curves, while these can still be sharpened."""

FLAT = 0.05
"""Share of the range that a rectangle off the curves is taken to vary by at least."""

NUM_BATCHES = 8
"""Moves on the curves take at most this part of all cells per batch."""

SLACK = 0.25
"""A batch takes moves down to this share of the score of its best one."""

MAX_DEPTH = 40
"""Halvings beyond which neighbours would be the same in double precision."""


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How a sweep is refined.

    Parameters
    ----------
    num_cells : int
        Cells in all, those of the coarse grid included; fewer are used where nothing is left to
        refine.
    quantity : str
        Variable of the Dataset whose level curves are followed, at the last step. It must have one
        value per cell (``support`` needs a single threshold).
    level : float, optional
        Value on the curve, in the unit of the quantity: ``0.1 * n`` for ESS/n = 0.1. None takes the
        middle between the smallest and the largest value of the coarse grid: the geometric one
        where all are positive and span more than a decade, else the arithmetic one.
    max_depth : int
        Halvings of the coarse spacing at most, up to 40.
    """

    num_cells: int
    quantity: str = "ess"
    level: float | None = None
    max_depth: int = 10

    def __post_init__(self) -> None:
        checks.integer("num_cells", self.num_cells, minimum=2)
        if not isinstance(self.quantity, str) or not self.quantity:
            raise ValueError(f"`quantity` must be the name of a variable; got {self.quantity!r}.")
        if self.level is not None:
            checks.real("level", self.level)
        if checks.integer("max_depth", self.max_depth, minimum=0) > MAX_DEPTH:
            raise ValueError(f"`max_depth` must be at most {MAX_DEPTH}; got {self.max_depth}.")

    @property
    def failed_is_high(self) -> bool:
        """Failed cells count as collapsed: above the level for losses, else below it."""
        return self.quantity.endswith("_loss")

    def values(self, ds: xarray.Dataset) -> np.ndarray:
        """Return the quantity of all cells of a Dataset, NaN where they failed, ``(K,)``."""
        if self.quantity not in ds:
            raise ValueError(f"`quantity` must be a variable of the sweep; got {self.quantity!r}.")
        field = ds[self.quantity]
        if "step" in field.dims:
            field = field.isel(step=-1)
        more = [str(dim) for dim in field.dims if dim not in ds["status"].dims]
        if any(field.sizes[dim] > 1 for dim in more):
            raise ValueError(
                f"`quantity` must have one value per cell; got {self.quantity!r}, over "
                f"{', '.join(more)}."
            )
        field = field.squeeze(more, drop=True)
        good = ds["status"].isin([status for status in Status if status.success])
        return np.asarray(field.where(good).values, dtype=np.float64).ravel()


class Refiner:
    """Chooses the cells of a sweep batch by batch: a function of its arguments and the values.

    Parameters
    ----------
    alpha : (a,)
    beta : (b,)
        Values of the coarse grid: positive and increasing. One of them may be a single value, then
        the other one is refined alone.
    refinement : Refinement
    """

    def __init__(self, alpha: Any, beta: Any, refinement: Refinement) -> None:
        axes = _axis("alpha", alpha), _axis("beta", beta)
        size = axes[0].size * axes[1].size
        if size < 2:
            raise ValueError("`alpha` or `beta` must hold at least two rates; got one of each.")
        if refinement.num_cells < size:
            raise ValueError(
                f"`num_cells` must be at least {size}, the cells of the coarse grid; "
                f"got {refinement.num_cells}."
            )
        self._refinement = refinement
        self._lattice = Lattice(axes, 2**refinement.max_depth, refinement.failed_is_high)
        self._curve = Curve(self._lattice)
        self._scale: _Scale | None = None
        self._points: list[Point] = []
        self._moves: list[Move] = []
        self._off_curve: list[tuple[float, Box]] = []
        self._cuts: list[Box] = []
        self._num_coarse, self._num_known, self._num_explored = size, 0, 0

    def propose(self, values: Any) -> np.ndarray:
        """Return the next cells ``(k, 2)``, alpha and beta; none when there is nothing left to do.

        Parameters
        ----------
        values : (K,)
            The quantity in all cells proposed so far, in their order; NaN where a cell failed.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(self._points),):
            raise ValueError(
                f"`values` must be those of the {len(self._points)} cells proposed so far; "
                f"got shape {values.shape}."
            )
        if not self._points:
            return self._ask(self._lattice.coarse_points())
        if self._scale is None:
            self._scale = _Scale.of(values, self._refinement.level)
            self._learn(self._scale, values)
            for box in self._lattice.coarse_boxes():
                self._add(box)
        self._learn(self._scale, values)
        for move in self._moves:
            self._curve.make(move)
        for box in self._cuts:
            for half in self._lattice.halves(box):
                self._add(half)
        return self._ask(self._next_points())

    @property
    def level(self) -> float:
        """Value on the curves; NaN until the coarse grid is known."""
        return math.nan if self._scale is None else self._scale.level

    def curve(self, *, interpolate: bool = True) -> np.ndarray:
        """Return the level curves: straight pieces ``(k, 2, 2)`` of two ends, alpha and beta each.

        ``interpolate`` places the ends by the values of the two cells around them, both good;
        else they are in the middle (in logarithm) between the two.
        """
        ends = [
            [self._crossing(end, interpolate) for end in piece.ends] for piece in self._curve.pieces
        ]
        return 10.0 ** np.array(ends).reshape(-1, 2, 2)

    def depths(self) -> np.ndarray:
        """Return how often the coarse spacing was halved to reach each proposed cell, ``(K,)``."""
        lattice = np.array(self._points, dtype=np.int64).reshape(-1, 2)
        unit = self._lattice.unit
        spacing = np.gcd(lattice, unit).min(axis=1, initial=unit)
        return self._refinement.max_depth - np.log2(spacing).astype(np.int64)

    def _ask(self, points: list[Point]) -> np.ndarray:
        self._points += points
        return self._lattice.rates(points)

    def _learn(self, scale: _Scale, values: np.ndarray) -> None:
        """Note the values that came last."""
        new = slice(self._num_known, None)
        phases, heights = scale.phases(values[new]), scale.heights(values[new])
        for point, phase, height in zip(self._points[new], phases, heights, strict=True):
            self._lattice.phase[point] = Phase(phase)
            self._lattice.height[point] = float(height)
        self._num_known = len(self._points)

    def _add(self, box: Box) -> None:
        """Give a rectangle with known corners to the curves, or else to what lies off them."""
        if not self._curve.add(box) and self._lattice.halves(box):
            heights = [self._lattice.height[point] for point in corners(box)]
            length = max(self._lattice.length(axis, box) for axis in (0, 1))
            score = length * (FLAT + max(heights) - min(heights))
            heapq.heappush(self._off_curve, (-score, box))

    def _next_points(self) -> list[Point]:
        """Choose the moves of a batch; return the points that they need."""
        left = self._refinement.num_cells - len(self._points)
        batch: dict[Point, None] = {}
        room = min(left, max(1, self._refinement.num_cells // NUM_BATCHES))
        self._take_moves(batch, room)
        on_curve = len(batch)
        if on_curve:
            spent = len(self._points) + on_curve - self._num_coarse
            due = EXPLORED / (1 - EXPLORED) * (spent - self._num_explored) - self._num_explored
            room = min(left, on_curve + max(0, round(due)))
        self._take_cuts(batch, room)
        self._num_explored += len(batch) - on_curve
        return list(batch)

    def _take_moves(self, batch: dict[Point, None], room: int) -> None:
        """Add what the best moves on the curves need, as far as there is room."""
        self._moves = []
        best = 0.0
        while len(batch) < room and (move := self._curve.pop()) is not None:
            best = max(best, -move.minus_score)
            needs = self._curve.needs(move)
            num_new = sum(point not in batch for point in needs)
            if -move.minus_score < SLACK * best or len(batch) + num_new > room:
                self._curve.put_back(move)
                return
            if needs:
                batch.update(dict.fromkeys(needs))
                self._moves.append(move)
            else:
                self._curve.make(move, is_free=True)

    def _take_cuts(self, batch: dict[Point, None], room: int) -> None:
        """Add what the best cuts of rectangles off the curves need, as far as there is room."""
        self._cuts = []
        while len(batch) < room and self._off_curve:
            box = self._off_curve[0][1]
            points = [point for half in self._lattice.halves(box) for point in corners(half)]
            known = self._lattice.phase
            new = {point: None for point in points if point not in known and point not in batch}
            if len(batch) + len(new) > room:
                return
            heapq.heappop(self._off_curve)
            batch.update(new)
            self._cuts.append(box)

    def _crossing(self, station: Station, interpolate: bool) -> tuple[float, float]:
        """Return where the curve meets a station, in decades."""
        middle = station.middle
        if not interpolate or self._scale is None or self._curve.is_beside_failure(station):
            return middle
        low, high = (self._lattice.height[point] for point in station.ends)
        if low == high:
            return middle
        share = (self._scale.level_height - low) / (high - low)
        places = (self._lattice.place(station.axis, k) for k in (station.low, station.high))
        first, last = places
        along = first + share * (last - first)
        return (along, middle[1]) if station.axis == 0 else (middle[0], along)


@dataclass(frozen=True)
class _Scale:
    """On which side of the level values lie, and where in the range of the coarse grid."""

    level: float
    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: np.ndarray, level: float | None) -> _Scale:
        """Choose the scale, and the level unless it is given, by the values of the coarse grid."""
        finite = values[np.isfinite(values)]
        if level is not None:
            finite = np.append(finite, level)
        if not finite.size:
            return cls(0.0, 0.0, 0.0, False)
        low, high = float(finite.min()), float(finite.max())
        is_log = 0 < 10 * low < high
        if level is None:
            level = math.sqrt(low) * math.sqrt(high) if is_log else 0.5 * low + 0.5 * high
        return cls(level, low, high, is_log)

    @property
    def level_height(self) -> float:
        """Height of the level."""
        return float(self.heights(np.array(self.level)))

    def phases(self, values: np.ndarray) -> np.ndarray:
        """Return the phase of each value."""
        sides = np.where(values > self.level, Phase.high, Phase.low)
        return np.where(np.isnan(values), Phase.failed, sides)

    def heights(self, values: np.ndarray) -> np.ndarray:
        """Return where values lie in the range, between 0 and 1; 0 for failed ones."""
        if self.low == self.high:
            return np.zeros(values.shape)
        inside = np.clip(np.where(np.isnan(values), self.low, values), self.low, self.high)
        if self.is_log:
            return np.log(inside / self.low) / math.log(self.high / self.low)
        return (inside / 2 - self.low / 2) / (self.high / 2 - self.low / 2)


def _axis(name: str, value: Any) -> np.ndarray:
    """Return increasing positive rates as a vector."""
    axis = checks.array(name, value, shape=(None,))
    if axis[0] <= 0 or np.any(np.diff(axis) <= 0):
        raise ValueError(f"`{name}` must hold increasing rates > 0 to be refined; got {axis}.")
    return axis
