"""The two-cluster toy: the exact flow against slow and fast weights (section 2.4 of the paper).

Speeds are scaled so that the slower of the two is 1: alpha = 1/ratio and beta = 1 for slow weights,
alpha = 1 and beta = ratio for fast ones. Then slow weights can be held against the exact flow
(beta = 1) at equal times, and every run lasts equally long on its slow time scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ...dynamics import Trajectory, integrate, integrate_exact, integrate_frozen
from ..claims import Claim, Estimate
from ..data import Data, Toy
from ..item import Assumed, Drawing, Item, Part, Results, Variant
from . import _toy_figures as pictures

__all__ = ["ITEM", "ToyPart"]

THRESHOLD = 1e-6
SLOW, FAST, FASTEST = 0.01, 100.0, 1000.0
RATIOS = (SLOW, 0.1, 1.0, 10.0, FAST, FASTEST)


@dataclass(frozen=True, kw_only=True)
class ToyPart(Part):
    """One flow on one draw of the toy.

    ``flow`` is "joint" (with ``ratio`` = beta/alpha), "exact" or "frozen" (theta stays at
    theta_star of the uniform weights); the ratio is 0 for the last two.
    """

    flow: str
    ratio: float = 0.0
    horizon: float
    toy: Toy
    ridge: float = 1e-3
    rtol: float = 1e-8

    @property
    def label(self) -> str:
        """Such as ``joint-100-seed0``."""
        ratio = f"-{self.ratio:g}" if self.flow == "joint" else ""
        return f"{self.flow}{ratio}-seed{self.seed}"


def parts(variant: Variant) -> Sequence[ToyPart]:
    """Draws times flows: the first draw, which is drawn, has all ratios."""
    num_seeds, horizon = {"quick": (5, 50.0), "full": (20, 200.0)}[variant]
    return [
        ToyPart(
            seed=seed,
            flow=flow,
            ratio=ratio,
            toy=Toy(seed=seed),
            # A late sample leaves the frozen support at a small rate: it gets more time.
            horizon=40 * horizon if flow == "frozen" else horizon,
        )
        for seed in range(num_seeds)
        for flow, ratio in _flows(RATIOS if seed == 0 else (SLOW, FAST))
    ]


def _flows(ratios: Sequence[float]) -> list[tuple[str, float]]:
    return [("exact", 0.0), ("frozen", 0.0), *(("joint", ratio) for ratio in ratios)]


def data(part: ToyPart) -> Data:
    """Draw the toy."""
    return part.toy.make()


def simulate(part: ToyPart, data: Data) -> xr.Dataset:
    """Integrate one flow and observe it."""
    problem = data.problem(part.ridge)
    t_eval = np.concatenate([[0.0], np.geomspace(1e-2, part.horizon, 160)])
    options: dict[str, Any] = {
        "t_span": (0.0, part.horizon), "rtol": part.rtol, "t_eval": t_eval,
    }  # fmt: skip
    trajectory: Trajectory
    if part.flow == "exact":
        trajectory = integrate_exact(problem, beta=1.0, **options)
    elif part.flow == "frozen":
        uniform = np.full(data.num_samples, 1 / data.num_samples)
        theta = problem.theta_star(uniform)
        trajectory = integrate_frozen(problem, theta=theta, beta=1.0, **options)
    else:
        alpha, beta = max(1.0, 1 / part.ratio), max(1.0, part.ratio)
        trajectory = integrate(problem, alpha=alpha, beta=beta, **options)
    result = trajectory.to_xarray(thresholds=(THRESHOLD,)).drop_vars("log_w")
    return result.assign(
        x=(("sample", "feature"), data.X),
        clean=("sample", data.clean),
    )


def draw(results: Results[ToyPart]) -> dict[str, Drawing]:
    """Four figures of the first draw."""
    first = min(part.seed for part in results)
    runs = {part: ds for part, ds in results.items() if part.seed == first}
    exact = next(ds for part, ds in runs.items() if part.flow == "exact")
    joint = {part.ratio: ds for part, ds in runs.items() if part.flow == "joint"}
    return {
        "principle": pictures.principle(exact, joint[FASTEST], FASTEST),
        "weights_over_time": pictures.weights_over_time(
            {r: joint[r] for r in (SLOW, 1.0, FASTEST)}
        ),
        "spectra": pictures.spectra(joint, exact, THRESHOLD),
        "observables": pictures.observables(joint, exact),
    }


def numbers(results: Results[ToyPart]) -> dict[str, Estimate]:
    """Sparsity, distance to the exact flow, and test risk, for each draw."""
    seeds = sorted({part.seed for part in results})
    by_flow = {(part.seed, part.flow, part.ratio): ds for part, ds in results.items()}
    values: dict[str, list[float]] = {}
    for seed in seeds:
        exact, frozen = by_flow[seed, "exact", 0.0], by_flow[seed, "frozen", 0.0]
        slow, fast = by_flow[seed, "joint", SLOW], by_flow[seed, "joint", FAST]
        distance = float(np.abs(slow["w"].values - exact["w"].values).sum(axis=1).max())
        entries: dict[str, Any] = {
            "ess_exact": exact["ess"][-1],
            "ess_fast": fast["ess"][-1],
            "ess_ratio": fast["ess"][-1] / exact["ess"][-1],
            "support_fast": fast["support"][-1, 0],
            "support_frozen": frozen["support"][-1, 0],
            "distance_slow": distance,
            "risk_exact": exact["test_loss"][-1],
            "risk_ratio": fast["test_loss"][-1] / exact["test_loss"][-1],
        }
        for name, value in entries.items():
            values.setdefault(name, []).append(float(value))
    return {name: Estimate(tuple(entries)) for name, entries in values.items()}


CLAIMS = (
    Claim(
        number="ess_ratio", meaning=f"ESS at beta/alpha = {FAST:g} over ESS of the exact flow",
        says="fast weights become very sparse", where="abstract; section 2.4", high=0.2,
    ),
    Claim(
        number="support_frozen", meaning="weights above 1e-6 of the largest, theta frozen",
        says="beta >> alpha: a mirror flow with at most p nonzeros (p = 2)", where="section 3.2",
        low=1, high=2, exact=True,
    ),
    Claim(
        number="distance_slow",
        meaning=f"largest l1 distance to the weights of the exact flow at beta/alpha = {SLOW:g}",
        says="alpha >> beta recovers the exact bilevel flow", where="section 3.1", high=0.05,
    ),
    Claim(
        number="risk_ratio",
        meaning=f"test risk of theta at beta/alpha = {FAST:g} over that of the exact flow",
        says="sparse weights come with a higher estimation error", where="section 2.4", low=1.05,
    ),
    Claim(number="support_fast", meaning=f"weights above {THRESHOLD:g} of the largest at "
          f"beta/alpha = {FAST:g}"),
    Claim(number="ess_exact", meaning="ESS of the exact flow, of 200 samples"),
    Claim(number="ess_fast", meaning=f"ESS at beta/alpha = {FAST:g}"),
    Claim(number="risk_exact", meaning="test risk of the exact flow"),
)  # fmt: skip

_OPEN = "the paper's value could not be read"
ASSUMED = (
    Assumed(name="n, m, test size", choice="200, 100, 1000", reason=_OPEN),
    Assumed(name="noise", choice="standard deviation 0.3", reason=_OPEN),
    Assumed(
        name="clusters",
        choice="theta_B = -theta_A, |theta_A| = sqrt(2), half of the samples each",
        reason="two clusters with different models are stated, the models are not",
    ),
    Assumed(name="separation", choice="cluster means 4 apart", reason=_OPEN),
    Assumed(name="ridge", choice="1e-3", reason=_OPEN),
    Assumed(name="nonzero", choice="above 1e-6 of the largest weight", reason=_OPEN),
    Assumed(
        name="horizon",
        choice="50 (quick) or 200 (full) units of the slower time scale, theta frozen 40 times",
        reason="long enough for the exact flow to come to rest",
    ),
)

ITEM = Item(
    name="toy", version=1,
    title="Two-cluster toy: exact flow, slow weights, fast weights",
    place="section 2.4 and Figure 1",
    caption="The target is one of two clusters. The exact flow keeps many samples of it; fast "
    "weights put all mass on a few. In continuous time both end at the same test risk; what "
    "sparsity costs within a fixed budget of steps is in the phase diagram.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 0.2, "full": 2},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers,
)  # fmt: skip
