"""What the paper says, what we got, and the verdict between them.

The paper's statements are known in words only (numbers, thresholds and settings are not), so most
claims are inequalities on a number that we name and compute. Where the paper states nothing, the
verdict says so; the stored reference beside the item then guards our own number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

__all__ = ["Claim", "Estimate", "Reference", "Verdict", "judge"]


class Verdict(StrEnum):
    """The five possible outcomes of a comparison with the paper."""

    match = "match"
    within_interval = "within interval"
    qualitative_match = "qualitative match"
    differs = "differs"
    not_stated = "not stated in the paper"


@dataclass(frozen=True)
class Estimate:
    """One number, once for each seed."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("`values` must hold at least one number.")

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Two-sided 95 % Student interval of the mean; None for fewer than two seeds."""
        from scipy.stats import t

        count = len(self.values)
        if count < 2:
            return None
        half = float(t.ppf(0.975, count - 1) * np.std(self.values, ddof=1) / math.sqrt(count))
        return self.mean - half, self.mean + half

    def document(self) -> dict[str, Any]:
        """Mean, interval, number of seeds and the values in JSON types; null is NaN or infinite."""
        interval = self.interval
        return {
            "mean": _json(self.mean),
            "interval95": None if interval is None else [_json(end) for end in interval],
            "num_seeds": len(self.values),
            "values": [_json(value) for value in self.values],
        }

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Estimate:
        """Invert `document`."""
        values = document["values"]
        return Estimate(tuple(math.nan if value is None else value for value in values))

    def __str__(self) -> str:
        interval, count = self.interval, len(self.values)
        if interval is None:
            return f"{self.mean:.4g} (1 seed)"
        return f"{self.mean:.4g} [{interval[0]:.4g}, {interval[1]:.4g}] ({count} seeds)"


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement and the number that tests it.

    Parameters
    ----------
    number : str
        Name of the number in the item's ``numbers()``.
    meaning : str
        What that number is, in words.
    says : str, optional
        What the paper says; None where it states nothing.
    where : str, optional
        Place in the paper.
    low, high : float
        The statement holds when the mean lies between these, ends included.
    exact : bool
        True where the paper itself states the bound, so that every seed must keep it and the
        verdict is a match; False where we chose the bound to make words testable.
    """

    number: str
    meaning: str
    says: str | None = None
    where: str | None = None
    low: float = -math.inf
    high: float = math.inf
    exact: bool = False

    @property
    def test(self) -> str:
        """The bounds in words."""
        if self.says is None:
            return ""
        if math.isinf(self.low):
            return f"at most {self.high:g}"
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Our own earlier value of a number, and how far a rerun may lie from it."""

    value: float
    tolerance: float

    def agrees(self, estimate: Estimate) -> bool:
        """Whether the mean lies within the tolerance (NaN never does)."""
        return abs(estimate.mean - self.value) <= self.tolerance

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Reference:
        """Read ``{"value": ..., "tolerance": ...}``."""
        return Reference(value=document["value"], tolerance=document["tolerance"])


def judge(claim: Claim, estimate: Estimate) -> Verdict:
    """Compare a number with what the paper says about it."""
    if claim.says is None:
        return Verdict.not_stated
    if claim.exact:
        inside = all(claim.low <= value <= claim.high for value in estimate.values)
        return Verdict.match if inside else Verdict.differs
    if claim.low <= estimate.mean <= claim.high:
        return Verdict.qualitative_match
    interval = estimate.interval
    if interval is not None and interval[1] >= claim.low and interval[0] <= claim.high:
        return Verdict.within_interval
    return Verdict.differs
