"""When sparsity is harmless: share of the target, angle of the clusters, validation samples.

Slow, middle and fast weights at fixed ratios R of the speeds run for one budget on the two-cluster
toy, and are held against training on uniform weights, on the validation samples alone (argmin F),
and on the clean samples alone (unknown in practice). Risks are over that of the parameter of the
target, which nothing can beat on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from ...analysis import rate_ratio
from ...dynamics import LeastSquares, sweep
from ..claims import Claim, Estimate
from ..data import Data, Toy
from ..item import Assumed, Drawing, Item, Part, Results, Variant
from . import _shift_figures as drawing

__all__ = ["ITEM", "ShiftPart"]

SLOW, MIDDLE, FAST = 0.1, 10.0, 1000.0
RATIOS = (SLOW, 1.0, MIDDLE, 100.0, FAST)
SPEEDS = {"slow": SLOW, "middle": MIDDLE, "fast": FAST}
SOLVED = 1e-2
"""A run whose F is above min F by at most this share has solved its problem."""
SPARSE = 0.05
"""An ESS below this share of n counts as sparse."""

Axis = Literal["share", "angle", "m"]
_VALUES: dict[Axis, tuple[float, ...]] = {
    "share": (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99),
    "angle": (0.0, 5.0, 10.0, 20.0, 45.0, 90.0, 135.0, 180.0),
    "m": (10, 20, 50, 100, 200, 500),
}


@dataclass(frozen=True, kw_only=True)
class ShiftPart(Part):
    """One draw, along one axis; the other settings are those of ``toy``."""

    axis: Axis
    toy: Toy
    values: tuple[float, ...]
    ridge: float = 1e-3
    ratios: tuple[float, ...] = RATIOS
    multiple: float = 0.3
    num_steps: int = 10_000

    @property
    def line(self) -> str:
        """Such as ``share-m10``; what differs from the default toy."""
        words = [self.axis] + ([] if self.axis == "m" else [f"m{self.toy.m}"])
        words += [f"noise{self.toy.noise:g}"] if self.toy.noise != Toy().noise else []
        return "-".join(words)

    @property
    def label(self) -> str:
        """Such as ``share-m10-seed0``."""
        return f"{self.line}-seed{self.seed}"

    def toys(self) -> list[Toy]:
        """One for each value."""
        kind = int if self.axis == "m" else float
        changes: list[dict[str, Any]] = [{self.axis: kind(value)} for value in self.values]
        return [replace(self.toy, **change) for change in changes]


def parts(variant: Variant) -> Sequence[ShiftPart]:
    """Draws times axes; full adds noise."""
    num_seeds, noises = {"quick": (6, (0.3,)), "full": (16, (0.3, 0.1, 1.0))}[variant]
    lines: list[tuple[Axis, int]] = [
        ("share", 10), ("share", 100), ("angle", 10), ("angle", 100), ("m", 100)
    ]  # fmt: skip
    return [
        ShiftPart(
            seed=seed, axis=axis, values=_VALUES[axis],
            toy=Toy(seed=seed, p=5, m=m, noise=noise, test_size=4000),
        )
        for seed in range(num_seeds)
        for noise in noises
        for axis, m in lines
    ]  # fmt: skip


def data(part: ShiftPart) -> Data:
    """Draw the toy of the first value; those of the others follow from the same settings."""
    return part.toys()[0].make()


def simulate(part: ShiftPart, data: Data) -> xr.Dataset:
    """Run all values of the axis."""
    toys = part.toys()
    samples = [data, *(toy.make() for toy in toys[1:])]
    cells = [_cell(part, toy, drawn) for toy, drawn in zip(toys, samples, strict=True)]
    return xr.concat(
        cells, xr.DataArray(list(part.values), dims="value", name="value"), join="exact"
    )


def _cell(part: ShiftPart, toy: Toy, data: Data) -> xr.Dataset:
    problem = data.problem(part.ridge)
    assert isinstance(problem, LeastSquares), "the toy has real targets"
    assert data.clean is not None, "the toy knows its clean samples"
    floor = float(problem.test_loss(toy.target_theta()))
    rho = part.multiple / problem.constants()[1]
    ratios = np.array(part.ratios)
    ds = sweep(
        problem, alpha=[rho], beta=ratios / rate_ratio(problem, rho, 1.0),
        num_steps=part.num_steps,
    ).isel(alpha=0)  # fmt: skip
    is_ok = ds["status"].values <= 1
    fit = np.linalg.lstsq(problem.X_val, problem.y_val, rcond=None)[0]
    uniform = np.full(problem.num_samples, 1.0 / problem.num_samples)
    clean = data.clean / data.clean.sum()
    runs = {
        "test": np.where(is_ok, ds["test_loss"], np.inf) / floor,
        "gap": np.where(is_ok, ds["test_loss"] - ds["val_loss"], np.inf) / floor,
        "ess": ds["ess"].values / problem.num_samples,
        "solved": is_ok & (ds["val_loss"].values <= (1 + SOLVED) * problem.val_loss(fit)),
    }
    thetas = {
        "uniform": problem.theta_star(uniform), "validation": fit,
        "clean": problem.theta_star(clean),
    }  # fmt: skip
    references = {name: problem.test_loss(theta) / floor for name, theta in thetas.items()}
    fields = {name: ("ratio", values) for name, values in runs.items()}
    return xr.Dataset({**fields, **references}, {"ratio": ratios})


def lines(results: Results[ShiftPart]) -> dict[str, xr.Dataset]:
    """Return what was observed over (seed, value, ratio), references over (seed, value)."""
    groups: dict[str, list[xr.Dataset]] = {}
    for part, ds in sorted(results.items(), key=lambda entry: entry[0].seed):
        groups.setdefault(part.line, []).append(ds.expand_dims(seed=[part.seed]))
    return {name: xr.concat(entries, "seed", join="exact") for name, entries in groups.items()}


def draw(results: Results[ShiftPart]) -> dict[str, Drawing]:
    """Risk, gap and size along each axis."""
    found = lines(results)
    return {f"shift_{axis}": drawing.along(axis, found, SPEEDS) for axis in _VALUES}


def break_even(values: np.ndarray, advantage: np.ndarray) -> float:
    """Return where an advantage changes its sign for the last time; an end where it never does.

    Linear between the values: the last one if all are positive, the first if all are negative.
    """
    is_positive = advantage > 0
    changes = np.flatnonzero(is_positive[1:] != is_positive[:-1])
    if not changes.size:
        return float(values[-1] if is_positive[-1] else values[0])
    k = int(changes[-1])
    share = advantage[k] / (advantage[k] - advantage[k + 1])
    return float(values[k] + share * (values[k + 1] - values[k]))


def numbers(results: Results[ShiftPart]) -> dict[str, Estimate]:
    """Risks against the references, gaps, and where reweighting stops to pay, for each draw."""
    found, out = lines(results), {}
    for m in (10, 100):
        share, angle = found[f"share-m{m}"], found[f"angle-m{m}"]
        for name, ratio in SPEEDS.items():
            out[f"validation_{name}_m{m}"] = _log(share, "validation", ratio).mean("value")
            out[f"solved_{name}_m{m}"] = share["solved"].sel(ratio=ratio).mean("value")
        out[f"clean_middle_m{m}"] = _log(share, "clean", MIDDLE).mean("value")
        out[f"gap_middle_m{m}"] = share["gap"].sel(ratio=MIDDLE).mean("value")
        out[f"similar_m{m}"] = _log(angle, "uniform", 100.0).sel(value=0.0)
        out[f"harmless_m{m}"] = _harmless(share)
        out[f"share_even_m{m}"] = _even(share)
        out[f"angle_even_m{m}"] = _even(angle, -1)
    few, many = found["share-m10"], found["share-m100"]
    out["slow_clean"] = _log(few, "validation", SLOW).sel(value=0.75)
    out["slow_corrupt"] = _log(many, "validation", SLOW).sel(value=0.25)
    out["ess_share"] = many["ess"].sel(ratio=MIDDLE, value=0.95) / many["ess"].sel(
        ratio=MIDDLE, value=0.05
    )
    return {name: Estimate(tuple(field.values.tolist())) for name, field in out.items()}


def _log(ds: xr.Dataset, reference: str, ratio: float) -> xr.DataArray:
    """log10 of the test risk over that of a reference, over (seed, value)."""
    quotient = ds["test"].sel(ratio=ratio) / ds[reference]
    return quotient.copy(data=np.log10(quotient.values))


def _harmless(ds: xr.Dataset) -> xr.DataArray:
    """Return the largest distance to the validation-only fit, in log10, of solved sparse runs."""
    chosen = ds["solved"] & (ds["ess"] <= SPARSE)
    quotient = ds["test"] / ds["validation"]
    distance = quotient.copy(data=np.abs(np.log10(quotient.values)))
    return distance.where(chosen).max(("value", "ratio"))


def _even(ds: xr.Dataset, direction: int = 1) -> xr.DataArray:
    """Where middle weights and uniform weights have the same risk, for each draw."""
    advantage = -_log(ds, "uniform", MIDDLE).transpose("seed", "value").values
    values = ds["value"].values[::direction]
    return xr.DataArray([break_even(values, row[::direction]) for row in advantage])


_PAGE = "theory page"
_COLLAPSE = "sparse weights come with a higher estimation error"
_SIMILAR = "similar training and target laws: sparsity harmless"


def _claims(m: int) -> list[Claim]:
    law = 5 / m + 5 / (m - 6)
    to_validation = "log10 of the test risk over that of the validation-only fit"
    return [
        *(Claim(number=f"validation_{name}_m{m}", meaning=f"m = {m}, R = {ratio:g}: "
                f"{to_validation}, mean over the shares",
                says=_COLLAPSE if name == "fast" else None,
                where="section 2.4" if name == "fast" else None,
                low=0.02 if name == "fast" else -np.inf) for name, ratio in SPEEDS.items()),
        *(Claim(number=f"solved_{name}_m{m}", meaning=f"m = {m}, R = {ratio:g}: share of the "
                "shares at which F is within 1 % of its minimum") for name, ratio in
          SPEEDS.items()),
        Claim(number=f"harmless_m{m}", meaning=f"m = {m}: largest distance of the test risk of "
              "solved runs with an ESS below n/20 to that of the validation-only fit, in log10",
              says="sparsity as implicit bias inside a solution set, not suboptimality",
              where=f"{_PAGE}, T6", high=0.02),
        Claim(number=f"gap_middle_m{m}", meaning=f"m = {m}, R = 10: (test - validation risk) / "
              "floor, mean over the shares", says="solved runs have the gap of least squares on m "
              f"samples, p/m + p/(m-p-1) = {law:.3g}", where=f"{_PAGE}, T6 (a)", low=0.7 * law,
              high=1.3 * law),
        Claim(number=f"similar_m{m}", meaning=f"m = {m}, angle 0, R = 100: log10 of the test risk "
              "over that of uniform weights", says=_SIMILAR, where=f"{_PAGE}, section 6",
              high=0.05),
        Claim(number=f"clean_middle_m{m}", meaning=f"m = {m}, R = 10: log10 of the test risk over "
              "that of training on the clean samples, mean over the shares"),
        Claim(number=f"share_even_m{m}", meaning=f"m = {m}, R = 10: share of the target above "
              "which uniform weights have the lower test risk"),
        Claim(number=f"angle_even_m{m}", meaning=f"m = {m}, R = 10: angle in degrees below which "
              "uniform weights have the lower test risk (share 0.5)"),
    ]  # fmt: skip


CLAIMS = (
    *_claims(10),
    *_claims(100),
    Claim(number="slow_clean", meaning="m = 10, share 0.75, R = 0.1: log10 of the test risk over "
          "that of the validation-only fit"),
    Claim(number="slow_corrupt", meaning="m = 100, share 0.25, R = 0.1: the same"),
    Claim(number="ess_share", meaning="m = 100, R = 10: ESS at share 0.95 over that at 0.05"),
)  # fmt: skip

ASSUMED = (
    Assumed(name="toy", choice="n = 200, p = 5, noise 0.3 (full: 0.1 and 1 too); share 0.5, angle "
            "180 degrees and m = 10 or 100 unless varied",
            reason="small and large validation sets for p parameters"),
    Assumed(name="rates", choice="rho = 0.3/L; R = 0.1, 1, 10, 100, 1000",
            reason="slow, middle and fast on every problem"),
    Assumed(name="budget", choice="10000 simultaneous steps from theta*(w0)",
            reason="enough for R >= 1; slow runs are still under way, as they would be in use"),
    Assumed(name="floor", choice="test risk of the target's parameter",
            reason="the risk that remains when the law is known"),
)  # fmt: skip

ITEM = Item(
    name="distribution_shift", version=1,
    title="Distribution shift: when is sparsity harmless?",
    place="beyond the paper: section 6 of the theory page",
    caption="Runs that solve their problem have the test risk of the validation-only fit, whatever "
    "the shift and however sparse the weights. Weights learned on few validation samples are worse "
    "than uniform ones where the training data are nearly right.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 0.4, "full": 3},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers,
)  # fmt: skip
