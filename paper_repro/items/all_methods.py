r"""What all methods do to the weights: slow, middle and fast ones, at one budget.

Every run starts at theta_star of uniform weights and ends with its budget of oracle calls. The
ratio R of the speeds sets the outer step of each method, so that "slow" means the same for all.
There are few validation samples, three for each parameter on the toy: with many of them, training
on them alone is as good as anything, and no ranking means anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from ...analysis.comparison import method_names
from ..claims import Claim, Estimate
from ..data import Toy
from ..data.locate import found as on_this_machine
from ..item import Assumed, Drawing, Item, Results, Variant
from . import _methods_figures as figures
from ._comparison_runs import (
    REFERENCE_ROWS,
    EntryPart,
    decades,
    gather,
    make_data,
    over_clean,
    run_entry,
)

__all__ = ["ITEM", "numbers"]

SPEEDS = {"slow": 0.1, "middle": 3.0, "fast": 100.0}
"""Values of R."""
LISTED = (
    "joint", "soba", "one_step", "real_time_forward", "penalty", "augmented_lagrangian", "f2sa",
    "lvhba", "borep",
)  # fmt: skip
"""The methods that the methods page compares at slow weights."""
SINGLE_LOOP = ("joint", "soba", "one_step", "f2sa", "scalebio", "lvhba")
"""Those whose steps are cheap, so that an equal budget is about an equal number of steps."""
CLASSIFIERS = (
    "soba", "one_step", "learning_to_reweight", "joint", "conjugate_gradient", "neumann",
    "truncated_reverse", "f2sa", "scalebio", "lvhba", "borep", "bsvrb", "augmented_lagrangian",
    "meta_weight_net",
)  # fmt: skip
"""Left out: those that solve for theta at each step, and those with a tangent for each sample."""
NUM_QUICK = 3
"""Of the classifiers, tried in the quick version and on MNIST."""


def parts(variant: Variant) -> Sequence[EntryPart]:
    """All methods on draws of the toy, some on images."""
    quick = variant == "quick"
    ratios = tuple(SPEEDS.values())
    found = [
        EntryPart(
            seed=seed, entry=entry, budget=6000, ratios=ratios,
            toy=Toy(p=5, m=15, seed=seed),
        )
        for seed in range(3 if quick else 12)
        for entry in (REFERENCE_ROWS, *method_names())
    ]  # fmt: skip
    sets = {"digits": (CLASSIFIERS[:NUM_QUICK], 2) if quick else (CLASSIFIERS, 4)}
    if not quick:
        sets |= dict.fromkeys(set(on_this_machine("mnist")), (CLASSIFIERS[:NUM_QUICK], 2))
    found += [
        EntryPart(
            seed=seed, entry=entry, budget=800 if name == "mnist" or quick else 2000,
            ratios=ratios, images=name,
        )
        for name, (entries, seeds) in sets.items()
        for seed in range(seeds)
        for entry in (REFERENCE_ROWS, *entries)
    ]  # fmt: skip
    return found


def tables(results: Results[EntryPart]) -> dict[str, xr.Dataset]:
    """Return the comparison on each data set, with risks over that of the clean samples."""
    names = dict.fromkeys(part.name for part in results)
    return {name: over_clean(gather(results, name)) for name in names}


def draw(results: Results[EntryPart]) -> dict[str, Drawing]:
    """One page of dots for each speed, on each data set."""
    return {
        f"{name}_{speed}": figures.page(ds.sel(ratio=ratio, drop=True), name, speed, ratio)
        for name, ds in tables(results).items()
        for speed, ratio in SPEEDS.items()
    }


def numbers(results: Results[EntryPart]) -> dict[str, Estimate]:
    """Agreement, separation and risks, for each draw."""
    found = tables(results)
    out = _toy_numbers(found["toy"])
    for name in ("digits", "mnist"):
        if name in found:
            out |= _accuracies(found[name], name)
    return {
        number: Estimate(tuple(float(v) for v in values.values)) for number, values in out.items()
    }


def _toy_numbers(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    at = {speed: ds.sel(ratio=ratio, drop=True) for speed, ratio in SPEEDS.items()}
    slow, middle, fast = at.values()
    own = fast.sel(entry=ds["is_scaled"])
    reference = decades(ds["reference_risk"])
    validation = ds["reference_risk"].sel(reference="validation_only")
    p = ds.attrs["num_params"]
    last = decades(own["risk_star"])
    out = {
        f"reference_{name}": reference.sel(reference=name)
        for name in ("uniform", "validation_only", "derivative_free")
    }
    out |= {
        "spread_slow": _spread(slow, SINGLE_LOOP),
        "spread_slow_listed": _spread(slow, LISTED),
        "spread_middle": _spread(middle, SINGLE_LOOP),
        "spread_fast": _spread(fast, SINGLE_LOOP),
        "clean_penalty": fast["clean_mass"].sel(entry="penalty"),
        "averaged_over_last": (decades(own["risk_averaged"]) - last).median("entry"),
        "theta_over_last": (decades(own["risk"]) - last).median("entry"),
        "fast_over_middle": decades(own["risk"] / middle["risk"].sel(entry=own["entry"])).median(
            "entry"
        ),
        "collapsed": (own["ess"] <= p).mean("entry"),
        "ess_maid": decades(fast["ess"].sel(entry="maid") / p),
        "cosine_slow": slow["cosine_end"].sel(entry=ds["is_scaled"]).median("entry"),
        "below_validation": (middle["risk"] < validation).mean("entry"),
        "broken": (own["status"] > 1).mean("entry"),
    }
    for entry in ds["entry"].values:
        for speed in ("middle", "fast"):
            out[f"{speed}_{entry}"] = decades(at[speed]["risk"].sel(entry=entry))
        out[f"ess_{entry}"] = decades(fast["ess"].sel(entry=entry))
    return out


def _spread(ds: xr.Dataset, names: Sequence[str]) -> xr.DataArray:
    """Return decades between the largest and the least risk of theta_star(w) of some methods."""
    risk = decades(ds["risk_star"].sel(entry=list(names)))
    return risk.max("entry") - risk.min("entry")


def _accuracies(ds: xr.Dataset, name: str) -> dict[str, xr.DataArray]:
    reference = ds["reference_test_accuracy"]
    out = {f"{name}_{row}": reference.sel(reference=row) for row in reference["reference"].values}
    for entry in CLASSIFIERS[:NUM_QUICK]:
        for speed, ratio in SPEEDS.items():
            at = ds.sel(entry=entry, ratio=ratio)
            out[f"{name}_{speed}_{entry}"] = at["test_accuracy"]
    return out


_PAGE, _THEORY = "methods page, section 3", "methods page, section 2"

CLAIMS = (
    Claim(number="spread_slow", meaning="decades between the largest and the least risk of "
          f"theta*(w) at R = 0.1 among {', '.join(SINGLE_LOOP)}",
          says="at slow weights methods agree", where=_PAGE, high=0.1),
    Claim(number="spread_slow_listed", meaning="the same among all nine methods of that page, some "
          "of whose steps are dear", says="at slow weights methods agree", where=_PAGE, high=0.1),
    Claim(number="spread_middle", meaning="decades among the first methods at R = 3"),
    Claim(number="spread_fast", meaning="decades among the first methods at R = 100",
          says="at fast weights they separate strongly", where=_PAGE, low=0.3),
    Claim(number="clean_penalty", meaning="weight on clean samples of penalty at R = 100",
          says="at fast weights penalty picks wrong samples", where=_PAGE, high=0.5),
    Claim(number="averaged_over_last", meaning="log10 of the risk of the model retrained on "
          "time-averaged weights over that on the last weights at R = 100, median over methods",
          says="fast weights switch between vertices, hence average them", where=_THEORY, high=0.0),
    Claim(number="theta_over_last", meaning="log10 of the risk of theta over that of the model "
          "retrained on the last weights at R = 100, median over methods",
          says="theta averages over fast weights", where=_THEORY, high=0.0),
    Claim(number="fast_over_middle", meaning="log10 of the risk of theta at R = 100 over that at "
          "R = 3, median over methods", says="fast weights have a higher estimation error",
          where="theory page, T11", low=0.0),
    Claim(number="collapsed", meaning="share of the methods with a rate whose ESS is at most p at "
          "R = 100", says="the field of most methods leaves at most p samples", where=_THEORY,
          low=0.5),
    Claim(number="ess_maid", meaning="log10 of the ESS of maid over p at R = 100",
          says="maid cannot enter the regime of fast weights", where=_THEORY, low=0.0),
    Claim(number="cosine_slow", meaning="cosine of the used field to the exact hypergradient at "
          "the end at R = 0.1, median over methods"),
    Claim(number="below_validation", meaning="share of methods with a lower risk at R = 3 than "
          "training on the validation samples alone"),
    Claim(number="broken", meaning="share of methods that diverge at R = 100"),
    *(Claim(number=f"reference_{name}", meaning=f"log10 of the risk of {words} over clean samples "
            "only")
      for name, words in (("uniform", "uniform weights"), ("validation_only", "validation only"),
                          ("derivative_free", "a search over 5 group weights"))),
    *(Claim(number=f"{kind}_{name}", meaning=f"{name}: {words}")
      for name in method_names()
      for kind, words in (("middle", "log10 of the risk of theta over clean samples only, R = 3"),
                          ("fast", "log10 of the risk of theta over clean samples only, R = 100"),
                          ("ess", "log10 of the ESS, R = 100"))),
    *(Claim(number=f"digits_{name}", meaning="digits, half of the labels redrawn: accuracy, "
            f"{words}")
      for name, words in (("uniform", "uniform weights"), ("validation_only", "validation only"),
                          ("clean_only", "clean samples only"),
                          ("derivative_free", "search over 5 group weights"))),
    *(Claim(number=f"digits_{speed}_{name}", meaning="digits, half of the labels redrawn: accuracy "
            f"of theta, {name}, R = {ratio:g}")
      for name in CLASSIFIERS[:NUM_QUICK] for speed, ratio in SPEEDS.items()),
)  # fmt: skip

ASSUMED = (
    Assumed(name="toy", choice="two clusters, n = 200, p = 5, m = 15, noise 0.3, ridge 0.01",
            reason="few validation samples, so that the training samples are needed"),
    Assumed(name="images", choice="digits, n = 200, m = 100, half of the labels redrawn",
            reason="fewer validation samples than parameters"),
    Assumed(name="budget", choice="6000 oracle calls on the toy, 800 on digits (full: 2000)",
            reason="slow weights of cheap methods have left the start, but not arrived"),
    Assumed(name="knobs", choice="defaults of each method but the outer step",
            reason="tuning each would compare the tuning"),
    Assumed(name="no rate", choice="learning_to_reweight and meta_weight_net run at their defaults",
            reason="they have no outer step of the kind that R sets"),
)  # fmt: skip

ITEM = Item(
    name="all_methods", version=1,
    title="All methods at slow, middle and fast weights",
    place="beyond the paper",
    caption="At one budget of oracle calls, R of the speeds matters more than the method; fast "
    "weights collapse with almost all of them.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 1.0, "full": 40},
    parts=parts, data=make_data, simulate=run_entry, draw=draw, numbers=numbers,
)  # fmt: skip
