"""The cases of the good band of rates: one change each to the base case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..item import Variant
from ._good_band_runs import BandPart

__all__ = ["BUDGET", "CASES", "COVERED", "WARMED", "parts", "timed"]

BUDGET = 300
"""The number of steps K at which bands are compared."""

CASES: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "n50": {"n": 50},
    "n600": {"n": 600},
    "p1": {"p": 1},
    "p2": {"p": 2},
    "p10": {"p": 10},
    "noise0.1": {"noise": 0.1},
    "noise1": {"noise": 1.0},
    "rho0.1": {"inner": 0.1},
    "rho4": {"inner": 4.0},
    "theta-first": {"order": "theta_first"},
    "T10": {"num_inner_steps": 10},
    "exact": {"method": "exact"},
    "soba": {"method": "soba"},
    "one-step": {"method": "one_step"},
    "entropy0.1": {"strength": 0.1},
    "implicit0.1": {"strength": 0.1, "implicit": True},
    "warmup": {"warmup": 100},
    "warmup-exact": {"warmup": 100, "method": "exact"},
}
"""One change each to the base case."""

MORE: Mapping[str, Mapping[str, Any]] = {
    "n2000": {"n": 2000},
    "p20": {"p": 20},
    "w-first": {"order": "w_first"},
    "T100": {"num_inner_steps": 100},
    "entropy0.01": {"strength": 0.01},
    "implicit1": {"strength": 1.0, "implicit": True},
}
"""Cases of the full variant."""

BESIDE: Mapping[str, Mapping[str, Any]] = {
    "held": {},
    "held-theta-first": {"order": "theta_first"},
    "held-T10": {"num_inner_steps": 10},
    "held-exact": {"method": "exact"},
}
"""Runs that start beside a solved point."""

WARMED: Mapping[str, str] = {"warmup": "base", "warmup-exact": "exact"}
"""Cases with a warm-up, and the same without."""

COVERED = ("base", "n50", "n600", "p2", "p10", "noise0.1", "noise1", "theta-first", "T10", "exact")
"""Cases on which predictions are scored: without penalty, inner steps of 1/L, and a band that ends
inside the grid (p = 1 does not)."""


def parts(variant: Variant) -> Sequence[BandPart]:
    """Draws times cases, and runs beside solved points."""
    seeds, budgets, cases = {
        "quick": (3, (30, 100, BUDGET), CASES),
        "full": (10, (30, 100, BUDGET, 1000, 3000), {**CASES, **MORE}),
    }[variant]
    return [
        *(BandPart(seed=seed, case=case, budgets=budgets, **changes)
          for seed in range(seeds) for case, changes in cases.items()),
        *(BandPart(seed=seed, case=case, budgets=(10, 30, 100, BUDGET), start="end",
                   decades=(-0.5, 0.5), per_decade=20, **changes)
          for seed in range(seeds) for case, changes in BESIDE.items()),
    ]  # fmt: skip


def timed() -> list[str]:
    """Return the cases whose bands have a lower end: with a warm-up any small rate is good."""
    return [case for case in CASES if case not in WARMED]
