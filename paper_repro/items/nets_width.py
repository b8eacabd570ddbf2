r"""How many samples keep weight when the network has more parameters than there are samples.

A two-layer network is trained at uniform weights to a minimiser theta; then the weights move, at
frozen theta or fast. Two inner Hessians are looked at: that of the network's tangent at theta (the
Gauss-Newton matrix plus ridge: always positive definite, the same per-sample gradients), where rest
points are known exactly (theory T5b), and the network's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ...analysis import gradient_rank, rate_ratio, smallest_curvature
from ...analysis.rest_points import frozen_rest_points
from ...dynamics import LeastSquares, Problem, Trajectory, integrate_frozen, methods, run_method
from ...dynamics.simplex import ess, support
from ..claims import Claim, Estimate
from ..data import Data, Toy
from ..item import Assumed, Item, Part, Results, Variant
from ..networks import regression
from . import _nets_width_figures as pictures

__all__ = ["ITEM", "WidthPart"]

THRESHOLDS = (1e-3, 1e-6)
LARGEST = 2000
"""Most parameters for which the smallest eigenvalue of the network's Hessian is computed."""


@dataclass(frozen=True, kw_only=True)
class WidthPart(Part):
    """One network on one draw of the toy.

    ``first_step`` is by how much the first step of a joint run spreads the log-weights (standard
    deviation); ``net_steps`` 0 leaves the joint run of the network itself out.
    """

    width: int
    ridge: float
    toy: Toy
    horizon: float = 1e6
    rest_tol: float = 1e-9
    first_step: float = 1.0
    num_steps: int
    net_steps: int = 0

    @property
    def label(self) -> str:
        """Such as ``h64-ridge0.01-seed0``."""
        return f"h{self.width}-ridge{self.ridge:g}-seed{self.seed}"


def parts(variant: Variant) -> Sequence[WidthPart]:
    """Draws times ridges times widths; a few of them also run the network itself."""
    num_seeds, widths, net_widths, num_steps = {
        "quick": (3, (1, 2, 4, 8, 16, 64, 256), (8, 64), 60),
        "full": (8, (1, 2, 3, 4, 6, 8, 16, 32, 64, 100, 256, 1024), (2, 8, 32, 100), 150),
    }[variant]
    return [
        WidthPart(
            seed=seed, width=width, ridge=ridge, num_steps=num_steps,
            toy=Toy(n=24, m=60, test_size=200, seed=seed),
            net_steps=num_steps if width in net_widths and ridge >= 1e-2 else 0,
        )
        for seed in range(num_seeds)
        for ridge in (1e-3, 1e-2, 1e-1)
        for width in widths
    ]  # fmt: skip


def data(part: WidthPart) -> Data:
    """Draw the toy."""
    return part.toy.make()


def simulate(part: WidthPart, data: Data) -> xr.Dataset:
    """Train at uniform weights, count directions, then let the weights move."""
    n = data.num_samples
    start = regression.displaced(regression.two_layer(data.X.shape[1], part.width, part.seed))
    net = regression.as_problem(start, data, part.ridge)
    host = net.to(xp=np)
    uniform = np.full(n, 1.0 / n)
    theta = host.theta_star(uniform)
    rank = gradient_rank(host, theta)
    line, at = regression.tangent_problem(net.module_at(theta), data, part.ridge, compact=True)
    values: dict[str, Any] = {
        "p": net.num_params,
        "bound": min(net.num_params, n - 1),
        "rank": rank.rank,
        "effective_rank": rank.effective,
        "train_loss": float(host.train_loss(theta, uniform)),
    }
    w, frozen = _frozen(part, line, at)
    values |= frozen
    values["freedom_uniform"] = _freedom(line, uniform)
    values["freedom"] = _freedom(line, w)
    is_small = net.num_params <= LARGEST
    for name, weights in (("curvature_uniform", uniform), ("curvature", w)):
        values[name] = smallest_curvature(host, theta, weights) if is_small else np.nan
    rho = 1.0 / line.constants()[1]
    psi = line.hypergradient(at, uniform)
    eta = part.first_step / float(np.std(psi))
    values |= {"rho": rho, "eta": eta, "ratio": rate_ratio(line, rho, eta)}
    joint = methods.Joint(rho=rho, eta=eta)
    values |= _ending("tangent", run_method(line, joint, part.num_steps, theta0=at))
    own = run_method(net, joint, part.net_steps, theta0=theta) if part.net_steps else None
    values |= _ending("net", own)
    result = xr.Dataset({name: ((), value) for name, value in values.items()})
    return result.assign(w=("sample", w))


