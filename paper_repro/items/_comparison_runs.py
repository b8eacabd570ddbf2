"""One entry of a comparison on one draw of one data set, as a part of an item."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ...analysis.comparison import REFERENCES, standard_entries
from ...analysis.comparison.references import references
from ...analysis.comparison.rows import Plan, rows
from ...analysis.comparison.runs import ORACLES
from ...analysis.comparison.units import dims_of
from ...dynamics.statistics import THRESHOLDS
from ..data import Corruption, Data, Split, Toy, corrupt
from ..data.locate import load_named
from ..item import Part, Results

__all__ = [
    "REFERENCE_ROWS",
    "EntryPart",
    "decades",
    "gather",
    "make_data",
    "over_clean",
    "run_entry",
]

REFERENCE_ROWS = "references"
"""In place of the name of an entry."""


@dataclass(frozen=True, kw_only=True)
class EntryPart(Part):
    """One entry, all ratios R, one budget.

    ``toy`` is the data set where it is given (its seed is that of the part); else half of the
    labels of ``images`` are redrawn.
    """

    entry: str
    budget: int
    ratios: tuple[float, ...]
    toy: Toy | None = None
    images: str = "digits"
    n: int = 200
    m: int = 100
    ridge: float = 1e-2

    @property
    def name(self) -> str:
        """Such as ``toy`` or ``toy-p20`` or ``digits``."""
        if self.toy is None:
            return self.images
        return "toy" if self.toy.p == 5 else f"toy-p{self.toy.p}"

    @property
    def label(self) -> str:
        """Such as ``toy-joint-entropy-6000-seed0``."""
        entry = self.entry.replace("_", "").replace("+", "-")
        return f"{self.name}-{entry}-{self.budget}-seed{self.seed}"


def make_data(part: EntryPart) -> Data:
    """Draw the data set of a part."""
    if part.toy is not None:
        return part.toy.make()
    split = Split(n=part.n, m=part.m, test_size=500, seed=part.seed)
    return corrupt(load_named(part.images, split), Corruption(fraction=0.5, seed=part.seed))


def run_entry(part: EntryPart, data: Data) -> xr.Dataset:
    """Return the rows of an entry at the end of the budget, or those of the references."""
    problem = data.problem(part.ridge)
    facts = {"num_samples": problem.num_samples, "num_params": problem.num_params}
    if part.entry == REFERENCE_ROWS:
        table = references(problem, part.budget)
        coordinates: dict[str, list[object]] = {"reference": [*REFERENCES]}
    else:
        method, _, mitigation = part.entry.partition("+")
        (entry,) = standard_entries([method], [mitigation or "none"]).values()
        table = rows(problem, entry, Plan(part.ratios, (part.budget,), THRESHOLDS), part.seed)
        facts["is_scaled"] = int(entry.is_scaled)
        coordinates = {
            "ratio": [*part.ratios], "budget": [part.budget], "threshold": [*THRESHOLDS],
            "oracle": [*ORACLES],
        }  # fmt: skip
    found = {name: (dims_of(name), values) for name, values in table.items()}
    return xr.Dataset(found, coordinates, attrs=facts)


def gather(results: Results[EntryPart], name: str, budget: int | None = None) -> xr.Dataset:
    """Bring the parts of one data set together as `analysis.comparison.compare` does.

    Parameters
    ----------
    budget : int, optional
        Only runs of this budget; the least that there is when left out.

    Returns
    -------
    Dataset
        Over ``(entry, ratio, seed, budget)`` and ``(reference, seed)``.
    """
    here = {part: ds for part, ds in results.items() if part.name == name}
    budget = min(part.budget for part in here) if budget is None else budget
    chosen = {part: ds for part, ds in here.items() if part.budget == budget}
    seeds = sorted({part.seed for part in chosen})
    entries = _ordered(part.entry for part in chosen)
    cells = {(part.entry, part.seed): ds for part, ds in chosen.items()}
    joined = xr.concat(
        [_over_seeds(cells, entry, seeds) for entry in entries if entry != REFERENCE_ROWS],
        xr.DataArray([e for e in entries if e != REFERENCE_ROWS], dims="entry", name="entry"),
        join="exact", combine_attrs="drop_conflicts",
    )  # fmt: skip
    scaled = [
        bool(cells[str(entry), seeds[0]].attrs["is_scaled"]) for entry in joined["entry"].values
    ]
    joined = joined.assign_coords(
        is_scaled=("entry", scaled), label=("entry", joined["entry"].data)
    )
    if REFERENCE_ROWS in entries:
        joined = joined.merge(_over_seeds(cells, REFERENCE_ROWS, seeds), join="exact")
    return joined.transpose("entry", "ratio", "seed", ...)


def _ordered(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _over_seeds(
    cells: dict[tuple[str, int], xr.Dataset], entry: str, seeds: list[int]
) -> xr.Dataset:
    return xr.concat(
        [cells[entry, seed] for seed in seeds],
        xr.DataArray(seeds, dims="seed", name="seed"),
        join="exact", combine_attrs="drop_conflicts",
    )  # fmt: skip


def over_clean(ds: xr.Dataset) -> xr.Dataset:
    """Return ``risk, risk_star, risk_averaged`` and ``reference_risk`` beside all else.

    Each is the test loss over that of training on the clean samples alone, of the same draw; a run
    that ended badly is infinitely bad.
    """
    last = ds.isel(budget=-1, drop=True)
    floor = last["reference_test_loss"].sel(reference="clean_only", drop=True)
    found = {"reference_risk": last["reference_test_loss"] / floor}
    for suffix in ("", "_star", "_averaged"):
        loss = last[f"test_loss{suffix}"]
        found[f"risk{suffix}"] = loss.where(np.isfinite(loss), np.inf) / floor
    return last.assign(found)


def decades(values: xr.DataArray) -> xr.DataArray:
    """Return decimal logarithms."""
    found: xr.DataArray = xr.apply_ufunc(np.log10, values)
    return found
