"""Entropy against l2 against nothing: what a penalty on the weights does to their collapse.

Every run starts from uniform weights and the theta that is trained on them, takes a fixed number of
simultaneous steps, and is observed at the end. The ratio R of the two speeds is the axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ...analysis import rate_ratio
from ...analysis.rest_points import max_entropy_weights
from ...dynamics import LeastSquares, SoftmaxRegression, geometries, methods, run_method
from ...dynamics.status import ConvergenceError
from ...dynamics.types import Array
from ..claims import Claim, Estimate
from ..data import Data
from ..item import Assumed, Drawing, Item, Results, Variant
from . import _penalties_figures as drawing
from ._penalties import PenaltyPart, Setting, cases, cost, data, harm, reach, run_grid, summaries

__all__ = ["ITEM", "simulate"]

FAST = 1e3
"""A ratio R well beyond the collapse of plain weights."""
MIDDLE = 10.0
"""A ratio R at which no run has collapsed."""
BEFORE = {"toy": 10.0, "digits": 100.0}
"""The largest R of the quick grid at which plain weights have not collapsed."""

_DIGITS_RHO = 0.3
_LIMIT_RATIO = 30.0


def parts(variant: Variant) -> Sequence[PenaltyPart]:
    """Draws times problems times penalties, and the limits of small entropy penalties."""
    seeds, digits_seeds, strengths, ratios, n = {
        "quick": (4, 3, (1e-2, 1e-1, 1.0), 7, 200),
        "full": (10, 5, (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0), 13, 500),
    }[variant]
    toys = [
        PenaltyPart(
            seed=seed, problem="toy", penalty=kind, strength=strength, num_steps=1000, n=200,
            ridge=1e-3, num_ratios=ratios,
        )
        for seed in range(seeds)
        for kind, strength in cases(strengths)
    ]  # fmt: skip
    limits = [
        PenaltyPart(
            seed=seed, problem="toy", penalty="limit", strength=tau, num_steps=16,
            n=200, ridge=1e-3,
        )
        for seed in range(seeds)
        for tau in (0.03, 0.01, 0.003)
    ]  # fmt: skip
    images = [
        PenaltyPart(
            seed=seed, problem="digits", penalty=kind, strength=strength, num_steps=100, n=n,
            ridge=1e-2, num_ratios=ratios,
        )
        for seed in range(digits_seeds)
        for kind, strength in cases(strengths)
    ]  # fmt: skip
    return [*toys, *limits, *images]


def simulate(part: PenaltyPart, data: Data) -> xr.Dataset:
    """Run one penalty over all rates, or one penalty to its rest point."""
    if part.penalty == "limit":
        return _limit(part, data)
    return run_grid(part, _setting(part, data))


def _setting(part: PenaltyPart, data: Data) -> Setting:
    problem = data.problem(part.ridge)
    is_toy = isinstance(problem, LeastSquares)
    rho = 1.0 / problem.constants()[1] if is_toy else _DIGITS_RHO

    def method(eta: Array) -> methods.Joint | methods.ConjugateGradient:
        if is_toy:
            return methods.Joint(rho=rho, eta=eta)
        return methods.ConjugateGradient(rho=rho, eta=eta, num_cg=30, tol=1e-3, warm_start=True)

    uniform = np.full(problem.num_samples, 1.0 / problem.num_samples)
    theta = problem.theta_star(uniform)
    psi = problem.hypergradient(theta, uniform, tol=1e-8)
    return Setting(
        problem=problem, theta0=theta, method=method, ratio=rate_ratio(problem, rho, 1.0),
        solve=lambda start, w: _solve(problem, start, w),
        spread=float(np.sqrt(uniform @ (psi - uniform @ psi) ** 2)),
    )  # fmt: skip


def _solve(problem: LeastSquares | SoftmaxRegression, theta: Array, w: Array) -> Array:
    """Return ``theta_star(w)``, cell by cell since some may not be found: NaN there."""
    solved = np.full_like(theta, np.nan)
    for cell in range(len(w)):
        try:
            solved[cell] = problem.theta_star(w[cell], guess=theta[cell])
        except ConvergenceError:
            continue
    return solved


def _limit(part: PenaltyPart, data: Data) -> xr.Dataset:
    """Distance of the penalised rest point from the solved weights of largest entropy.

    Rest points do not depend on the rates; along the solved weights the approach has the rate
    eta tau, in whose inverse the number of steps is given.
    """
    problem = data.problem(part.ridge)
    rho = 1.0 / problem.constants()[1]
    eta = _LIMIT_RATIO / rate_ratio(problem, rho, 1.0)
    run = run_method(
        problem, methods.Joint(rho=rho, eta=eta), num_saved=2,
        num_steps=round(part.num_steps / (eta * part.strength)),
        geometry=geometries.Penalised(entropy=part.strength),
    )  # fmt: skip
    w, theta = run.w[-1], run.theta[-1]
    field = problem.hypergradient(theta, w) + part.strength * run.log_w[-1]
    return xr.Dataset(
        {"distance": float(np.abs(w - max_entropy_weights(problem)).sum()),
         "residual": float(w @ np.abs(field - w @ field)), "status": run.status}
    )  # fmt: skip


def limits(results: Results[PenaltyPart]) -> xr.Dataset:
    """Distances over (seed, tau)."""
    cells = [
        ds.assign_coords(seed=part.seed, tau=part.strength).expand_dims(["seed", "tau"])
        for part, ds in results.items()
        if part.penalty == "limit"
    ]
    joined = xr.combine_by_coords(cells, combine_attrs="drop")
    assert isinstance(joined, xr.Dataset), "Datasets combine to a Dataset"
    return joined


def draw(results: Results[PenaltyPart]) -> dict[str, Drawing]:
    """Observables against R for both problems, and the limit of small entropy penalties."""
    found = summaries(results)
    figures = {
        f"penalties_{name}": drawing.against_ratio(summary, drawing.TITLES[name])
        for name, summary in found.items()
    }
    return {**figures, "max_entropy": drawing.limit(limits(results))}


def numbers(results: Results[PenaltyPart]) -> dict[str, Estimate]:
    """Reach, cost and harm of each penalty, supports, and the order of the entropy limit."""
    out: dict[str, Estimate] = {}
    for name, summary in summaries(results).items():
        out[f"ess_fast_{name}"] = _estimate(summary["ess"].sel(case="none", ratio=FAST))
        out[f"reach_none_{name}"] = reach(summary, "none")
        for kind in ("entropy", "l2", "implicit"):
            out[f"reach_{kind}_{name}"] = reach(summary, f"{kind} 0.1")
            out[f"cost_{kind}_{name}"] = cost(summary, f"{kind} 0.1", BEFORE[name])
            out[f"harm_{kind}_{name}"] = harm(summary, kind)
        for kind in ("entropy", "l2"):
            kept = summary["support"].sel(case=f"{kind} 0.1", ratio=MIDDLE)
            out[f"support_{kind}_{name}"] = _estimate(kept / summary.attrs["num_samples"])
    found = limits(results)
    small = found.sortby("tau").isel(tau=slice(2))
    rise = np.diff(np.log(small["distance"].transpose("seed", "tau").values), axis=-1)[:, 0]
    orders = rise / np.diff(np.log(small["tau"].values))
    return {**out, "max_entropy_order": Estimate(tuple(orders.tolist()))}


def _estimate(field: xr.DataArray) -> Estimate:
    return Estimate(tuple(field.values.tolist()))


_REACH = "log10 of the largest R with ESS >= n/10"
_COST = "least test risk before the collapse, over that without penalty"
_HARM = "share of R with a test risk above that without penalty, at the mildest strength"


def _claims(name: str, title: str) -> list[Claim]:
    kinds = {"entropy": "entropy", "l2": "l2", "implicit": "entropy with implicit steps"}
    return [
        Claim(number=f"ess_fast_{name}", meaning=f"{title}: ESS without penalty at R = {FAST:g}",
              says="outer rate much larger than the inner one: very sparse weights",
              where="section 3.2", high=20),
        Claim(number=f"reach_none_{name}", meaning=f"{title}: {_REACH}, no penalty"),
        *(Claim(number=f"reach_{kind}_{name}", meaning=f"{title}: {_REACH}, {words} at 0.1")
          for kind, words in kinds.items()),
        *(Claim(number=f"cost_{kind}_{name}", meaning=f"{title}: {_COST}, {words} at 0.1")
          for kind, words in kinds.items()),
        *(Claim(number=f"harm_{kind}_{name}", meaning=f"{title}: {_HARM}, {words}")
          for kind, words in kinds.items()),
        *(Claim(number=f"support_{kind}_{name}", meaning=f"{title}: share of weights above 1e-6 "
                f"of the largest at R = {MIDDLE:g}, {kind} at 0.1") for kind in ("entropy", "l2")),
    ]  # fmt: skip


CLAIMS = (
    *_claims("toy", "two-cluster toy"),
    *_claims("digits", "cleaning of digits"),
    Claim(number="max_entropy_order", meaning="order in tau (0.003 to 0.01) of the distance to "
          "the solved weights of largest entropy (theory T12: 1)"),
)  # fmt: skip

ASSUMED = (
    Assumed(name="strengths", choice="0.01 to 1 (full: 0.001 to 1) in units of sd_w(Psi) at the "
            "start", reason="the paper names the check, not the settings"),
    Assumed(name="rates", choice="rho = 1/L (toy) or 0.3 (digits); eta from R = 0.1 to 1e5",
            reason="spans both regimes"),
    Assumed(name="budget", choice="1000 simultaneous steps (toy), 100 (digits), from theta*(w0)",
            reason="the paper's number of iterations could not be read"),
    Assumed(name="adjoint", choice="exact (toy); 30 warm-started CG steps (digits)",
            reason="a fixed cost for each step, also where the weights have collapsed"),
    Assumed(name="collapse", choice="ESS below a tenth of n", reason="one number for both"),
)  # fmt: skip

ITEM = Item(
    name="simplex_penalties", version=1,
    title="Entropy against l2 on the simplex",
    place="the next checks that the paper asks for",
    caption="Explicit penalties delay the collapse of the weights by about a decade of R on the "
    "toy and not at all for digits, since their own step breaks. A strong entropy penalty with "
    "implicit steps prevents it at every R of the grid, at a high price in test risk.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 2.0, "full": 45},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers,
)  # fmt: skip
