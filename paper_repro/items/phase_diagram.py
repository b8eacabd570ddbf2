"""The phase diagram of the warm-started algorithm over its two speeds, at a fixed budget.

Euler steps of length dt = 1: alpha and beta are the inner and outer steps rho and eta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ... import figures
from ...dynamics import sweep
from ..claims import Claim, Estimate
from ..data import Data, Toy
from ..item import Assumed, Drawing, Item, Part, Results, Variant

__all__ = ["ITEM", "GridPart"]

GOOD = 1.05
THRESHOLD = 1e-6
BUDGET, LONG_BUDGET = 300, 1000


@dataclass(frozen=True, kw_only=True)
class GridPart(Part):
    """One grid of (alpha, beta) on one draw of the toy; ``decades`` are powers of ten."""

    toy: Toy
    ridge: float = 1e-3
    alpha_decades: tuple[float, float] = (-3.0, 0.0)
    beta_decades: tuple[float, float] = (-3.0, 2.0)
    shape: tuple[int, int]
    budgets: tuple[int, ...] = (100, BUDGET, LONG_BUDGET)

    @property
    def label(self) -> str:
        """Such as ``grid-24x30-seed0``."""
        return f"grid-{self.shape[0]}x{self.shape[1]}-seed{self.seed}"


def parts(variant: Variant) -> Sequence[GridPart]:
    """One part for each draw."""
    num_seeds, shape = {"quick": (4, (16, 26)), "full": (10, (49, 81))}[variant]
    return [GridPart(seed=seed, toy=Toy(seed=seed), shape=shape) for seed in range(num_seeds)]


def data(part: GridPart) -> Data:
    """Draw the toy."""
    return part.toy.make()


def simulate(part: GridPart, data: Data) -> xr.Dataset:
    """Sweep the grid."""
    alpha = np.logspace(*part.alpha_decades, part.shape[0])
    beta = np.logspace(*part.beta_decades, part.shape[1])
    ds = sweep(
        data.problem(part.ridge), alpha=alpha, beta=beta, dt=1.0,
        num_steps=max(part.budgets), save_steps=part.budgets, thresholds=(THRESHOLD,),
    )  # fmt: skip
    return ds.assign_attrs(num_samples=data.num_samples)


def draw(results: Results[GridPart]) -> dict[str, Drawing]:
    """ESS, support, test risk and clean mass of the first draw, with the good rates outlined."""
    ds = results[min(results, key=lambda part: part.seed)].sel(step=BUDGET)
    band = _good(ds).rename(f"test risk within {100 * (GOOD - 1):.0f} % of the best")
    figure = figures.style.new_figure((7.0, 5.6))
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    (size, support), (risk, clean) = axes
    best = float(_risk(ds).min())
    figures.phase_diagram(ds, size, quantity="ess", band=band)
    figures.phase_diagram(ds, support, quantity="support", threshold=THRESHOLD, band=band)
    figures.phase_diagram(ds, risk, quantity="test_loss", band=band, limits=(best, 3 * best))
    figures.phase_diagram(ds, clean, quantity="clean_mass", band=band, limits=(0.0, 1.0))
    figures.style.legend_above(figure, tuple(axes.ravel()))
    for ax in (size, support):
        ax.set_xlabel("")
    for ax in (support, clean):
        ax.set_ylabel("")
    names = ["ess", "support", "test_loss", "val_loss", "clean_mass", "status"]
    table = ds[names].sel(threshold=THRESHOLD)
    caption = (
        "Effective sample size (of 200), number of weights above 1e-6 of the largest, test risk "
        f"and weight on the target cluster after {BUDGET} simultaneous steps with rates alpha for "
        "theta and beta for w (dt = 1, mirror steps on the simplex). Inside the line, the test "
        "risk is close to the best of the grid."
    )
    tables = {"grid": table.drop_vars(["threshold", "step"]).assign(good=band.astype("int8"))}
    return {"phase_diagram": Drawing(figure=figure, caption=caption, tables=tables)}


def numbers(results: Results[GridPart]) -> dict[str, Estimate]:
    """Width of the good band, and ESS on its two sides, for each draw."""
    values: dict[str, list[float]] = {}
    for part in sorted(results, key=lambda part: part.seed):
        for name, value in _numbers(results[part]).items():
            values.setdefault(name, []).append(value)
    return {name: Estimate(tuple(entries)) for name, entries in values.items()}


def _numbers(all_budgets: xr.Dataset) -> dict[str, float]:
    ds, long = all_budgets.sel(step=BUDGET), all_budgets.sel(step=LONG_BUDGET)
    good = _good(ds)
    ok = _ok(ds)
    decade = float(np.log10(ds["beta"][1] / ds["beta"][0]))
    fast = (ds["beta"] >= 10 * ds["alpha"]) & ok
    slow = (ds["beta"] <= 0.1 * ds["alpha"]) & ok
    risk = _risk(ds)
    return {
        "band_decades": float(good.sum("beta").max()) * decade,
        "good_share": float(good.mean()),
        "ess_fast": float(ds["ess"].where(fast).median()),
        "ess_slow": float(ds["ess"].where(slow).median()),
        "risk_fast": float(risk.where(fast).median() / risk.min()),
        "good_share_long": float(_good(long).mean()),
        "failed_share": float(1 - ok.mean()),
    }


def _ok(ds: xr.Dataset) -> xr.DataArray:
    return ds["status"] <= 1  # Status.ok and Status.converged


def _risk(ds: xr.Dataset) -> xr.DataArray:
    return ds["test_loss"].where(_ok(ds))


def _good(ds: xr.Dataset) -> xr.DataArray:
    return _risk(ds) <= GOOD * _risk(ds).min()


CLAIMS = (
    Claim(
        number="good_share", meaning="share of the grid with a test risk within 5 % of the best",
        says="the range of good learning rates is very narrow", where="open questions", high=0.25,
    ),
    Claim(
        number="ess_fast", meaning="median ESS (of 200) where beta >= 10 alpha",
        says="outer rate much larger than the inner one: very sparse weights", where="section 3.2",
        high=20,
    ),
    Claim(
        number="risk_fast", meaning="median test risk where beta >= 10 alpha, over the best",
        says="sparse weights come with a higher estimation error", where="section 2.4", low=1.05,
    ),
    Claim(number="good_share_long", meaning="share within 5 % of the best after 1000 steps"),
    Claim(number="ess_slow", meaning="median ESS (of 200) where beta <= alpha / 10"),
    Claim(number="band_decades", meaning="decades of beta in the good band, at the best alpha"),
    Claim(number="failed_share", meaning="share of the grid that diverged"),
)  # fmt: skip

ASSUMED = (
    Assumed(name="grid", choice="alpha 1e-3 to 1, beta 1e-3 to 100, logarithmic",
            reason="spans both regimes and the stability limits"),
    Assumed(name="budget", choice="300 simultaneous steps; 1000 for comparison",
            reason="the paper's number of iterations could not be read"),
    Assumed(name="good", choice="test risk within 5 % of the best of the grid",
            reason="the paper's notion of a good rate could not be read"),
    Assumed(name="toy", choice="as in item toy", reason="the same problem throughout"),
)  # fmt: skip

ITEM = Item(
    name="phase_diagram", version=1,
    title="Phase diagram of the two speeds",
    place="section 3 and the open questions",
    caption="Where the warm-started algorithm finds a good model within its budget, and where its "
    "weights collapse.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 0.2, "full": 4},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers,
)  # fmt: skip
