"""The runs behind the good band of rates: one case on one draw, all outer steps side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from ...analysis import rate_ratio
from ...analysis.regime import smallest_curvature
from ...analysis.rest_points import solved_theta
from ...analysis.stability.learning_rates import curvatures, one_step, radius
from ...analysis.stability.points import SolvedPoint, solved_point
from ...dynamics import LeastSquares, Trajectory, geometries, methods, run_method
from ...dynamics.simplex import ess
from ...dynamics.types import Array
from ..data import Toy
from ..item import Part

__all__ = ["BandPart", "Bench", "bench", "observe", "point", "run_rates"]

WARM = 0.1
"""Outer step of a warm-up, in units of 2/kappa_max at the start."""
WINDOW = 6
"""States kept in the last tenth of a budget: the worst of them counts."""


@dataclass(frozen=True, kw_only=True)
class BandPart(Part):
    """One case: a data set, a method, its order and a penalty, for all outer steps and budgets.

    ``inner`` is rho in units of 1/L; ``strength`` is the entropy penalty in units of sd_w(Psi) at
    the start. ``start`` "end" begins beside the solved point where the exact flow ends, with outer
    steps in units of its limit. ``warmup`` is a number of steps with a small eta before those that
    count.
    """

    case: str
    n: int = 200
    p: int = 5
    noise: float = 0.3
    method: Literal["joint", "exact", "soba", "one_step"] = "joint"
    order: str = "simultaneous"
    inner: float = 1.0
    num_inner_steps: int = 1
    strength: float = 0.0
    implicit: bool = False
    start: Literal["uniform", "end"] = "uniform"
    warmup: int = 0
    ridge: float = 1e-3
    budgets: tuple[int, ...] = (30, 100, 300)
    decades: tuple[float, float] = (-4.0, 2.0)
    per_decade: int = 5

    @property
    def label(self) -> str:
        """Such as ``n50-seed0``."""
        return f"{self.case}-seed{self.seed}"

    @property
    def toy(self) -> Toy:
        """The law of the data."""
        return Toy(n=self.n, p=self.p, noise=self.noise, seed=self.seed)

    @property
    def rates(self) -> Array:
        """The outer steps eta, or their multipliers for starts at the end, (k,)."""
        count = round((self.decades[1] - self.decades[0]) * self.per_decade) + 1
        return np.logspace(*self.decades, count)

    @property
    def windows(self) -> list[list[int]]:
        """For each budget, the steps whose worst state counts."""
        return [
            sorted({*np.linspace(K - K // 10, K, WINDOW).astype(int).tolist()})
            for K in self.budgets
        ]

    @property
    def map_order(self) -> str | None:
        """Which of the one-step maps of theory T7c describes the method; None where none does."""
        if self.method == "exact":
            return "exact"
        return self.order if self.method == "joint" else None


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all runs of a part share: the problem, the start and the scales there.

    ``turn`` is 2/kappa_max at uniform weights ``w0`` and ``theta0`` trained on them.
    """

    problem: LeastSquares
    theta0: Array
    w0: Array
    rho: float
    spread: float
    curvature: float
    turn: float
    geometry: geometries.Geometry
    tau: float

    def removed(self, part: BandPart) -> float:
        """Share of an error of theta that the inner part of one outer step removes."""
        if part.method == "exact":
            return 1.0
        return float(1.0 - (1.0 - self.rho * self.curvature) ** part.num_inner_steps)


def bench(part: BandPart, problem: LeastSquares) -> Bench:
    """Uniform weights, theta trained on them, and the scales at that point."""
    w0 = np.full(problem.num_samples, 1.0 / problem.num_samples)
    theta0 = problem.theta_star(w0)
    curvature = smallest_curvature(problem, theta0, w0)
    spread = rate_ratio(problem, 1.0, 1.0) * curvature
    tau = part.strength * spread
    return Bench(
        problem=problem, theta0=theta0, w0=w0, rho=part.inner / problem.constants()[1],
        spread=spread, curvature=curvature, tau=tau,
        turn=2.0 / float(curvatures(point(problem, theta0, w0))[-1]),
        geometry=geometries.Penalised(entropy=tau, implicit=part.implicit),
    )  # fmt: skip


