r"""How convergence speed and sparsity trade off (the first open question of the paper).

Every run starts from uniform weights and the theta that is trained on them. It has *reached* its
goal at the first step from which on the test risk of theta stays within a tenth of that of the
validation-only fit, argmin F, which is where solved runs end (theory T6); a run that is not there
for at least half of its steps has not. The grid is over the
inner step rho, in units of 1/L with L = max_i abs(x_i)^2 + ridge, and over the ratio R of speeds:
eta = R rho lambda_min(H) / sd_w(Psi). The exact algorithm has R = eta sd_w(Psi).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from ...analysis import rate_ratio
from ...dynamics import LeastSquares, methods, run_method, sweep
from ...dynamics.simplex import ess
from ...dynamics.types import Array
from ..claims import Claim, Estimate
from ..data import Data, Toy
from ..item import Assumed, Drawing, Item, Part, Results, Variant
from . import _speed_figures as drawing
from ._reaching import first_step, fit_exponent, pareto, settled_step

__all__ = ["ITEM", "SpeedPart"]

GOAL = 1.1
"""Test risk to reach, over that of the validation-only fit."""
SLOW = (0.1, 1.0)
"""Range of R in which exponents are fitted."""
KNEE = 5.0
"""A ratio R up to which speed is cheap."""
FAST = 100.0
"""From here on runs count as fast."""


@dataclass(frozen=True, kw_only=True)
class SpeedPart(Part):
    """One draw, all rates.

    ``multiples`` are rho L; ``decades`` and ``exact_decades`` are powers of ten of R.
    """

    toy: Toy
    ridge: float = 1e-3
    multiples: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    decades: tuple[float, float] = (-1.0, 4.0)
    num_ratios: int = 16
    num_steps: int = 20_000
    exact_decades: tuple[float, float] = (-1.0, 1.0)
    num_exact: int = 9
    exact_steps: int = 800

    @property
    def case(self) -> str:
        """Such as ``p2-noise0.3``."""
        size = "" if self.toy.n == Toy().n else f"-n{self.toy.n}"
        return f"p{self.toy.p}-noise{self.toy.noise:g}{size}"

    @property
    def label(self) -> str:
        """Such as ``p2-noise0.3-seed0``."""
        return f"{self.case}-seed{self.seed}"


def parts(variant: Variant) -> Sequence[SpeedPart]:
    """Draws times noise and dimension; full adds cases and a finer grid."""
    seeds, cases = {
        "quick": (5, ((2, 0.3, 200), (2, 0.1, 200), (2, 1.0, 200), (10, 0.3, 200))),
        "full": (10, ((2, 0.3, 200), (2, 0.1, 200), (2, 1.0, 200), (5, 0.3, 200), (10, 0.3, 200),
                      (2, 0.3, 1000))),
    }[variant]  # fmt: skip
    first = [
        SpeedPart(seed=seed, toy=Toy(seed=seed, p=p, noise=noise, n=n))
        for seed in range(seeds)
        for p, noise, n in cases
    ]
    if variant == "quick":
        return first
    return [replace(part, num_ratios=31, num_exact=17) for part in first]


def data(part: SpeedPart) -> Data:
    """Draw the toy."""
    return part.toy.make()


def simulate(part: SpeedPart, data: Data) -> xr.Dataset:
    """Run the warm-started algorithm on the grid, and the exact one over its rates."""
    problem = data.problem(part.ridge)
    assert isinstance(problem, LeastSquares), "the toy has real targets"
    fit = np.linalg.lstsq(problem.X_val, problem.y_val, rcond=None)[0]
    goal = GOAL * float(problem.test_loss(fit))
    joint = xr.concat(
        [_joint(part, problem, multiple, goal) for multiple in part.multiples],
        xr.DataArray(list(part.multiples), dims="multiple", name="multiple"), join="exact",
    )  # fmt: skip
    p = problem.num_params
    return xr.merge([joint, _exact(part, problem, goal)], join="exact").assign_attrs(
        num_samples=problem.num_samples, joint_calls=p + 3, exact_calls=2 * p + 3
    )


def _joint(part: SpeedPart, problem: LeastSquares, multiple: float, goal: float) -> xr.Dataset:
    rho = multiple / problem.constants()[1]
    ratios = np.logspace(*part.decades, part.num_ratios)
    steps = kept_steps(part.num_steps)
    ds = sweep(
        problem, alpha=[rho], beta=ratios / rate_ratio(problem, rho, 1.0),
        num_steps=part.num_steps, save_steps=steps,
    )  # fmt: skip
    found = ds.isel(alpha=0).transpose("beta", ...)
    is_ok = found["status"].values[:, None] <= 1
    risk = np.where(is_ok, found["test_loss"].values, np.inf)
    return _observed(steps, risk, found["ess"].values, goal, "").assign_coords(ratio=ratios)


def _exact(part: SpeedPart, problem: LeastSquares, goal: float) -> xr.Dataset:
    ratios = np.logspace(*part.exact_decades, part.num_exact)
    # In units of the field: R of a method whose theta is at rest (theory section 8).
    spread = rate_ratio(problem, 1.0, 1.0) * float(np.linalg.eigvalsh(_hessian(problem))[0])
    run = run_method(
        problem, methods.Exact(eta=ratios / spread), part.exact_steps,
        save_steps=kept_steps(part.exact_steps),
    )  # fmt: skip
    is_ok = np.asarray(run.status) <= 1
    risk = np.where(is_ok, problem.test_loss(run.theta), np.inf).T
    ds = _observed(run.t, risk, ess(run.w).T, goal, "exact_")
    return ds.rename(ratio="exact_ratio").assign_coords(exact_ratio=ratios)


def _hessian(problem: LeastSquares) -> Array:
    n = problem.num_samples
    uniform = np.full(n, 1.0 / n)
    return problem.hessian(problem.theta_star(uniform), uniform)


def kept_steps(num_steps: int) -> list[int]:
    """Return steps from 0 to `num_steps`, at least every step or every tenth of the way."""
    return sorted({0, *np.geomspace(1, num_steps, 110).round().astype(int).tolist()})


def _observed(steps: Array, risk: Array, sizes: Array, goal: float, prefix: str) -> xr.Dataset:
    """Return what was reached, of risks and effective sample sizes (ratio, step)."""
    settled = settled_step(steps, risk, goal)
    fields = {
        "settled": np.where(settled <= steps[-1] / 2, settled, np.inf),
        "first": first_step(steps, risk, goal),
        "ess": sizes[:, -1],
        "excess": GOAL * risk[:, -1] / goal,
    }
    return xr.Dataset({prefix + name: ("ratio", field) for name, field in fields.items()})


def cases(results: Results[SpeedPart]) -> dict[str, xr.Dataset]:
    """Return what was observed over (seed, multiple, ratio) and (seed, exact_ratio), by case.

    Counts of steps get their oracle calls beside them, ess is divided by n.
    """
    groups: dict[str, list[xr.Dataset]] = {}
    for part, ds in sorted(results.items(), key=lambda entry: entry[0].seed):
        n = ds.attrs["num_samples"]
        ds = ds.assign(
            ess=ds["ess"] / n, exact_ess=ds["exact_ess"] / n,
            calls=ds["settled"] * ds.attrs["joint_calls"],
            exact_calls=ds["exact_settled"] * ds.attrs["exact_calls"],
        )  # fmt: skip
        groups.setdefault(part.case, []).append(ds.expand_dims(seed=[part.seed]))
    return {
        name: xr.concat(entries, "seed", join="exact", combine_attrs="drop_conflicts")
        for name, entries in groups.items()
    }


def draw(results: Results[SpeedPart]) -> dict[str, Drawing]:
    """Size against speed with the fronts; speed and size against R."""
    found = cases(results)
    fronts = {
        name: [_front(ds.sel(seed=seed)) for seed in ds["seed"].values]
        for name, ds in found.items()
    }
    return {
        "tradeoff": drawing.tradeoff(found, fronts),
        "against_ratio": drawing.against_ratio(found),
    }


def _front(ds: xr.Dataset) -> xr.Dataset:
    """Return the cells of one draw that no other beats in both calls and size."""
    stacked = ds[["calls", "ess"]].stack(cell=("multiple", "ratio"))
    return stacked.isel(cell=pareto(stacked["calls"].values, stacked["ess"].values))


def numbers(results: Results[SpeedPart]) -> dict[str, Estimate]:
    """Exponents, the fastest rates and what they cost, for each draw."""
    out: dict[str, list[float]] = {}
    for name, all_seeds in cases(results).items():
        for seed in all_seeds["seed"].values:
            for key, value in _numbers(all_seeds.sel(seed=seed)).items():
                out.setdefault(f"{key}_{name}", []).append(value)
    return {name: Estimate(tuple(values)) for name, values in out.items()}


def _numbers(ds: xr.Dataset) -> dict[str, float]:
    unit, largest = ds.sel(multiple=1.0), ds.isel(multiple=-1)
    fastest = unit.isel(ratio=int(unit["settled"].argmin("ratio")))
    slow = ds.sel(ratio=SLOW[1], method="nearest")
    fastest_ratios = ds["ratio"].isel(ratio=ds["settled"].argmin("ratio"))
    best_exact = ds.isel(exact_ratio=int(ds["exact_settled"].argmin("exact_ratio")))
    fast = unit.sel(ratio=unit["ratio"] >= 0.999 * FAST)
    front, at_one = _front(ds), slow.sel(multiple=1.0)
    knee = unit.sel(ratio=KNEE, method="nearest")
    in_range = largest.sel(ratio=slice(0.999 * SLOW[0], 1.001 * SLOW[1]))
    return {
        "exponent_ratio": _slope(in_range, "ratio"),
        "exponent_rho": _slope(slow, "multiple"),
        "drift": fit_exponent(ds["multiple"].values, fastest_ratios.values),
        "ess_over_rho": float(np.log10(slow["ess"].isel(multiple=0) / slow["ess"][-1])),
        "fastest_ratio": float(np.log10(fastest["ratio"])),
        "fastest_steps": float(np.log10(fastest["settled"])),
        "fastest_ess": float(np.log10(fastest["ess"])),
        "gain": float(np.log10(at_one["settled"] / fastest["settled"])),
        "price": float(np.log10(at_one["ess"] / fastest["ess"])),
        "gain_knee": float(np.log10(at_one["settled"] / knee["settled"])),
        "price_knee": float(np.log10(at_one["ess"] / knee["ess"])),
        "elasticity": fit_exponent(front["calls"].values, front["ess"].values),
        "exact_steps": float(np.log10(best_exact["exact_settled"])),
        "exact_ess": float(np.log10(best_exact["exact_ess"])),
        "exact_calls": float(np.log10(best_exact["exact_calls"] / ds["calls"].min())),
        "unsettled": float((~np.isfinite(fast["settled"])).mean()),
    }


def _slope(ds: xr.Dataset, over: str) -> float:
    return fit_exponent(ds[over].values, ds["settled"].values)


_Q1, _PAGE = "open questions (Q1)", "theory page"
BASE = "p2-noise0.3"
_OTHERS = {"p2-noise0.1": "noise 0.1", "p2-noise1": "noise 1", "p10-noise0.3": "p = 10"}

CLAIMS = (
    Claim(number=f"exponent_ratio_{BASE}", meaning="steps to the goal grow like this power of R, R "
          "= 0.1 to 1", says="slow weights follow the exact flow, whose time is 1/beta",
          where=f"{_PAGE}, T3", low=-1.1, high=-0.9),
    Claim(number=f"exponent_rho_{BASE}", meaning="and like this power of rho at R = 1",
          says="R is the one axis: steps at equal R go like 1/rho", where=f"{_PAGE}, section 8",
          low=-1.1, high=-0.9),
    Claim(number=f"ess_over_rho_{BASE}", meaning="log10 of ESS at rho = 0.1/L over that at 3/L, R "
          "= 1", says="R is the one axis: the end at equal R is the same",
          where=f"{_PAGE}, section 8", low=-0.1, high=0.1),
    Claim(number=f"drift_{BASE}", meaning="the fastest R goes like this power of rho",
          says="the simultaneous algorithm is stable up to an eta, not up to an R",
          where=f"{_PAGE}, T7c", low=-1.4, high=-0.6),
    Claim(number=f"elasticity_{BASE}", meaning="exponent of ESS against calls along the front",
          says="convergence speed and sparsity trade off", where=_Q1, low=0.05),
    Claim(number=f"price_{BASE}", meaning="log10 of ESS at R = 1 over that at the fastest R, rho = "
          "1/L", says="convergence speed and sparsity trade off", where=_Q1, low=0.3),
    Claim(number=f"gain_{BASE}", meaning="log10 of steps at R = 1 over those at the fastest R, rho "
          "= 1/L"),
    Claim(number=f"gain_knee_{BASE}", meaning="log10 of steps at R = 1 over those at R = 4.6, rho "
          "= 1/L"),
    Claim(number=f"price_knee_{BASE}", meaning="log10 of ESS at R = 1 over that at R = 4.6, rho = "
          "1/L"),
    Claim(number=f"unsettled_{BASE}", meaning="share of R >= 100 that never settles, rho = 1/L",
          says="the range of good learning rates is very narrow", where="open questions", low=0.5),
    Claim(number=f"fastest_ratio_{BASE}", meaning="log10 of the fastest R, rho = 1/L"),
    Claim(number=f"fastest_steps_{BASE}", meaning="log10 of steps to the goal there"),
    Claim(number=f"fastest_ess_{BASE}", meaning="log10 of ESS/n there"),
    Claim(number=f"exact_steps_{BASE}", meaning="exact algorithm at its fastest eta: log10 of "
          "steps to the goal"),
    Claim(number=f"exact_ess_{BASE}", meaning="exact algorithm at its fastest eta: log10 of ESS/n"),
    Claim(number=f"exact_calls_{BASE}", meaning="exact algorithm at its fastest eta: log10 of "
          "calls over those of the fastest warm-started run"),
    *(Claim(number=f"{number}_{case}", meaning=f"{words}: {meaning}")
      for case, words in _OTHERS.items()
      for number, meaning in (
          ("fastest_ratio", "log10 of the fastest R, rho = 1/L"),
          ("fastest_steps", "log10 of steps to the goal there"),
          ("fastest_ess", "log10 of ESS/n there"),
          ("price", "log10 of ESS at R = 1 over that at the fastest R"),
          ("gain", "log10 of steps at R = 1 over those at the fastest R"),
          ("elasticity", "exponent of ESS against calls along the front"),
          ("exact_ess", "exact algorithm at its fastest eta: log10 of ESS/n"),
      )),
)  # fmt: skip

ASSUMED = (
    Assumed(name="goal", choice="test risk of theta within 10 % of that of the validation-only "
            "fit, from then on, for at least half of the run",
            reason="the paper asks for speed without a measure; a passing visit is no convergence"),
    Assumed(name="grid", choice="rho = 0.1, 0.3, 1, 3 times 1/L; R = 0.1 to 1e4; 20000 steps",
            reason="from the exact limit to the collapse"),
    Assumed(name="calls", choice="one pass over the data with one vector; p + 3 for a step, 2p + 3 "
            "for an exact one (H is formed for each solve)", reason="what the direct solver does"),
    Assumed(name="toy", choice="two clusters, n = 200, p = 2 or 10, noise 0.1 to 1 (full: p = 5, "
            "n = 1000 too)", reason="the paper's problem; its sizes could not be read"),
)  # fmt: skip

ITEM = Item(
    name="speed_sparsity", version=1,
    title="Convergence speed against sparsity",
    place="the first open question",
    caption="Up to a ratio of speeds R of about 5 the time falls like 1/R and the effective sample "
    "size only slowly; beyond 10 no speed is gained, and the weights collapse.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 0.6, "full": 8},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers,
)  # fmt: skip