def _frozen(
    part: WidthPart, line: LeastSquares, theta: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the weights at the end of the frozen flow, and what was seen of them."""
    flow = integrate_frozen(
        line, theta=theta, t_span=(0.0, part.horizon), rest_tol=part.rest_tol,
        max_evaluations=50_000,
    )  # fmt: skip
    w = flow.w[-1] / flow.w[-1].sum()
    points = [p for p in frozen_rest_points(line, theta) if p.status == "attracting"]
    near = min(points, key=lambda p: float(np.abs(p.w - w).sum()), default=None)
    seen: dict[str, Any] = {
        f"support_{level:g}": int(support(w, level).sum()) for level in THRESHOLDS
    }
    seen |= {
        "ess": float(ess(w)),
        "status": np.int8(flow.status),
        "end_time": float(flow.t[-1]),
        "num_attracting": len(points),
        "support_exact": -1 if near is None else near.support.size,
        "distance_exact": np.nan if near is None else float(np.abs(near.w - w).sum()),
    }
    return w, seen


def _freedom(line: Problem, w: np.ndarray) -> float:
    """Degrees of freedom of the inner ridge regression: tr(H^-1 (H - ridge I))."""
    H = line.hessian(np.zeros(line.num_params), w)
    return float(line.num_params - line.ridge * np.trace(np.linalg.inv(H)))


def _ending(name: str, run: Trajectory | None) -> dict[str, Any]:
    """Return mean ESS and median support over the second half of a joint run."""
    if run is None:
        return {f"ess_{name}": np.nan, f"support_{name}": np.nan, f"status_{name}": np.int8(-1)}
    late = run.w[len(run) // 2 :]
    return {
        f"ess_{name}": float(np.mean(ess(late))),
        f"support_{name}": float(np.median(support(late, THRESHOLDS[-1]).sum(axis=-1))),
        f"status_{name}": np.int8(run.status),
    }


def numbers(results: Results[WidthPart]) -> dict[str, Estimate]:
    """Counts for each draw, at the widest network unless said otherwise."""
    table = pictures.table(results)
    wide = table.isel(width=-1)
    is_wide = table["p"] >= 2 * table["bound"]
    indefinite = (table["curvature"] < 0).where(np.isfinite(table["curvature"]))
    has_net = np.isfinite(table["ess_net"])
    count = table["support_1e-06"]
    entries = {
        "over_bound": (count / table["bound"]).max(["ridge", "width"]),
        "over_bound_widest": (wide["support_1e-06"] / wide["bound"]).max("ridge"),
        "over_effective": (wide["support_1e-06"] / wide["effective_rank"]).sel(ridge=1e-3),
        "over_freedom": (count / table["freedom"]).where(is_wide).mean(["ridge", "width"]),
        "over_freedom_uniform": (count / table["freedom_uniform"])
        .where(is_wide).mean(["ridge", "width"]),
        "change_with_p": _slope(table, count.where(is_wide)),
        "support_weak_ridge": wide["support_1e-06"].sel(ridge=1e-3),
        "support_strong_ridge": wide["support_1e-06"].sel(ridge=1e-1),
        "rank_widest": wide["rank"].mean("ridge"),
        "effective_rank_widest": wide["effective_rank"].mean("ridge"),
        "exact_share": (count == table["support_exact"]).mean(["ridge", "width"]),
        "indefinite_share": indefinite.where(is_wide).mean(["ridge", "width"]),
        "ess_tangent": table["ess_tangent"].where(has_net).mean(["ridge", "width"]),
        "ess_net": table["ess_net"].mean(["ridge", "width"]),
    }  # fmt: skip
    return {name: Estimate(tuple(field.values.tolist())) for name, field in entries.items()}


def _slope(table: xr.Dataset, count: xr.DataArray) -> xr.DataArray:
    """Slope of log support against log p, mean over ridges, for each draw."""
    x = xr.apply_ufunc(np.log, table["p"]).where(np.isfinite(count))
    y = xr.apply_ufunc(np.log, count)
    x, y = x - x.mean("width"), y - y.mean("width")
    return ((x * y).sum("width") / (x * x).sum("width")).mean("ridge")


CLAIMS = (
    Claim(
        number="over_bound", high=1, exact=True, where="section 3.2",
        meaning="largest support above 1e-6 at frozen theta, over min(p, n-1), tangent model",
        says="fast weights: mirror flow of a low-rank field, at most p nonzeros",
    ),
    Claim(number="over_bound_widest",
          meaning="support over min(p, n-1) of the widest network, largest over the ridges"),
    Claim(number="over_effective",
          meaning="support over effective rank, widest network, ridge 1e-3"),
    Claim(number="over_freedom",
          meaning="support over degrees of freedom at the rest point, mean where p >= 2(n-1)"),
    Claim(number="over_freedom_uniform",
          meaning="support over degrees of freedom at uniform weights, mean where p >= 2(n-1)"),
    Claim(number="change_with_p",
          meaning="slope of log support against log p where p >= 2(n-1)"),
    Claim(number="support_weak_ridge", meaning="support of the widest network, ridge 1e-3"),
    Claim(number="support_strong_ridge", meaning="support of the widest network, ridge 0.1"),
    Claim(number="rank_widest", meaning="rank[Gamma, 1] - 1 of the widest network"),
    Claim(number="effective_rank_widest", meaning="effective rank of the widest network"),
    Claim(number="exact_share",
          meaning="share of runs whose support above 1e-6 is that of the exact rest point (T5b)"),
    Claim(number="indefinite_share",
          meaning="share of rest points with p >= 2(n-1) where the network's own Hessian has a "
          "negative eigenvalue"),
    Claim(number="ess_tangent", meaning="ESS of the fast joint algorithm, tangent model"),
    Claim(number="ess_net", meaning="ESS of the fast joint algorithm, same networks themselves"),
)  # fmt: skip

_OPEN = "the paper has no network"
ASSUMED = (
    Assumed(name="network", choice="two layers, tanh, NTK parametrisation, ridge on the "
            "displacement from the random start", reason=_OPEN),
    Assumed(name="sizes", choice="24 / 60 training / validation samples of the toy, p = 4 width",
            reason="the exact count needs few samples; p goes far above n"),
    Assumed(name="end", choice="frozen flow until no growth rate exceeds 1e-9, or t = 1e6",
            reason="a support is a statement about the limit"),
    Assumed(name="fast", choice="rho = 1/L; eta such that the first mirror step spreads the "
            "log-weights by 1; 60 (quick) or 150 (full) steps",
            reason="as fast as steps can be without overshooting at once"),
)  # fmt: skip

ITEM = Item(
    name="nets_width", version=1,
    title="More parameters than samples: which rank does the support follow?",
    place="open checks (p much larger than n)",
    caption="Beyond p = n the number of samples that keep weight depends on the ridge, not on the "
    "width, and lies far below the rank of the per-sample gradients.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 1.5, "full": 25},
    parts=parts, data=data, simulate=simulate, draw=pictures.draw, numbers=numbers,
    needs=("torch",),
)  # fmt: skip