def point(problem: LeastSquares, theta: Array, w: Array) -> SolvedPoint:
    """Return the matrices of theory T7c at any point, solved or not."""
    return solved_point(problem, theta, w, "the good band", tol=np.inf)


def run_rates(part: BandPart, bench: Bench, eta: Array) -> Trajectory:
    """Run all outer steps ``(k,)`` from the start of the bench, keeping the states of windows."""
    due = sorted({step for window in part.windows for step in window})
    theta0, w0 = bench.theta0, bench.w0
    if part.warmup:
        warm = run_method(
            bench.problem, _method(part, bench, WARM * bench.turn), num_steps=part.warmup,
            geometry=bench.geometry, theta0=theta0, w0=w0, num_saved=2,
        )  # fmt: skip
        theta0, w0 = warm.theta[-1], warm.w[-1]
    return run_method(
        bench.problem, _method(part, bench, eta), num_steps=max(part.budgets), save_steps=due,
        geometry=bench.geometry, theta0=theta0, w0=w0,
    )  # fmt: skip


def _method(part: BandPart, bench: Bench, eta: Any) -> methods.Method:
    rho = bench.rho
    if part.method == "exact":
        return methods.Exact(eta=eta)
    if part.method == "soba":
        return methods.SOBA(rho=rho, eta=eta, order=part.order)
    if part.method == "one_step":
        # Its field is shorter by rho: in these units a step means the same.
        return methods.OneStep(rho=rho, eta=eta / rho, order=part.order)
    if part.num_inner_steps == 1:
        return methods.Joint(rho=rho, eta=eta, order=part.order)
    return methods.ConjugateGradient(
        rho=rho, eta=eta, order=part.order, num_inner_steps=part.num_inner_steps,
        num_cg=2 * part.p, tol=1e-12,
    )  # fmt: skip


def observe(part: BandPart, bench: Bench, run: Trajectory) -> xr.Dataset:
    """Worst test risk and error of the windows, ESS at each budget, stability of the ends."""
    problem, steps = bench.problem, list(run.t)
    # Broken cells keep their last good state, whose risk would flatter them.
    broken = np.asarray(run.status) > 1
    bottom = float(problem.val_loss(solved_theta(problem)))
    height = float(problem.val_loss(bench.theta0)) - bottom
    rows: dict[str, list[Array]] = {"risk": [], "unsettled": [], "ess": []}
    for window in part.windows:
        kept = [steps.index(step) for step in window if step in steps] or [len(steps) - 1]
        ended = np.asarray(run.last_step) < window[-1]
        risk = problem.test_loss(run.theta[kept]).max(axis=0)
        error = (problem.val_loss(run.theta[kept]).max(axis=0) - bottom) / height
        rows["risk"].append(np.where(ended, np.inf, risk))
        rows["unsettled"].append(np.where(ended, np.inf, np.maximum(error, 1e-16)))
        rows["ess"].append(np.where(ended, np.nan, ess(run.w[kept[-1]])))
    sharpness, radii = _ends(part, bench, run.theta[-1], run.w[-1], broken)
    fields: dict[str, Any] = {name: (("K", "eta"), np.array(row)) for name, row in rows.items()}
    fields |= {"sharpness": ("eta", sharpness), "radius": ("eta", radii),
               "status": ("eta", np.asarray(run.status))}  # fmt: skip
    return xr.Dataset(fields, {"K": list(part.budgets), "eta": part.rates})


def _ends(
    part: BandPart, bench: Bench, theta: Array, w: Array, broken: Array
) -> tuple[Array, Array]:
    """Return the largest kappa at the end of each run, and the spectral radius of its own step."""
    sharpness, radii = np.full(part.rates.shape, np.nan), np.full(part.rates.shape, np.nan)
    for cell in np.flatnonzero(~broken):
        try:
            here = point(bench.problem, theta[cell], w[cell])
        except ValueError:
            continue  # a collapsed point whose H is singular to round-off has no kappa
        sharpness[cell] = curvatures(here)[-1]
        if part.map_order is not None:
            step = one_step(here, bench.rho, part.rates[cell], part.map_order, part.num_inner_steps)
            radii[cell] = radius(step)
    return sharpness, radii
