"""How many inner steps: the error of a fixed number N of inner updates against T.

T inner steps of length rho = 1/L are done for each step of the weights, hence N/T steps of the
weights. The error is the gap ``h(w) - min h`` of the weights that are reached, with h taken at the
exact inner solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from ...dynamics import LeastSquares, methods, run_method
from ...dynamics.methods import Method
from ...dynamics.problems import Problem
from ...dynamics.types import Array
from ..claims import Claim, Estimate
from ..data import Data, Toy
from ..item import Assumed, Drawing, Item, Part, Results, Variant
from . import _inner_steps_figures as drawing
from ._growth import fit_growth, valley
from ._quadratic import Mixture, Target

__all__ = ["ITEM", "BudgetPart"]

FLOOR = 1e-14
"""Gaps below are round-off."""
FIXED = 0.1
"""The multiplier of the runs with one rate for all T."""

_GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_COARSE = (1, 2, 4, 8, 16, 32, 64, 128)
_KAPPA = 10.0


@dataclass(frozen=True, kw_only=True)
class BudgetPart(Part):
    """One problem and one method, for all T, N and rates.

    ``decades`` are powers of ten of N, ``multipliers`` those of eta in units of 1/sd_w(Psi).
    """

    problem: Target | Literal["toy"]
    method: Literal["unrolled", "exact"]
    kappa: float = _KAPPA
    ridge: float = 1e-3
    steps: tuple[int, ...] = _GRID
    decades: tuple[float, float] = (1.5, 3.5)
    num_budgets: int = 9
    multipliers: tuple[float, float] = (-3.0, 1.0)
    num_rates: int = 9

    @property
    def label(self) -> str:
        """Such as ``edge-k10-unrolled-seed0``."""
        kappa = "" if self.problem == "toy" else f"-k{self.kappa:g}"
        return f"{self.problem}{kappa}-{self.method}-seed{self.seed}"

    @property
    def budgets(self) -> Array:
        """The numbers N of inner updates, (num_budgets,)."""
        return np.logspace(*self.decades, self.num_budgets).round().astype(int)


def parts(variant: Variant) -> Sequence[BudgetPart]:
    """Draws times problems times methods; full adds condition numbers."""
    num_seeds, top, num_budgets, steps, more = {
        "quick": (4, 3.5, 9, _GRID, ()),
        "full": (8, 4.5, 13, (*_GRID, 192, 256, 384, 512), (5.0, 20.0)),
    }[variant]
    cases: list[tuple[Target | Literal["toy"], float]] = [
        ("inside", _KAPPA), ("edge", _KAPPA), ("outside", _KAPPA), ("toy", _KAPPA)
    ]  # fmt: skip
    for kappa in more:
        cases += [("edge", kappa), ("outside", kappa)]
    return [
        BudgetPart(
            seed=seed, problem=name, method=method, kappa=kappa,
            steps=steps if name in ("edge", "outside") else _COARSE,
            decades=(1.5, top), num_budgets=num_budgets,
            multipliers=(-2.0, 2.0) if name == "toy" else (-3.0, 1.0),
        )
        for seed in range(num_seeds)
        for name, kappa in cases
        for method in ("unrolled", "exact")
    ]  # fmt: skip


def data(part: BudgetPart) -> Data:
    """Draw the toy, or centres and target of a mixture of quadratics."""
    return Toy(seed=part.seed).make() if part.problem == "toy" else _mixture(part).data()


def simulate(part: BudgetPart, data: Data) -> xr.Dataset:
    """Run every T up to the largest N, all rates side by side, and read the gap at each N."""
    problem, least = _problem(part, data)
    uniform = np.full(problem.num_samples, 1.0 / problem.num_samples)
    psi = problem.outer_grad(uniform)
    spread = float(np.sqrt(uniform @ (psi - uniform @ psi) ** 2))
    multipliers = np.logspace(*part.multipliers, part.num_rates)
    gaps = [_gaps(problem, part, T, multipliers / spread) - least for T in part.steps]
    return xr.Dataset(
        {"gap": (("T", "N", "multiplier"), np.maximum(gaps, FLOOR)),
         "start": float(problem.outer_loss(uniform)) - least, "spread": spread},
        {"T": list(part.steps), "N": part.budgets, "multiplier": multipliers},
    )  # fmt: skip


def _problem(part: BudgetPart, data: Data) -> tuple[Problem, float]:
    """Return the problem and the least value of h."""
    if part.problem == "toy":
        toy = data.problem(part.ridge)
        assert isinstance(toy, LeastSquares), "the toy has real targets"
        # All draws are solvable: h comes down to min F (theory T6 a).
        return toy, float(toy.val_loss(np.linalg.lstsq(toy.X_val, toy.y_val, rcond=None)[0]))
    problem, w = _mixture(part).make()
    return problem, float(problem.outer_loss(w))


def _mixture(part: BudgetPart) -> Mixture:
    assert part.problem != "toy", "the toy is no mixture"
    return Mixture(target=part.problem, kappa=part.kappa, seed=part.seed)


def _gaps(problem: Problem, part: BudgetPart, T: int, eta: Array) -> Array:
    """Return h after N inner updates, ``(N, eta)``."""
    method = _method(part.method, T, eta)
    num_steps = max(1, int(part.budgets[-1]) // T)
    run = run_method(problem, method, num_steps=num_steps, num_saved=1001)
    at = np.searchsorted(run.t, part.budgets // T, side="right") - 1
    h: Array = problem.outer_loss(run.w[at])
    return h


def _method(name: str, T: int, eta: Array) -> Method:
    if name == "unrolled":
        return methods.ReverseMode(eta=eta, num_inner_steps=T)
    return ExactAdjoint(eta=eta, num_inner_steps=T, order="theta_first")


@dataclass(frozen=True, kw_only=True)
class ExactAdjoint(methods.ConjugateGradient):
    """T inner steps with the adjoint that the problem itself solves for."""

    def adjoint(
        self, problem: Problem, theta: Array, w: Array, rho: object, guess: Array | None
    ) -> Array:
        """Return ``H^{-1} grad F``."""
        return problem.adjoint(theta, w)


def gaps(results: Results[BudgetPart]) -> dict[tuple[str, float, str], xr.Dataset]:
    """Gaps over (seed, T, N) by problem, condition number and method.

    ``tuned`` is the least over the rates, for each T and N by itself; ``fixed`` has one rate.
    """
    groups: dict[tuple[str, float, str], list[xr.Dataset]] = {}
    for part, ds in sorted(results.items(), key=lambda entry: entry[0].seed):
        field = ds["gap"].where(ds["T"] <= ds["N"])
        fixed = field.sel(multiplier=FIXED, method="nearest", drop=True)
        both = xr.Dataset({"tuned": field.min("multiplier"), "fixed": fixed})
        key = (part.problem, part.kappa, part.method)
        groups.setdefault(key, []).append(both.expand_dims(seed=[part.seed]))
    return {key: xr.concat(entries, "seed", join="exact") for key, entries in groups.items()}


def best_steps(field: xr.DataArray) -> xr.DataArray:
    """Return the best T over (seed, N) of gaps over (seed, T, N); NaN where it is round-off."""
    values = np.full((field.sizes["seed"], field.sizes["N"]), np.nan)
    for row, seed in zip(values, field["seed"], strict=True):
        for k, N in enumerate(field["N"]):
            column = field.sel(seed=seed, N=N).dropna("T")
            if float(column.min()) > 100 * FLOOR:
                row[k] = valley(column["T"].values, column.values)
    return xr.DataArray(values, {"seed": field["seed"], "N": field["N"]}, ("seed", "N"))


def draw(results: Results[BudgetPart]) -> dict[str, Drawing]:
    """Gap against T for each N, and the best T against N with both laws."""
    groups = gaps(results)
    chosen = {key: ds for key, ds in groups.items() if key[1] == _KAPPA}
    best = {
        name: best_steps(groups[name, _KAPPA, "unrolled"]["tuned"]) for name in ("edge", "outside")
    }
    return {
        "error_against_T": drawing.errors(chosen, "tuned"),
        "error_at_one_rate": drawing.errors(chosen, "fixed"),
        "best_T": drawing.best(best, {name: _laws(T) for name, T in best.items()}),
    }


def _laws(best: xr.DataArray) -> dict[str, Array]:
    """Both laws fitted to the geometric mean over the draws, by their names."""
    N = best["N"].values
    mean = np.exp(np.log(best.transpose("seed", "N").values).mean(0))
    known = np.isfinite(mean)
    fit = fit_growth(N[known], mean[known])
    shift = fit.shift / np.log(10.0)
    slope = fit.slope * np.log(10.0)
    return {
        f"${slope:.1f}\\,(\\log_{{10}} N {shift:+.1f})$": fit.logarithmic(N),
        f"${fit.factor:.2f}\\,N^{{{fit.exponent:.2f}}}$": fit.power(N),
    }


def numbers(results: Results[BudgetPart]) -> dict[str, Estimate]:
    """Growth of the best T, and what T = 1 costs, for each draw."""
    groups, out = gaps(results), {}
    for (name, kappa, method), ds in groups.items():
        if kappa != _KAPPA:
            continue
        last = _log10(ds["tuned"].isel(N=-1))
        out[f"cost_of_one_{name}_{method}"] = last.sel(T=1) - last.min("T")
        if method == "exact":
            out[f"best_{name}_exact"] = last["T"][last.argmin("T")]
        elif name in ("edge", "outside"):
            out[f"cost_of_one_{name}_fixed"] = _cost(ds["fixed"])
            best = best_steps(ds["tuned"])
            late = best.isel(N=slice(best.sizes["N"] // 2, None))
            out |= {f"{key}_{name}": value for key, value in _growth(best).items()}
            out |= {f"{key}_late_{name}": value for key, value in _growth(late).items()}
    return {name: Estimate(tuple(field.values.tolist())) for name, field in out.items()}


def _log10(field: xr.DataArray) -> xr.DataArray:
    return field.copy(data=np.log10(field.values))


def _cost(field: xr.DataArray) -> xr.DataArray:
    last = _log10(field.isel(N=-1))
    return last.sel(T=1) - last.min("T")


def _growth(best: xr.DataArray) -> dict[str, xr.DataArray]:
    """Slope per unit of ln N, exponent of the power law, and by how much the first fits better."""
    rows = []
    for T in best:
        T = T.dropna("N")
        fit = fit_growth(T["N"].values, T.values)
        gain = np.log10(fit.residual_power / fit.residual_log)
        rows.append((fit.slope, fit.exponent, gain))
    columns = zip(*rows, strict=True)
    return {
        name: xr.DataArray(list(column))
        for name, column in zip(("slope", "exponent", "log_gain"), columns, strict=True)
    }


_LESS = "arXiv 2602.19510, abstract"
_COST = "log10 of the gap at T = 1 over that at the best T, largest N"
_SLOPE = (
    "growth b of the best T per unit of ln N at condition number 10 (a bias of (1 - 1/10)^T "
    "against an error of order T/N would give 9.5 in the end)"
)
CLAIMS = (
    Claim(number="cost_of_one_outside_unrolled", meaning=f"target outside, unrolled: {_COST}",
          says="T = 1 can fail on a quadratic", where=_LESS, low=1),
    Claim(number="cost_of_one_edge_unrolled", meaning=f"target at an edge, unrolled: {_COST}",
          says="T = 1 can fail on a quadratic", where=_LESS, low=1),
    Claim(number="log_gain_edge",
          meaning="log10 of the residual of a power law over that of b (ln N + c), target at an "
          "edge, unrolled",
          says="the best T is of order log N with full gradients", where=_LESS, low=0),
    Claim(number="log_gain_outside", meaning="the same, target outside",
          says="the best T is of order log N with full gradients", where=_LESS, low=0),
    Claim(number="log_gain_late_edge", meaning="the same, target at an edge, larger half of N",
          says="the best T is of order log N with full gradients", where=_LESS, low=0),
    Claim(number="slope_edge", meaning=f"{_SLOPE}, target at an edge"),
    Claim(number="slope_late_edge", meaning=f"{_SLOPE}, target at an edge, larger half of N"),
    Claim(number="slope_outside", meaning=f"{_SLOPE}, target outside"),
    Claim(number="exponent_edge", meaning="exponent of the power law, target at an edge"),
    Claim(number="exponent_late_edge", meaning="the same, larger half of N"),
    Claim(number="exponent_outside", meaning="exponent of the power law, target outside"),
    Claim(number="cost_of_one_edge_fixed", meaning=f"one rate for all T, edge, unrolled: {_COST}"),
    Claim(number="cost_of_one_outside_fixed",
          meaning=f"one rate for all T, outside, unrolled: {_COST}"),
    Claim(number="cost_of_one_inside_unrolled", meaning=f"target inside, unrolled: {_COST}"),
    Claim(number="cost_of_one_toy_unrolled", meaning=f"two-cluster toy, unrolled: {_COST}"),
    Claim(number="cost_of_one_edge_exact", meaning=f"edge, exact adjoint: {_COST}"),
    Claim(number="cost_of_one_outside_exact", meaning=f"outside, exact adjoint: {_COST}"),
    Claim(number="cost_of_one_toy_exact", meaning=f"two-cluster toy, exact adjoint: {_COST}"),
    Claim(number="best_edge_exact", meaning="best T at the largest N, edge, exact adjoint"),
)  # fmt: skip

ASSUMED = (
    Assumed(name="quadratics", choice="5 centres in 10 dimensions, condition number 10 (full: 5, "
            "10, 20), target inside, at an edge of, or off the hull of the centres",
            reason="the settings of arXiv 2602.19510 could not be read"),
    Assumed(name="rates", choice="rho = 1/L; eta the best of nine from 1e-3 to 10 in units of "
            "1/sd_w(Psi) (toy: 0.01 to 100), for every T and N by itself; or 0.1 for all",
            reason="a comparison of T at one rate would compare rates"),
    Assumed(name="methods", choice="theta warm-started in both; unrolled: reverse mode through "
            "the T steps; exact: the adjoint solved at the last theta",
            reason="the two ends of what is in use"),
    Assumed(name="error", choice="h(w) - min h", reason="what remains when theta is retrained"),
)  # fmt: skip

ITEM = Item(
    name="inner_steps", version=1,
    title="Inner steps for each step of the weights",
    place="beyond the paper: section 7 of the theory page, and arXiv 2602.19510",
    caption="With N inner updates in all, unrolled methods need more than one inner step where the "
    "target is out of reach; methods with an exact adjoint do not.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 2.5, "full": 90},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers,
)  # fmt: skip
