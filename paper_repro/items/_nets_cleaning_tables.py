"""The stored parts of the cleaning with networks as tables over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr

from ..item import Results

__all__ = ["MITIGATIONS", "Combination", "best", "combinations", "table"]

MITIGATIONS = {
    "entropy": "entropy penalty",
    "l2": "l2 penalty",
    "inner": "inner steps",
    "ridge": "ridge",
}
"""Arms that are tried against the collapse, and what their knob is called."""


@dataclass(frozen=True, kw_only=True, order=True)
class Combination:
    """A data set and a kind of network."""

    images: str
    kind: str

    def has(self, results: Results[Any], arm: str) -> bool:
        """Whether this arm was run."""
        return any(self._is_of(part) and part.arm == arm for part in results)

    def of(self, results: Results[Any], arm: str) -> dict[int, xr.Dataset]:
        """Return the results of an arm by seed."""
        return {
            part.seed: ds
            for part, ds in results.items()
            if self._is_of(part) and part.arm == arm
        }  # fmt: skip

    def _is_of(self, part: Any) -> bool:
        return (part.images, part.network.kind) == (self.images, self.kind)


def combinations(results: Results[Any]) -> list[Combination]:
    """Return what is there: digits first, then in the order of the names."""
    pairs = {Combination(images=part.images, kind=part.network.kind) for part in results}
    return sorted(pairs, key=lambda c: (c.images != "digits", c.images != "mnist", c.kind != "mlp"))


def table(results: Results[Any], combination: Combination, arm: str) -> xr.Dataset:
    """Return an arm over (seed, value), or over (seed, baseline)."""
    runs = combination.of(results, arm)
    seeds = sorted(runs)
    cells = [runs[seed].drop_attrs(deep=False) for seed in seeds]
    joined: xr.Dataset = xr.concat(cells, xr.DataArray(seeds, dims="seed", name="seed"))
    return joined


def best(ds: xr.Dataset) -> xr.Dataset:
    """Return the value of the knob with the best mean test accuracy over the seeds."""
    chosen: xr.Dataset = ds.sel(value=ds["test_accuracy"].mean("seed").idxmax("value"))
    return chosen
