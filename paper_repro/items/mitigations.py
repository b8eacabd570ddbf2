r"""What mitigates the sparsity of fast weights, and at what price.

Three methods run with every mitigation of `analysis.comparison.mitigation_names` at the same
ratios R of the speeds and the same budget of oracle calls, beside the plain method. A mitigation
that changes the inner loop changes the share q of an error of theta that one outer step removes;
R takes that into account, so that the gain is what remains at an equal R.
"""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from ...analysis.comparison import mitigation_names
from ...analysis.comparison.entries import MEMORY, SHARE
from ..claims import Claim, Estimate
from ..data import Toy
from ..item import Assumed, Drawing, Item, Results, Variant
from . import _mitigation_figures as figures
from ._comparison_runs import (
    REFERENCE_ROWS,
    EntryPart,
    decades,
    gather,
    make_data,
    over_clean,
    run_entry,
)

__all__ = ["ITEM", "least_size", "numbers"]

METHODS = ("joint", "soba", "one_step")
RATIOS = (1.0, 10.0, 100.0, 1000.0)
SLOW, FAST = 1.0, 100.0
"""Ratios at which numbers are given."""
LONG_RATIO, LONG_TIMES = 0.1, 10
"""Ratio and length, in budgets, of the runs that go on until they rest."""
KINDS = tuple(name for name in mitigation_names() if name != "none")
WORST = 100.0
"""Largest risk, in units of that of the clean samples, that counts in means."""


def parts(variant: Variant) -> Sequence[EntryPart]:
    """All pairs on draws of the toy, and long runs of two of them."""
    quick = variant == "quick"
    budget = 4000 if quick else 20_000
    entries = [m if k == "none" else f"{m}+{k}" for k in mitigation_names() for m in METHODS]
    toys = [Toy(p=5, m=15, seed=seed) for seed in range(3 if quick else 10)]
    if not quick:
        toys += [Toy(p=20, m=60, seed=seed) for seed in range(5)]
    return [
        EntryPart(seed=toy.seed, entry=entry, budget=length, ratios=ratios, toy=toy)
        for toy in toys
        for length, ratios, names in (
            (budget, RATIOS, [REFERENCE_ROWS, *entries]),
            (LONG_TIMES * budget, (LONG_RATIO,), ["joint", "joint+averaged"]),
        )
        for entry in names
    ]


def table(results: Results[EntryPart], name: str = "toy") -> xr.Dataset:
    """Return runs over (method, mitigation, ratio, seed), risks cut at `WORST`."""
    ds = over_clean(gather(results, name))
    ds = ds[["ess", "risk", "risk_star", "risk_averaged", "steps", "status"]]
    rows = [
        ds.sel(entry=[m if kind == "none" else f"{m}+{kind}" for m in METHODS])
        .drop_vars(["is_scaled", "label"])
        .rename(entry="method")
        .assign_coords(method=list(METHODS))
        for kind in mitigation_names()
    ]
    kinds = xr.DataArray(list(mitigation_names()), dims="mitigation", name="mitigation")
    joined = xr.concat(rows, kinds, join="exact", data_vars="all")
    risks = ("risk", "risk_star", "risk_averaged")
    return joined.assign({name: joined[name].clip(max=WORST) for name in risks})


def draw(results: Results[EntryPart]) -> dict[str, Drawing]:
    """ESS and risks against R, a panel for each mitigation."""
    names = dict.fromkeys(part.name for part in results)
    return {
        f"{name}_{quantity}": figures.against_ratio(table(results, name), quantity, name, WORST)
        for name in names
        for quantity in ("ess", "risk", "risk_star")
    }


def least_size(share: float, num_samples: int) -> float:
    r"""Return the least ESS of weights of which a share is uniform.

    :math:`1/((1-s)^2 + (1 - (1-s)^2)/n)`, that of a vertex mixed with uniform weights.
    """
    kept = (1.0 - share) ** 2
    return 1.0 / (kept + (1.0 - kept) / num_samples)


