r"""Theory and networks: the linearised network is least squares, and wide networks are near it.

Two comparisons, both from the random start and uniform weights. The network linearised by torch is
held against ridge regression on its tangent features, along whole runs: they are the same problem.
Then networks of growing width are held against their own linearisation under the same algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ... import figures
from ...analysis import rate_ratio, smallest_curvature
from ...dynamics import Trajectory, integrate, methods, run_method
from ...dynamics.simplex import ess
from ...dynamics.torch_bridge import TorchProblem
from ..claims import Claim, Estimate
from ..data import Data, Toy
from ..item import Assumed, Drawing, Item, Part, Results, Variant
from ..networks import regression

__all__ = ["ITEM", "LinearPart"]

SLOW, FAST = 0.03, 3.0
WEAK, STRONG = 0.3, 1.0
NARROW = 4
LARGEST = 2000
"""Most parameters for which the smallest eigenvalue of the inner Hessian is computed."""


@dataclass(frozen=True, kw_only=True)
class LinearPart(Part):
    """One network on one draw; ``check`` holds torch's linearisation against least squares."""

    check: bool
    width: int
    toy: Toy
    ridge: float
    rho: float = 0.3
    etas: tuple[float, ...] = (SLOW, FAST)
    num_steps: int
    horizon: float = 0.5

    @property
    def label(self) -> str:
        """Such as ``h64-ridge0.3-seed0``, with ``check-`` before it for a check."""
        name = f"h{self.width}-ridge{self.ridge:g}-seed{self.seed}"
        return f"check-{name}" if self.check else name


def parts(variant: Variant) -> Sequence[LinearPart]:
    """The checks, then draws times ridges times widths."""
    num_seeds, num_checks, widths = {
        "quick": (3, 2, (16, 64, 256, 1024, 4096)),
        "full": (10, 4, (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)),
    }[variant]
    toys = [Toy(n=24, m=60, test_size=200, seed=seed, scale=0.7) for seed in range(num_seeds)]
    checks = [
        LinearPart(seed=toy.seed, toy=toy, check=True, width=NARROW, ridge=WEAK, num_steps=20)
        for toy in toys[:num_checks]
    ]
    runs = [
        LinearPart(seed=toy.seed, toy=toy, check=False, width=width, ridge=ridge, num_steps=60)
        for toy in toys
        for ridge in (WEAK, STRONG)
        for width in widths
    ]
    return checks + runs


def data(part: LinearPart) -> Data:
    """Draw the toy."""
    return part.toy.make()


def simulate(part: LinearPart, data: Data) -> xr.Dataset:
    """Run the two models side by side."""
    return _identity(part, data) if part.check else _deviation(part, data)


# ---------------------------------------------------------------------- the same problem
def _identity(part: LinearPart, data: Data) -> xr.Dataset:
    """Largest differences in theta and w between torch's linearisation and least squares."""
    net = regression.two_layer(data.X.shape[1], part.width, part.seed)
    ours, start = regression.tangent_problem(regression.displaced(net), data, part.ridge)
    tangent = regression.linearised(net)
    theirs = regression.as_problem(tangent, data, part.ridge, ours.constants())
    rates: dict[str, Any] = {"rho": part.rho, "eta": SLOW}
    rules = (methods.Joint(**rates), methods.ConjugateGradient(**rates), methods.SOBA(**rates))
    gaps = {}
    for rule in rules:
        runs = [run_method(q, rule, part.num_steps, theta0=start) for q in (theirs, ours)]
        gaps[type(rule).__name__] = _gap(*runs)
    times = np.linspace(0.0, part.horizon, 5)
    flows = [
        integrate(
            q, alpha=1.0, beta=1.0, t_span=(0.0, part.horizon), t_eval=times, theta0=start,
            rtol=1e-10, atol=1e-12,
        )
        for q in (theirs.to(xp=np), ours)
    ]  # fmt: skip
    gaps["flow"] = _gap(*flows)
    return xr.Dataset({"gap": ("run", list(gaps.values()))}, {"run": list(gaps)})


def _gap(one: Trajectory, two: Trajectory) -> float:
    """Largest difference in theta or w at any saved point."""
    return float(max(np.abs(one.theta - two.theta).max(), np.abs(one.w - two.w).max()))


