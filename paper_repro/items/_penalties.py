"""What the items on penalties share: one run over a grid of rates, with or without a penalty.

Rates are given by the ratio R of the speeds (theory section 8) and strengths in units of the spread
sd_w(Psi), both at the start, so that problems compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from ...dynamics import Status, geometries, run_method
from ...dynamics.methods import Method
from ...dynamics.namespaces import to_numpy
from ...dynamics.problems import Problem
from ...dynamics.simplex import ess, support
from ...dynamics.types import Array
from ..claims import Estimate
from ..data import Corruption, Data, Split, Toy, corrupt, digits
from ..item import Part, Results

__all__ = [
    "KINDS", "THRESHOLD", "Penalty", "PenaltyPart", "Setting", "cases", "cost", "data", "harm",
    "reach", "run_grid", "summaries",
]  # fmt: skip

THRESHOLD = 1e-6
COLLAPSED = 0.1
"""An ESS below this share of n counts as collapsed."""
WORSE = 1.01
"""A test risk above that without penalty by this factor counts as worse."""

Penalty = Literal["none", "entropy", "implicit", "l2"]
KINDS: tuple[Penalty, ...] = ("entropy", "l2", "implicit")


@dataclass(frozen=True, kw_only=True)
class PenaltyPart(Part):
    """One penalty at one strength on one draw, all rates side by side.

    ``implicit`` is the entropy penalty with an implicit step; ``limit`` is the entropy penalty run
    to its rest point, with the strength in units of the loss and ``num_steps`` in units of
    1/(eta tau).
    """

    problem: Literal["toy", "digits", "net"]
    penalty: Penalty | Literal["limit"]
    strength: float = 0.0
    num_steps: int
    n: int
    m: int = 200
    ridge: float
    decades: tuple[float, float] = (-1.0, 5.0)
    num_ratios: int = 7

    @property
    def label(self) -> str:
        """Such as ``toy-entropy0.1-seed0``."""
        strength = f"{self.strength:g}" if self.strength else ""
        return f"{self.problem}-{self.penalty}{strength}-seed{self.seed}"

    @property
    def ratios(self) -> Array:
        """The values of R, (num_ratios,)."""
        return np.logspace(*self.decades, self.num_ratios)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A problem with its start, the inner step and what makes R out of eta.

    ``method`` takes eta ``(cells,)``; ``solve`` takes theta and w ``(cells, ...)`` and returns
    theta retrained on w. ``ratio`` is R for eta = 1, ``spread`` is sd_w(Psi). ``one_by_one`` runs
    cells in a loop.
    """

    problem: Problem
    theta0: Array
    method: Callable[[Array], Method]
    solve: Callable[[Array, Array], Array]
    ratio: float
    spread: float
    one_by_one: bool = False


def data(part: PenaltyPart) -> Data:
    """Draw the toy, or digits of which half of the labels were redrawn."""
    if part.problem == "toy":
        return Toy(n=part.n, seed=part.seed).make()
    split = Split(n=part.n, m=part.m, seed=part.seed)
    return corrupt(digits(split), Corruption(fraction=0.5, law="uniform", seed=part.seed))


def cases(strengths: tuple[float, ...]) -> list[tuple[Penalty, float]]:
    """Return no penalty, then every kind at every strength."""
    return [("none", 0.0), *((kind, strength) for kind in KINDS for strength in strengths)]