def numbers(results: Results[EntryPart]) -> dict[str, Estimate]:
    """Gains and prices, means over the methods, for each draw; bounds over all runs."""
    ds = table(results)
    plain = ds.sel(mitigation="none")
    out: dict[str, xr.DataArray] = {}
    for kind in KINDS:
        here = ds.sel(mitigation=kind)
        out[f"ess_{kind}"] = _gain(here, plain, "ess", FAST)
        out[f"risk_{kind}"] = _gain(here, plain, "risk", FAST)
        out[f"star_{kind}"] = _gain(here, plain, "risk_star", FAST)
        out[f"price_{kind}"] = _gain(here, plain, "risk", SLOW)
    bound = least_size(SHARE, ds.attrs["num_samples"])
    for kind in ("mixed", "floored"):
        least = ds["ess"].sel(mitigation=kind).min(("method", "ratio"))
        out[f"bound_{kind}"] = least / bound
    out |= _long(results)
    return {
        number: Estimate(tuple(float(v) for v in values.values)) for number, values in out.items()
    }


def _gain(here: xr.Dataset, plain: xr.Dataset, name: str, ratio: float) -> xr.DataArray:
    """Return log10 of a quantity over that of the plain method, mean over the methods."""
    gain = decades(here[name] / plain[name]).sel(ratio=ratio)
    return gain.mean("method")


def _long(results: Results[EntryPart]) -> dict[str, xr.DataArray]:
    """Return what averaging does to the end of a long slow run."""
    length = max(part.budget for part in results if part.name == "toy")
    ds = gather(results, "toy", length).isel(budget=-1).sel(ratio=LONG_RATIO)
    out = {}
    for name, quantity in (("ess", "ess"), ("risk", "test_loss")):
        end = decades(ds[quantity])
        out[f"end_averaged_{name}"] = end.sel(entry="joint+averaged") - end.sel(entry="joint")
    return out


_WHERE = "questions (Q3)"
_WORDS = {
    "entropy": "entropy penalty", "l2": "l2 penalty", "mixed": "mixture with uniform weights",
    "floored": "floor", "averaged": "moving average", "inner_steps": "5 inner steps",
    "momentum": "momentum of theta", "resolved": "theta solved for every 10th step",
}  # fmt: skip

CLAIMS = (
    Claim(number="bound_mixed", meaning="least ESS with a mixture over 1/((1-s)^2 + (1-(1-s)^2)/n)",
          says="the ESS of weights of which a share s is uniform has this bound",
          where="geometries.Mixed", low=1.0 - 1e-9, exact=True),
    Claim(number="bound_floored", meaning="least ESS with a floor over the same bound",
          says="a floor has the same set of weights", where="geometries.Floored", low=1.0 - 1e-9,
          exact=True),
    Claim(number="end_averaged_ess", meaning="log10 of the ESS at the end of a long run at R = 0.1 "
          "with a moving average over that without", says="rest points are those without it",
          where="geometries.Averaged", low=-0.05, high=0.05),
    Claim(number="end_averaged_risk", meaning="the same for the risk of theta",
          says="rest points are those without it", where="geometries.Averaged", low=-0.02,
          high=0.02),
    *(Claim(number=f"ess_{kind}", meaning=f"{words}: log10 of the ESS at R = 100 over that without",
            says="a modification may mitigate sparsity", where=_WHERE, low=0.1)
      for kind, words in _WORDS.items()),
    *(Claim(number=f"{number}_{kind}", meaning=f"{words}: log10 of the risk {meaning} over that "
            "without")
      for kind, words in _WORDS.items()
      for number, meaning in (("risk", "of theta at R = 100"),
                              ("star", "of theta*(w) at R = 100"),
                              ("price", "of theta at R = 1"))),
)  # fmt: skip

ASSUMED = (
    Assumed(name="strength", choice=f"penalties 0.1, share and floor {SHARE:g}, memory {MEMORY:g}, "
            "5 inner steps, momentum 0.9, a solve every 10 steps",
            reason="one value each, of a common size; no tuning on the test set"),
    Assumed(name="budget", choice="4000 oracle calls (full: 20000)",
            reason="the plain methods at R = 1 have about arrived"),
    Assumed(name="toy", choice="two clusters, n = 200, p = 5, m = 15, noise 0.3, ridge 0.01 (full: "
            "p = 20, m = 60 too)", reason="few validation samples: training data are needed"),
)  # fmt: skip

ITEM = Item(
    name="mitigations", version=1,
    title="What mitigates the sparsity of fast weights",
    place="the third open question",
    caption="Penalties on the weights keep the effective sample size of fast weights, an l2 "
    "penalty also the risk; a mixture or a floor bounds the size but hardly raises it, and what "
    "changes the inner loop does not help at an equal R.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 0.9, "full": 30},
    parts=parts, data=make_data, simulate=run_entry, draw=draw, numbers=numbers,
)  # fmt: skip