# ---------------------------------------------------------------------- wide networks
def _deviation(part: LinearPart, data: Data) -> xr.Dataset:
    """Distances of a network's run from that of its linearisation, at every rate."""
    module = regression.displaced(regression.two_layer(data.X.shape[1], part.width, part.seed))
    net = regression.as_problem(module, data, part.ridge)
    line, start = regression.tangent_problem(module, data, part.ridge)
    compact = regression.tangent_problem(module, data, part.ridge, compact=True)[0]
    first, features = regression.tangent(module, data.X_val)
    cells = []
    for eta in part.etas:
        rule = methods.ConjugateGradient(rho=part.rho, eta=eta, num_cg=40, tol=1e-8)
        true, flat = (
            run_method(q, rule, part.num_steps, theta0=start, num_saved=part.num_steps + 1)
            for q in (net, line)
        )
        moved = flat.theta[-1] @ features.T
        outputs = regression.tangent(net.module_at(true.theta[-1]), data.X_val)[0] - first
        uniform = np.full(data.num_samples, 1.0 / data.num_samples)
        cells.append({
            "w_gap": _sup(true.w - flat.w),
            "w_moved": _sup(flat.w - uniform),
            "output_gap": float(np.linalg.norm(outputs - moved)),
            "output_moved": float(np.linalg.norm(moved)),
            "ess_net": float(ess(true.w[-1])),
            "ess_line": float(ess(flat.w[-1])),
            "status": int(true.status),
            "ratio": rate_ratio(compact, part.rho, eta),
            "curvature": _curvature(net, true),
        })  # fmt: skip
    names = cells[0]
    return xr.Dataset(
        {name: ("eta", [cell[name] for cell in cells]) for name in names}, {"eta": list(part.etas)}
    )


def _curvature(net: TorchProblem, run: Trajectory) -> float:
    """Smallest eigenvalue of the network's inner Hessian at five points; NaN where p is large."""
    if net.num_params > LARGEST:
        return np.nan
    host, w = net.to(xp=np), run.w / run.w.sum(axis=-1, keepdims=True)
    rows = np.linspace(0, len(run) - 1, 5).astype(int)
    return min(smallest_curvature(host, run.theta[k], w[k]) for k in rows)


def _sup(difference: np.ndarray) -> float:
    """Largest l1 size along a run."""
    return float(np.abs(difference).sum(axis=-1).max())


# ---------------------------------------------------------------------- what is shown
def _table(results: Results[LinearPart]) -> xr.Dataset:
    """Relative deviations over (seed, ridge, width, eta)."""
    cells = [
        ds.assign_coords(seed=part.seed, ridge=part.ridge, width=part.width)
        .expand_dims(["seed", "ridge", "width"])
        for part, ds in results.items() if not part.check
    ]  # fmt: skip
    joined = xr.combine_by_coords(cells, combine_attrs="override")
    assert isinstance(joined, xr.Dataset), "Datasets combine to a Dataset"
    return joined.assign(
        w=joined["w_gap"] / joined["w_moved"],
        output=joined["output_gap"] / joined["output_moved"],
        ess=np.abs(joined["ess_net"] / joined["ess_line"] - 1.0),
    )


def draw(results: Results[LinearPart]) -> dict[str, Drawing]:
    """Deviations of weights, outputs and ESS against width, slow and fast, at both ridges."""
    table = _table(results)
    figure = figures.style.new_figure((7.0, 4.4))
    axes = figure.subplots(2, 3, sharex=True, sharey="col")
    titles = {"w": "weights along the run", "output": "outputs at the end", "ess": "ESS at the end"}
    for row, ridge in zip(axes, (STRONG, WEAK), strict=True):
        for ax, (name, title) in zip(row, titles.items(), strict=True):
            figures.counts_by(
                table.sel(ridge=ridge), "width", name, "eta", ax, lines="width",
                label=r"$\eta$ = {:g}", ylabel=rf"{title}, $\lambda$ = {ridge:g}",
                colours=[figures.style.COLOURS[hue] for hue in ("blue", "vermillion")],
            )  # fmt: skip
            slow = table[name].sel(eta=SLOW, ridge=ridge).isel(width=0)
            _slopes(ax, table["width"].values, float(np.exp(np.log(slow).mean())))
            ax.legend()
            ax.set_xlabel("width h" if ridge == WEAK else "")
    figures.style.legend_above(figure, axes.ravel().tolist())
    caption = (
        "Two-layer networks against their own linearisation at the random start, under the same "
        "joint algorithm, with a strong (top) and a weak (bottom) ridge. Left: largest l1 distance "
        "of the weights along the run over the largest distance from uniform. Middle: distance of "
        "the outputs on the validation set over their change. Right: relative difference of the "
        "effective sample sizes. Dots are draws, lines their geometric means."
    )
    return {"deviation": Drawing(figure=figure, caption=caption, tables={"deviation": table})}


