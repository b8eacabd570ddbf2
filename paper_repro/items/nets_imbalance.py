"""Class imbalance as in Learning to Reweight: fours that are 0.5 % of the nines.

A network learns two digits of which one is rare in training, with ten balanced validation images.
All arms start from the same parameters and uniform weights and do the same number of inner steps.
Each method has one knob with three values, of which the one with the best mean accuracy over the
seeds is shown. (Leaving a seed out of its own choice would be biased too, downwards: among equal
values, the one that is good for this seed looks worse without it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ...dynamics import geometries, methods, run_method
from ...dynamics.geometries import Geometry
from ...dynamics.simplex import ess
from ..claims import Claim, Estimate
from ..data import Data, Imbalance
from ..data.locate import found, load_pool
from ..item import Assumed, Drawing, Item, Part, Results, Variant
from ..networks.images import Network, image_problem
from ..networks.training import descend, descend_validation, initial
from ..streams import stream
from . import _nets_imbalance_figures as drawings

if TYPE_CHECKING:
    from ...dynamics.torch_bridge import TorchProblem

__all__ = ["ITEM", "ImbalancePart"]

ARMS = {
    "uniform": "uniform",
    "random": "random weights",
    "balanced": "class-balanced",
    "validation": "validation only",
    "l2r": "LearningToReweight",
    "mwn": "MetaWeightNet",
    "mwnwarm": "MetaWeightNet, warm",
    "onestep": "OneStep, mirror",
    "soba": "SOBA, mirror",
    "cg": "ConjugateGradient, mirror",
}
MIRROR = ("onestep", "soba", "cg")
KNOBS = {
    "l2r": (0.06, 0.2, 0.6),
    "mwn": (0.003, 0.01, 0.03),
    "mwnwarm": (0.003, 0.01, 0.03),
    "onestep": (0.01, 0.1, 1.0),
    "soba": (0.01, 0.1, 1.0),
    "cg": (0.01, 0.1, 1.0),
}
MWN_WARM_STEPS = 30


@dataclass(frozen=True, kw_only=True)
class ImbalancePart(Part):
    """One arm on one draw: a baseline, or a method at every value of its knob."""

    images: str
    network: Network
    arm: str
    values: tuple[float, ...] = ()
    sizes: Imbalance
    num_steps: int
    rho: float = 0.2
    ridge: float = 1e-3
    damping: float = 1.0
    num_cg: int = 3

    @property
    def label(self) -> str:
        """Such as ``mnist-mlp-l2r-seed0``."""
        return f"{self.images}-{self.network.kind}-{self.arm}-seed{self.seed}"


def parts(variant: Variant) -> Sequence[ImbalancePart]:
    """Seeds times arms, on MNIST where it is on this machine, else on small digits."""
    num_seeds, num_steps = {"quick": (5, 100), "full": (10, 300)}[variant]
    if found("mnist"):
        images, pool = "mnist", 2
        sizes = Imbalance(num_majority=597, num_minority=3, test_each=400)
    else:
        images, pool = "digits", 1
        sizes = Imbalance(num_majority=129, num_minority=1, test_each=45)
    networks = [Network(kind="mlp", width=32, pool=pool)]
    if variant == "full":
        networks.append(Network(kind="cnn", width=6, pool=pool))
    return [
        ImbalancePart(
            seed=seed, images=images, network=network, arm=arm, values=KNOBS.get(arm, ()),
            sizes=replace(sizes, seed=seed), num_steps=num_steps,
        )
        for network in networks
        for seed in range(num_seeds)
        for arm in ARMS
    ]  # fmt: skip


def data(part: ImbalancePart) -> Data:
    """Draw the two digits."""
    return part.sizes.make(part.images, load_pool(part.images))


def simulate(part: ImbalancePart, data: Data) -> xr.Dataset:
    """Return accuracy, recall and weights at the end, over ``value`` where there is a knob."""
    problem = image_problem(data, part.network, ridge=part.ridge, seed=part.seed)
    if not part.values:
        return _baseline(part, problem)
    runs = [_run(part, problem, value) for value in part.values]
    return xr.concat(runs, xr.DataArray(list(part.values), dims="value", name="value"))


def _run(part: ImbalancePart, problem: TorchProblem, value: float) -> xr.Dataset:
    method, geometry, num_steps = _method(part, value)
    trajectory = run_method(
        problem, method, num_steps=num_steps, seed=part.seed, geometry=geometry, num_saved=21,
        theta0=initial(problem).cpu().numpy(),
    )  # fmt: skip
    late = trajectory.w[len(trajectory) // 2 :]
    late = late / late.sum(axis=-1, keepdims=True)
    return _observed(problem, trajectory.theta[-1], late).assign(status=int(trajectory.status))


def _method(part: ImbalancePart, value: float) -> tuple[methods.Method, Geometry, int]:
    """Return the method with its knob, its geometry, and the steps left to it."""
    steps, rho = part.num_steps, part.rho
    mirror = geometries.Mirror()
    if part.arm == "l2r":
        return methods.LearningToReweight(rho=value), geometries.ClippedNormalised(), steps
    if part.arm in ("mwn", "mwnwarm"):
        warm = MWN_WARM_STEPS if part.arm == "mwnwarm" else 0
        net = methods.MetaWeightNet(rho=rho, eta=value, num_warmup=warm)
        return net, geometries.SoftmaxLogits(), max(1, steps - warm)
    if part.arm == "onestep":
        return methods.OneStep(rho=rho, eta=value), mirror, steps
    if part.arm == "soba":
        return methods.SOBA(rho=rho, eta=value), mirror, steps
    implicit = methods.ConjugateGradient(
        rho=rho, eta=value, num_cg=part.num_cg, damping=part.damping
    )
    return implicit, mirror, steps


def _baseline(part: ImbalancePart, problem: TorchProblem) -> xr.Dataset:
    start, rho, num_steps = initial(problem), part.rho, part.num_steps
    rare = np.asarray(problem.y.cpu()) == 1
    n = rare.size
    uniform = np.full((1, n), 1 / n)
    if part.arm == "validation":
        theta = descend_validation(problem, start, rho=rho, num_steps=num_steps)
        return _observed(problem, theta, uniform * np.nan)
    if part.arm == "random":
        draws = np.maximum(stream(part.seed, "imbalance/random").standard_normal((num_steps, n)), 0)
        draws /= draws.sum(axis=1, keepdims=True)
        theta = start
        for w in draws:
            theta = descend(problem, theta, w, rho=rho, num_steps=1)
        return _observed(problem, theta, draws)
    fair = np.where(rare, 0.5 / rare.sum(), 0.5 / (~rare).sum())[None]
    w = fair if part.arm == "balanced" else uniform
    return _observed(problem, descend(problem, start, w[0], rho=rho, num_steps=num_steps), w)


def _observed(problem: TorchProblem, theta: Any, w: np.ndarray) -> xr.Dataset:
    """Observe theta ``(p,)``; weights ``(k, n)`` are averaged over the saved steps."""
    theta = problem.xp.asarray(theta, dtype=problem.dtype)
    assert problem.X_test is not None, "images come with test images"
    assert problem.y_test is not None, "and with their labels"
    rare, rare_test = np.asarray(problem.y.cpu()) == 1, problem.y_test == 1
    recall = problem.accuracy(theta, problem.X_test[rare_test], problem.y_test[rare_test])
    values = {
        "balanced_accuracy": float(problem.test_accuracy(theta)),
        "recall": float(recall),
        "minority_weight": float(w[:, rare].sum(axis=1).mean()),
        "ess": float(np.mean(ess(w))) if np.isfinite(w).all() else np.nan,
    }
    return xr.Dataset(values)


def collect(results: Results[ImbalancePart], kind: str) -> tuple[xr.Dataset, xr.Dataset]:
    """Return all arms over (seed, arm) with knobs chosen, and all runs over (seed, arm, choice)."""
    chosen, every = {}, {}
    for arm, label in ARMS.items():
        runs = {
            part.seed: ds for part, ds in results.items()
            if (part.arm, part.network.kind) == (arm, kind)
        }  # fmt: skip
        seeds = sorted(runs)
        ds = xr.concat([runs[s] for s in seeds], xr.DataArray(seeds, dims="seed", name="seed"))
        if "value" in ds.dims:
            every[label] = ds.rename(value="choice").assign(
                knob=("choice", ds["value"].values)
            ).drop_vars("choice")  # fmt: skip
            ds = choose(ds)
        chosen[label] = ds.drop_vars(["status", "value"], errors="ignore")
    labels = xr.DataArray(list(chosen), dims="arm", name="arm")
    knobs = xr.DataArray(list(every), dims="arm", name="arm")
    return xr.concat(list(chosen.values()), labels), xr.concat(list(every.values()), knobs)


def choose(ds: xr.Dataset) -> xr.Dataset:
    """Return the value of the knob with the best mean accuracy over the seeds."""
    mean = ds["balanced_accuracy"].mean("seed")
    picked: xr.Dataset = ds.isel(value=int(mean.argmax("value")))
    return picked


def draw(results: Results[ImbalancePart]) -> dict[str, Drawing]:
    """Draw all arms beside each other, one figure for each network."""
    kinds = list(dict.fromkeys(part.network.kind for part in results))
    images = next(iter(results)).images
    return {
        f"arms_{kind}": drawings.arms(*collect(results, kind), images, kind, ARMS, MIRROR)
        for kind in kinds
    }


def numbers(results: Results[ImbalancePart]) -> dict[str, Estimate]:
    """Accuracy of every arm of the perceptron, and weights of the methods, for each seed."""
    images = next(iter(results)).images
    ds = collect(results, "mlp")[0]
    by_arm = {arm: ds.sel(arm=label) for arm, label in ARMS.items()}
    plain = [ARMS[arm] for arm in ("uniform", "random", "balanced")]
    out = {f"accuracy_{arm}": cell["balanced_accuracy"] for arm, cell in by_arm.items()}
    for arm in KNOBS:
        out[f"minority_weight_{arm}"] = by_arm[arm]["minority_weight"]
        out[f"ess_{arm}"] = by_arm[arm]["ess"]
    out["l2r_over_plain"] = out["accuracy_l2r"] - ds["balanced_accuracy"].sel(arm=plain).max("arm")
    out["mwn_over_uniform"] = out["accuracy_mwn"] - out["accuracy_uniform"]
    for arm in ("l2r", *MIRROR):
        out[f"{arm}_over_validation"] = out[f"accuracy_{arm}"] - out["accuracy_validation"]
    for arm in MIRROR:
        out[f"{arm}_over_l2r"] = out[f"accuracy_{arm}"] - out["accuracy_l2r"]
    return {f"{images}_{name}": Estimate(tuple(v.values.tolist())) for name, v in out.items()}


_REN = "Ren et al. (2018), arXiv 1803.09050"
_SHU = "Shu et al. (2019), arXiv 1902.07379"


def _claims(images: str) -> list[Claim]:
    """Return what others say of their methods, tested here, and our own numbers."""
    of = f"{images}: "
    said = [
        Claim(
            number=f"{images}_l2r_over_plain", low=0.02,
            meaning=f"{of}balanced accuracy of LearningToReweight minus the best of uniform, "
            "random and class-balanced weights",
            says="beats plain, random and class-balanced weights under class imbalance",
            where=_REN,
        ),
        Claim(
            number=f"{images}_mwn_over_uniform", low=0.02,
            meaning=f"{of}balanced accuracy of MetaWeightNet minus that of uniform weights",
            says="weights learnt from the losses help under class imbalance (other data)",
            where=_SHU,
        ),
    ]  # fmt: skip
    own = {f"accuracy_{arm}": f"balanced accuracy, {label}" for arm, label in ARMS.items()}
    for arm in ("l2r", *MIRROR):
        own[f"{arm}_over_validation"] = f"{ARMS[arm]} minus validation only"
    for arm in MIRROR:
        own[f"{arm}_over_l2r"] = f"{ARMS[arm]} minus LearningToReweight"
    for arm in KNOBS:
        own[f"minority_weight_{arm}"] = f"weight on the minority, {ARMS[arm]}"
        own[f"ess_{arm}"] = f"ESS, {ARMS[arm]}"
    return said + [
        Claim(number=f"{images}_{name}", meaning=of + text) for name, text in own.items()
    ]  # fmt: skip


CLAIMS = (*_claims("mnist"), *_claims("digits"))

ASSUMED = (
    Assumed(name="images", choice="MNIST where it is found (597 nines, 3 fours; test 400 of each), "
            "else scikit-learn's digits (129 and 1; test 45 of each); numbers of the other are "
            "left out", reason="nothing is downloaded; all samples are disjoint"),
    Assumed(name="validation", choice="5 images of each digit", reason="as in Ren et al. (2018)"),
    Assumed(name="network", choice="one hidden layer of 32 rectifiers, images pooled to 14 x 14; "
            "full adds two layers of 6 and 12 filters; ridge 1e-3", reason="instead of LeNet"),
    Assumed(name="budget", choice="100 (full: 300) steps at rho 0.2 from the first parameters, "
            "all samples at every step", reason="the same for all arms, baselines too"),
    Assumed(name="knobs", choice="eta of the mirror methods 0.01, 0.1, 1; eta of MetaWeightNet "
            "0.003, 0.01, 0.03; rho of LearningToReweight 0.06, 0.2, 0.6; the value with the best "
            "mean accuracy over the seeds", reason="one rule and three values for each method: "
            "slightly optimistic beside the baselines, which have no knob"),
    Assumed(name="MetaWeightNet", choice="weights on the simplex; as published, and 'warm': the "
            "first 30 of its steps on the validation loss", reason="comparable with the others"),
    Assumed(name="mirror methods", choice="ConjugateGradient with 3 products and damping 1, SOBA "
            "with an adjoint that starts at zero, OneStep; not Joint",
            reason="H has negative eigenvalues at the start, where the exact adjoint of Joint does "
            "not exist as a minimiser"),
)  # fmt: skip

ITEM = Item(
    name="nets_imbalance", version=1,
    title="Class imbalance with a network",
    place="beyond the paper: the setting of Learning to Reweight",
    caption="Uniform and random weights never see the rare digit, and class-balanced ones find "
    "some of it. LearningToReweight and the three mirror methods put most of the weight on it and "
    "tie, at an effective sample size of a few: here the concentration is what helps, for the rare "
    "images are few. None of them is clearly better than training on the ten validation images "
    "alone. MetaWeightNet, whose weights are a function of the loss, gains little on MNIST in this "
    "budget; on digits it needs a start on the validation loss.",
    claims=CLAIMS, assumed=ASSUMED, minutes={"quick": 2, "full": 80},
    parts=parts, data=data, simulate=simulate, draw=draw, numbers=numbers, needs=("torch",),
)  # fmt: skip