def run_grid(part: PenaltyPart, setting: Setting) -> xr.Dataset:
    """Run all rates and observe the end."""
    problem, tau = setting.problem, part.strength * setting.spread
    eta = part.ratios / setting.ratio
    geometry = geometries.Penalised(
        entropy=tau if part.penalty in ("entropy", "implicit") else 0.0,
        l2=tau if part.penalty == "l2" else 0.0,
        implicit=part.penalty == "implicit",
    )
    # A graph of one cell is kept for all products with its H, so that cells one by one win there.
    batches = [eta] if not setting.one_by_one else list(eta)
    runs = [
        run_method(
            problem, setting.method(rates), num_steps=part.num_steps, geometry=geometry,
            theta0=setting.theta0, num_saved=2,
        )
        for rates in batches
    ]  # fmt: skip
    w = np.reshape([run.w[-1] for run in runs], (eta.size, -1))
    theta = np.reshape([run.theta[-1] for run in runs], (eta.size, -1))
    native = problem.xp.asarray(theta, dtype=problem.dtype, device=problem.device)
    fields: dict[str, Any] = {
        "ess": ess(w),
        "support": support(w, THRESHOLD).sum(-1),
        "clean_mass": np.minimum(w @ problem.clean, 1.0),
        "test_loss": to_numpy(problem.test_loss(native)),
        "test_loss_solved": _risk(problem, setting.solve(theta, w)),
        "status": np.reshape([run.status for run in runs], eta.shape),
        "step_times_strength": eta * tau,
    }
    return xr.Dataset(
        {name: ("ratio", np.asarray(values)) for name, values in fields.items()},
        {"ratio": part.ratios},
        {"num_samples": problem.num_samples, "sd_psi": setting.spread, "ratio_of_eta_1":
         setting.ratio},
    )  # fmt: skip


def _risk(problem: Problem, theta: Array) -> Array:
    native = problem.xp.asarray(theta, dtype=problem.dtype, device=problem.device)
    return to_numpy(problem.test_loss(native))


def summaries(results: Results[PenaltyPart]) -> dict[str, xr.Dataset]:
    """Return what was observed over (seed, case, ratio) for each problem.

    A case is called such as ``entropy 0.1``; risks of runs that broke are infinite.
    """
    problems = dict.fromkeys(part.problem for part in results)
    return {name: _summary(results, name) for name in problems}


def _summary(results: Results[PenaltyPart], problem: str) -> xr.Dataset:
    rows: dict[str, dict[int, xr.Dataset]] = {}
    for part, ds in results.items():
        if part.problem == problem and part.penalty != "limit":
            name = part.penalty + (f" {part.strength:g}" if part.strength else "")
            broken = ds["status"] > int(Status.converged)
            risks = {key: ds[key].where(~broken, np.inf) for key in ("test_loss",
                     "test_loss_solved")}  # fmt: skip
            rows.setdefault(name, {})[part.seed] = ds.assign(risks)
    joined = [
        xr.concat([by_seed[seed] for seed in sorted(by_seed)], "seed", join="exact",
                  combine_attrs="drop_conflicts").assign_coords(seed=sorted(by_seed))
        for by_seed in rows.values()
    ]  # fmt: skip
    return xr.concat(joined, xr.DataArray(list(rows), dims="case", name="case"), join="exact")


def reach(summary: xr.Dataset, case: str) -> Estimate:
    """log10 of the largest R up to which the ESS stays above a tenth of n, for each draw.

    One step of the grid below its first value where even that has collapsed.
    """
    kept = summary["ess"].sel(case=case) >= COLLAPSED * summary.attrs["num_samples"]
    logs = np.log10(summary["ratio"].values)
    first = logs[0] - (logs[1] - logs[0])
    counts = kept.values.cumprod(axis=-1).sum(-1)
    return Estimate(tuple(float(np.append(first, logs)[count]) for count in counts))


def cost(summary: xr.Dataset, case: str, up_to: float) -> Estimate:
    """Least test risk over R at most `up_to`, over the least without penalty, for each draw."""
    least = summary["test_loss"].sel(ratio=summary["ratio"] <= up_to).min("ratio")
    return Estimate(tuple((least.sel(case=case) / least.sel(case="none")).values.tolist()))


def harm(summary: xr.Dataset, kind: str) -> Estimate:
    """Share of the grid of R where the test risk is above that without penalty, for each draw.

    By more than a hundredth, and at the strength of the least mean share: 0 for a strength that is
    never worse than no penalty.
    """
    names = [name for name in summary["case"].values if name.startswith(f"{kind} ")]
    risk = summary["test_loss"]
    share = (risk.sel(case=names) > WORSE * risk.sel(case="none")).mean("ratio")
    mildest = int(share.mean("seed").argmin("case"))
    return Estimate(tuple(share.isel(case=mildest).values.tolist()))