def _slopes(ax: Any, width: np.ndarray, height: float) -> None:
    """Add guides of the two powers of the width that are spoken of."""
    for power, style in ((-0.5, ":"), (-1.0, "--")):
        look = figures.style.STYLES["guide"] | {"linestyle": style}
        ax.plot(width, height * (width / width[0]) ** power, label=f"slope {power:g}", **look)


def numbers(results: Results[LinearPart]) -> dict[str, Estimate]:
    """Fitted powers of the width for each draw, and the gap of the two linear models."""
    table = _table(results)
    gaps = [float(ds["gap"].max()) for part, ds in results.items() if part.check]
    found = {"identity_gap": Estimate(tuple(gaps))}
    for strength, ridge in (("strong", STRONG), ("weak", WEAK)):
        part = table.sel(ridge=ridge)
        negative = (part["curvature"] < 0).where(np.isfinite(part["curvature"]))
        fields = {f"indefinite_{strength}": negative.mean(["width", "eta"])}
        for pace, eta in (("slow", SLOW), ("fast", FAST)):
            runs, end = part.sel(eta=eta), f"{pace}_{strength}"
            fields[f"power_weights_{end}"] = _power(runs["w"])
            fields[f"power_outputs_{end}"] = _power(runs["output"])
            fields[f"deviation_{end}"] = runs["w"].isel(width=-1)
            fields[f"ess_gap_{end}"] = runs["ess"].isel(width=-1)
            fields[f"ratio_{end}"] = runs["ratio"].isel(width=-1)
        found |= {name: Estimate(tuple(field.values.tolist())) for name, field in fields.items()}
    return found


def _power(deviation: xr.DataArray) -> xr.DataArray:
    """Least-squares slope of log deviation against log width, for each draw."""
    x = xr.apply_ufunc(np.log, deviation["width"])
    y = xr.apply_ufunc(np.log, deviation)
    x = x - x.mean()
    return (x * y).sum("width") / (x * x).sum()


_LEE = "arXiv 1902.06720"
_SAYS = "a wide network stays within O(width^-1/2) of its linearisation"


def _described(pace: str, strength: str) -> tuple[Claim, ...]:
    """The claims about one pace and one ridge."""
    end, words = f"{pace}_{strength}", f"{pace} weights, {strength} ridge"
    stated: dict[str, Any] = {"says": _SAYS, "where": _LEE, "high": -0.5}
    power, gap = "power of the width in the deviation", "widest network"
    return (
        Claim(number=f"power_weights_{end}", meaning=f"{power} of the weights, {words}", **stated),
        Claim(number=f"power_outputs_{end}", meaning=f"{power} of the outputs, {words}", **stated),
        Claim(number=f"deviation_{end}", meaning=f"relative deviation, {words}, {gap}"),
        Claim(number=f"ess_gap_{end}", meaning=f"relative difference in ESS, {words}, {gap}"),
        Claim(number=f"ratio_{end}", meaning=f"R of {words}, {gap}"),
    )


CLAIMS = (
    Claim(number="identity_gap",
          meaning="largest difference in theta or w between the network linearised by torch and "
          "LeastSquares on its tangent features, over runs of Joint, ConjugateGradient, SOBA and "
          "the flow"),
    *_described("slow", "strong"), *_described("fast", "strong"),
    *_described("slow", "weak"), *_described("fast", "weak"),
    *(Claim(number=f"indefinite_{strength}",
            meaning=f"share of runs, p <= {LARGEST}, that pass where the inner Hessian has a "
            f"negative eigenvalue, {strength} ridge")
      for strength in ("strong", "weak")),
)  # fmt: skip

_OPEN = "the paper has no network"
ASSUMED = (
    Assumed(name="network", choice="two layers, tanh, NTK parametrisation, ridge on the "
            "displacement from the random start", reason=_OPEN),
    Assumed(name="toy", choice="24 / 60 samples, theta_A of length 0.7; ridge 1 or 0.3",
            reason="the strong ridge keeps the inner Hessian positive definite at moderate width, "
            "the weak one does not"),
    Assumed(name="algorithm", choice="60 simultaneous steps, rho 0.3, eta 0.03 or 3, mirror steps, "
            "adjoint by conjugate gradients to 1e-8", reason="R from below 1 to far above"),
)  # fmt: skip

ITEM = Item(
    name="nets_linearised", version=1,
    title="Networks against their linearisation",
    place="beyond the paper (theory of wide networks)",
    caption="A linearised network is least squares to round-off; a wide network follows it where "
    "the inner Hessian is positive definite, at fast weights only when it is much wider.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 3, "full": 25},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers,
    needs=("torch",),
)  # fmt: skip
