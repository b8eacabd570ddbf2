"""How wide is the band of good outer rates, what widens it, and where theory says that it ends.

After K steps from uniform weights and the theta that is trained on them, an outer step eta is good
when the test risk of theta is within 10 % of the best (the worst of the last tenth of the steps
counts). The lower end of the band is a matter of speed, the upper end of stability or collapse.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...dynamics import LeastSquares
from ..claims import Estimate
from ..data import Data
from ..item import Drawing, Item, Results
from . import _good_band_figures as drawing
from ._good_band_cases import BUDGET, COVERED, WARMED, parts, timed
from ._good_band_claims import ASSUMED, CLAIMS, PREDICTIONS
from ._good_band_edges import edges, held_edges, misses
from ._good_band_runs import BandPart, bench, observe, run_rates
from ._good_band_theory import held, predict

__all__ = ["ITEM"]


def data(part: BandPart) -> Data:
    """Draw the two-cluster toy."""
    return part.toy.make()


def simulate(part: BandPart, data: Data) -> xr.Dataset:
    """Run one case over all outer steps, and what theory says about it."""
    problem = data.problem(part.ridge)
    assert isinstance(problem, LeastSquares), "the toy has real targets"
    setting = bench(part, problem)
    if part.start == "end":
        return held(part, setting)
    run = run_rates(part, setting, part.rates)
    return xr.merge([observe(part, setting, run), predict(part, setting)])


def draw(results: Results[BandPart]) -> dict[str, Drawing]:
    """Bands with their predictions, widths, measured against predicted ends, risks."""
    found = edges(results)
    covered = [case for case in COVERED if case in found["case"].values]
    return {
        "bands": drawing.bands(found.sel(K=BUDGET)),
        "widths": drawing.widths(found, BUDGET),
        "edges": drawing.scatter(found.sel(K=BUDGET, case=covered)),
        "risks": drawing.risks(results, BUDGET),
    }


def numbers(results: Results[BandPart]) -> dict[str, Estimate]:
    """Widths, their growth with K, and how well each end is predicted, for each draw."""
    found = edges(results)
    here = found.sel(K=BUDGET)
    out: dict[str, xr.DataArray] = {}
    for case in timed():
        name = case.replace("-", "_")
        out[f"width_{name}"] = here["width"].sel(case=case)
        out[f"kept_{name}"] = here["width_kept"].sel(case=case)
    for case in ("rho0.1", "soba", "entropy0.1", "implicit0.1"):
        out[f"risk_{case}"] = here["best"].sel(case=case) / here["best"].sel(case="base")
    late = found["width"].sel(case=["base", "exact"], K=[100, BUDGET])
    out["growth"] = late.diff("K").isel(K=0).mean("case") / np.log10(BUDGET / 100)
    scored = here.sel(case=list(COVERED))
    for name, (measured, predicted) in PREDICTIONS.items():
        off = misses(scored, measured, predicted)
        out[f"{name}_median"] = off.median("case")
        out[f"{name}_spread"] = _spread(off)
    out["fastest"] = found["fastest"].max("case")
    for case, plain in WARMED.items():
        high = here["high"].sel(case=case)
        name = case.replace("-", "_")
        out[f"{name}_gain"] = _log10(high / here["high"].sel(case=plain))
        out[f"{name}_end"] = _log10(high / here["limit_end"].sel(case=case))
    estimates = {name: Estimate(tuple(field.values.tolist())) for name, field in out.items()}
    for held_case, by_seed in held_edges(results).items():
        ends = tuple(float(np.log10(by_seed[seed])) for seed in sorted(by_seed))
        estimates[held_case.replace("-", "_")] = Estimate(ends)
    return estimates


def _log10(field: xr.DataArray) -> xr.DataArray:
    return field.copy(data=np.log10(field.values))


def _spread(off: xr.DataArray) -> xr.DataArray:
    """Root mean square over cases of the distance from the median over cases and draws."""
    away: xr.DataArray = (off - off.median()) ** 2
    mean = away.mean("case")
    return mean.copy(data=np.sqrt(mean.values))


ITEM = Item(
    name="good_band", version=1,
    title="The band of good outer rates",
    place="section 6 of the theory page, Q2",
    caption="The lower end of the band is where the exact flow has just had time to arrive; the "
    "upper end is decided by the curvature at the start. The limit of theory T7c at the solved "
    "point becomes the upper end, several times larger, after a warm-up with a small rate.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 0.7, "full": 30},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers,
)  # fmt: skip
