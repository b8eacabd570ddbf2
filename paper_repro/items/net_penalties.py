"""Entropy against l2 against nothing on a small network: the check on a non-convex model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ...dynamics import methods
from ...dynamics.namespaces import to_numpy
from ...dynamics.problems import Problem
from ...dynamics.types import Array
from ..claims import Claim, Estimate
from ..data import Data
from ..item import Assumed, Drawing, Item, Results, Variant
from . import _penalties_figures as drawing
from ._penalties import KINDS, PenaltyPart, Setting, cases, cost, data, reach, run_grid, summaries

__all__ = ["ITEM", "simulate"]

RHO, DAMPING = 0.3, 0.05
WARM_STEPS, RETRAINING_STEPS = 400, 300
FAST, BEFORE = 1e3, 1.0
"""Ratios R well beyond the collapse of plain weights, and the largest before it."""


def parts(variant: Variant) -> Sequence[PenaltyPart]:
    """Draws times penalties."""
    num_seeds, strengths, ratios, n = {
        "quick": (3, (0.1, 1.0), 5, 150),
        "full": (5, (1e-2, 3e-2, 1e-1, 0.3, 1.0), 9, 500),
    }[variant]
    return [
        PenaltyPart(
            seed=seed, problem="net", penalty=kind, strength=strength, num_steps=60, n=n, m=n,
            ridge=1e-2, decades=(-1.0, 3.0), num_ratios=ratios,
        )
        for seed in range(num_seeds)
        for kind, strength in cases(strengths)
    ]  # fmt: skip


def simulate(part: PenaltyPart, data: Data) -> xr.Dataset:
    """Warm up at uniform weights, run, observe; retraining is gradient descent from there."""
    from ..networks.small import small_mlp

    problem = small_mlp(data, hidden=8, ridge=part.ridge, seed=part.seed)
    uniform = np.full(part.n, 1.0 / part.n)
    theta = _descend(problem, to_numpy(problem.initial_theta(_native(problem, uniform))), uniform,
                     WARM_STEPS)  # fmt: skip
    field = _method(0.0).direction(problem, _native(problem, theta), _native(problem, uniform))
    psi = to_numpy(field)
    spread = float(np.sqrt(uniform @ (psi - uniform @ psi) ** 2))
    setting = Setting(
        problem=problem, theta0=theta, method=_method, spread=spread,
        solve=lambda start, w: _descend(problem, start, w, RETRAINING_STEPS),
        ratio=spread / (RHO * (part.ridge + DAMPING)), one_by_one=True,
    )  # fmt: skip
    return run_grid(part, setting)


def _method(eta: Any) -> methods.ConjugateGradient:
    return methods.ConjugateGradient(
        rho=RHO, eta=eta, num_cg=8, tol=1e-3, damping=DAMPING, warm_start=True
    )


def _native(problem: Problem, array: Array) -> Array:
    return problem.xp.asarray(array, dtype=problem.dtype, device=problem.device)


def _descend(problem: Problem, theta: Array, w: Array, num_steps: int) -> Array:
    """Return theta after gradient descent at frozen weights, as a NumPy array."""
    there, fixed = _native(problem, theta), _native(problem, w)
    for _ in range(num_steps):
        there = there - RHO * problem.train_grad(there, fixed)
    return to_numpy(there)


def draw(results: Results[PenaltyPart]) -> dict[str, Drawing]:
    """Observables against R."""
    return {
        "penalties_net": drawing.against_ratio(summaries(results)["net"], drawing.TITLES["net"])
    }


def numbers(results: Results[PenaltyPart]) -> dict[str, Estimate]:
    """Reach and cost of each penalty."""
    summary = summaries(results)["net"]
    fast = summary["ess"].sel(case="none", ratio=FAST)
    out = {"ess_fast": Estimate(tuple(fast.values.tolist())), "reach_none": reach(summary, "none")}
    for kind in KINDS:
        for strength in ("0.1", "1"):
            out[f"reach_{kind}_{strength}"] = reach(summary, f"{kind} {strength}")
            out[f"cost_{kind}_{strength}"] = cost(summary, f"{kind} {strength}", BEFORE)
    return out


_REACH = "log10 of the largest R with ESS >= n/10"
_COST = "least test risk before the collapse, over that without penalty"
CLAIMS = (
    Claim(number="ess_fast", meaning=f"ESS without penalty at R = {FAST:g}",
          says="outer rate much larger than the inner one: very sparse weights",
          where="section 3.2", high=20),
    Claim(number="reach_none", meaning=f"{_REACH}, no penalty"),
    *(
        Claim(number=f"{what}_{kind}_{strength}", meaning=f"{words}, {kind} at {strength}")
        for kind in KINDS
        for strength in ("0.1", "1")
        for what, words in (("reach", _REACH), ("cost", _COST))
    ),
)  # fmt: skip

ASSUMED = (
    Assumed(name="network", choice="64 - 8 tanh - 10, ridge 1e-2 on all parameters",
            reason="small enough for exact comparisons on one core"),
    Assumed(name="R", choice="lambda_min(H) replaced by ridge + damping = 0.06, the start by 400 "
            "steps at uniform weights", reason="H of a network is indefinite"),
    Assumed(name="adjoint", choice="8 warm-started CG steps with damping 0.05",
            reason="a fixed cost for each step"),
    Assumed(name="retraining", choice="300 steps of gradient descent from the last theta",
            reason="minimisers of a network are many: the one nearby is meant"),
)  # fmt: skip

ITEM = Item(
    name="net_penalties", version=1,
    title="Entropy against l2 on the simplex, small network",
    place="the next checks that the paper asks for",
    caption="The check on penalties repeated on a model that is not convex: of these penalties "
    "only a strong l2 outlives the collapse of plain weights, by a decade of R and not for every "
    "draw.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 2.0, "full": 60},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers, needs=("torch",),
)  # fmt: skip
