r"""Following a level curve over the lattice: which cells would sharpen it most.

A *station* is a pair of cells on one lattice line, on the two sides of the curve; a *piece* joins
two stations that follow each other along it. The estimate of the curve is the polyline of the
pieces. It is off by up to half the width b of a station there, and in the middle of a piece of
length s by :math:`s\,\phi/8` where the curve turns by :math:`\phi` over this length. So there are
two moves, rated by these errors: halve a station, or put a new one across the middle of a piece,
in two cells on both sides of where it is expected.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from .lattice import Box, Lattice, Phase, Point

__all__ = ["Curve", "Move", "Piece", "Station", "corners"]

CURVE_SCALE = 4.0
"""A piece of length s is assumed to be off by s^2 over so many coarse spacings at first."""

TRUST = 0.25, 4.0
"""How far an error found by the turn of the polyline may go below and above the assumed one."""

FAILED_WEIGHT = 0.25
"""How much the error counts where the curve runs along failed cells."""

MAX_PROBES = 6
"""Places that are tried on one line; each is twice as wide as the one before."""

MAX_FAILURES = 2
"""Lines on which a station is sought before a piece is left as it is: one along each axis."""


@dataclass(eq=False)
class Station:
    """Two positions on a line along ``axis``, at ``fixed`` on the other one.

    ``middle`` is the place between them and ``error`` half their distance, in decades.
    """

    axis: int
    fixed: int
    low: int
    high: int
    middle: tuple[float, float]
    error: float
    pieces: list[Piece] = field(default_factory=list)
    score: float = 0.0
    is_taken: bool = False

    def point(self, position: int) -> Point:
        """Return the point of the line at a position."""
        return (position, self.fixed) if self.axis == 0 else (self.fixed, position)

    @property
    def ends(self) -> tuple[Point, Point]:
        """The two cells."""
        return self.point(self.low), self.point(self.high)


@dataclass(eq=False)
class Piece:
    """Joins two stations; the ``probe`` is where a third one is sought between them.

    ``num_probes`` counts the places tried on one line, ``num_failures`` lines without success.
    ``is_free``: the probe took no cells.
    """

    ends: tuple[Station, Station]
    probe: Station | None = None
    is_free: bool = True
    num_probes: int = 0
    num_failures: int = 0
    score: float = 0.0
    is_taken: bool = False


class Move(NamedTuple):
    """A move on the heap: the largest score first, then the oldest."""

    minus_score: float
    number: int
    target: Station | Piece


class Curve:
    """The stations and pieces of the level curves, and the heap of moves."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.pieces: dict[Piece, None] = {}
        self._heap: list[Move] = []
        self._num_moves = 0
        self._on_edge: dict[Box, Station] = {}

    def add(self, box: Box) -> bool:
        """Add what crosses a rectangle with known corners; return whether anything does."""
        stations = [found for side in _sides(box) if (found := self._cross(side)) is not None]
        if len(stations) == 4:
            first, *others = stations
            others.sort(key=lambda other: math.dist(first.middle, other.middle))
            stations = [first, *others]
        for one, two in zip(stations[::2], stations[1::2], strict=False):
            self._join(one, two)
        return bool(stations)

    def pop(self) -> Move | None:
        """Return the best move, taken from the heap; None if there is none."""
        while self._heap:
            move = heapq.heappop(self._heap)
            target = move.target
            if target.is_taken or target.score != -move.minus_score:
                continue  # it will be, or has been, rated anew
            if self._score(target) == target.score:
                target.is_taken = True
                return move
            self._rate(target)
        return None

    def put_back(self, move: Move) -> None:
        """Return a move to the heap."""
        move.target.is_taken = False
        heapq.heappush(self._heap, move)

    def needs(self, move: Move) -> list[Point]:
        """Return the unknown points that a move needs."""
        target = move.target
        if isinstance(target, Station):
            points: tuple[Point, ...] = (target.point((target.low + target.high) // 2),)
        else:
            if target.probe is None:
                target.probe = self._expect(target)
            points = target.probe.ends
        return [point for point in points if point not in self.lattice.phase]

    def make(self, move: Move, *, is_free: bool = False) -> None:
        """Make a move whose points are known; ``is_free`` where they were before it was chosen."""
        target = move.target
        target.is_taken = False
        if isinstance(target, Station):
            self._halve(target)
        else:
            target.is_free = target.is_free and is_free
            self._seek(target)

    def _station(self, axis: int, fixed: int, low: int, high: int) -> Station:
        station = Station(axis, fixed, low, high, (0.0, 0.0), 0.0)
        self._place(station)
        return station

    def _place(self, station: Station) -> None:
        """Note where a station is."""
        place = self.lattice.place
        low, high = place(station.axis, station.low), place(station.axis, station.high)
        fixed = place(1 - station.axis, station.fixed)
        along = 0.5 * (low + high)
        station.middle = (along, fixed) if station.axis == 0 else (fixed, along)
        station.error = 0.5 * (high - low)

    def is_beside_failure(self, station: Station) -> bool:
        """Whether one of the two cells failed."""
        return any(self.lattice.phase[point] == Phase.failed for point in station.ends)

    def _cross(self, edge: Box) -> Station | None:
        """Return the station on an edge that the curve crosses."""
        if edge not in self._on_edge:
            if self.lattice.is_high(edge[:2]) == self.lattice.is_high(edge[2:]):
                return None
            axis = int(edge[0] == edge[2])
            station = self._station(axis, edge[1 - axis], edge[axis], edge[2 + axis])
            self._on_edge[edge] = station
            self._rate(station)
        return self._on_edge[edge]

    def _join(self, one: Station, two: Station) -> None:
        piece = Piece((one, two))
        self.pieces[piece] = None
        for station in (one, two):
            station.pieces.append(piece)
        self._rate(piece)

    def _rate(self, target: Station | Piece) -> None:
        target.score = self._score(target)
        if not target.is_taken and target.score > 0:
            self._num_moves += 1
            heapq.heappush(self._heap, Move(-target.score, self._num_moves, target))

    def _score(self, target: Station | Piece) -> float:
        """Return by how much the curve may be off there; 0 where nothing can be done."""
        if isinstance(target, Station):
            return self._weight(target) * target.error if _size(target) > 1 else 0.0
        if target not in self.pieces or target.num_failures >= MAX_FAILURES:
            return 0.0
        error = self._bend(target)
        if error < max(self.lattice.step, *(end.error for end in target.ends)):
            return 0.0
        return error * max(self._weight(end) for end in target.ends)

    def _weight(self, station: Station) -> float:
        return FAILED_WEIGHT if self.is_beside_failure(station) else 1.0

    def _bend(self, piece: Piece) -> float:
        """Return by how much the middle of a piece may be off."""
        length = self._length(piece)
        assumed = length**2 / (CURVE_SCALE * self.lattice.spacing)
        turns = [self._turn(end) for end in piece.ends if len(end.pieces) == 2]
        if not turns:
            return assumed
        low, high = TRUST
        return min(max(0.25 * length * max(turns), low * assumed), high * assumed)

    def _length(self, piece: Piece) -> float:
        one, two = piece.ends
        return math.dist(one.middle, two.middle)

    def _turn(self, station: Station) -> float:
        """Return the angle between the two pieces that meet at a station, 0 if they are in line."""
        here = station.middle
        angles = []
        for piece in station.pieces:
            there = piece.ends[piece.ends[0] is station].middle
            angles.append(math.atan2(there[1] - here[1], there[0] - here[0]))
        return abs(math.pi - abs(angles[0] - angles[1]))

    def _halve(self, station: Station) -> None:
        middle = (station.low + station.high) // 2
        is_high = self.lattice.is_high
        if is_high(station.point(middle)) == is_high(station.point(station.low)):
            station.low = middle
        else:
            station.high = middle
        self._place(station)
        self._rate(station)
        for piece in station.pieces:
            self._rate(piece)

    def _expect(self, piece: Piece) -> Station:
        """Return two positions around where the curve should cross a line amid a piece."""
        one, two = (end.middle for end in piece.ends)
        run = two[0] - one[0], two[1] - one[1]
        across = int(abs(run[1]) > abs(run[0]))
        if piece.num_failures:
            across = 1 - across
        axis = 1 - across
        lattice = self.lattice
        fixed = lattice.nearest(across, 0.5 * (one[across] + two[across]))
        share = (lattice.place(across, fixed) - one[across]) / run[across] if run[across] else 0.5
        centre = one[axis] + share * run[axis]
        doubt = max(self._bend(piece), *(end.error for end in piece.ends))
        low, high = lattice.nearest(axis, centre - doubt), lattice.nearest(axis, centre + doubt)
        if low == high:
            low, high = (low - 1, low) if low == lattice.last(axis) else (low, low + 1)
        return self._station(axis, fixed, low, high)

    def _seek(self, piece: Piece) -> None:
        """Make the probe a station if the curve crosses it, else move it on."""
        probe = piece.probe
        if probe is None or piece not in self.pieces:
            return
        is_high = [self.lattice.is_high(point) for point in probe.ends]
        if is_high[0] != is_high[1]:
            self._insert(probe, piece)
            return
        size = _size(probe)
        if is_high[0] == self._is_high_below(piece, probe):
            low, high = probe.high, min(probe.high + 2 * size, self.lattice.last(probe.axis))
        else:
            low, high = max(probe.low - 2 * size, 0), probe.low
        piece.probe = self._station(probe.axis, probe.fixed, low, high)
        piece.num_probes += 1
        is_far = piece.probe.error > self._length(piece)
        if low == high or is_far or piece.num_probes == MAX_PROBES:
            piece.probe, piece.num_probes = None, 0
            piece.num_failures += 1
        self._rate(piece)

    def _insert(self, station: Station, piece: Piece) -> None:
        """Put a station between the ends of a piece.

        One that took no cells is refused, so that the budget bounds their number.
        """
        if piece.is_free:
            piece.num_failures = MAX_FAILURES
            return
        del self.pieces[piece]
        for end in piece.ends:
            end.pieces.remove(piece)
            self._join(end, station)
        self._rate(station)
        for end in piece.ends:
            for beside in end.pieces:
                self._rate(beside)

    def _is_high_below(self, piece: Piece, probe: Station) -> bool:
        """Return on which side of the level the cells before the curve are, along the probe."""
        along = [end for end in piece.ends if end.axis == probe.axis]
        end = along[0] if along else piece.ends[0]
        below = self.lattice.is_high(end.point(end.low))
        if along:
            return below
        # Along a rising curve, what lies left of it lies above it.
        one, two = (end.middle for end in piece.ends)
        is_rising = (two[0] - one[0]) * (two[1] - one[1]) > 0
        return not below if is_rising else below


def corners(box: Box) -> list[Point]:
    """Return the corners of a rectangle, each once."""
    x0, y0, x1, y1 = box
    return list(dict.fromkeys([(x0, y0), (x0, y1), (x1, y0), (x1, y1)]))


def _sides(box: Box) -> list[Box]:
    """Return the sides of a rectangle; an edge is its own."""
    x0, y0, x1, y1 = box
    if x0 == x1 or y0 == y1:
        return [box]
    return [(x0, y0, x1, y0), (x0, y0, x0, y1), (x0, y1, x1, y1), (x1, y0, x1, y1)]


def _size(station: Station) -> int:
    return station.high - station.low
