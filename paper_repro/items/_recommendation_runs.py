"""One candidate on one draw of one data set: what its steps lead to at an equal budget."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ...analysis.comparison import eta_of_curvature, eta_of_ratio, standard_entries
from ...analysis.comparison.references import validation_solution
from ...analysis.comparison.runs import spend
from ...dynamics import Problem
from ...dynamics.simplex import ess
from ..data import Corruption, Data, Imbalance, Split, Tabular, Toy, corrupt
from ..data.locate import load_named, load_pool
from ..item import Part

__all__ = [
    "DEVELOPMENT",
    "HELD_OUT",
    "SCALES",
    "TUNED",
    "CandidatePart",
    "make_data",
    "run_candidates",
]

DEVELOPMENT = (
    "toy", "toy, p = 20", "toy, noisy", "diabetes", "friedman", "student", "wine",
    "breast cancer", "digits",
)  # fmt: skip
"""Data sets on which the recommendation is fixed."""
HELD_OUT = ("circuit", "clouds", "digits 4 of 9", "mnist")
"""Data sets on which it is tested."""

SCALES: dict[str, tuple[float, ...]] = {
    "curvature": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "ratio": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
}
"""How the outer step is set, and to what: eta kappa_max, or the ratio R, at the start."""

RIDGE = {"toy": 1e-3, "toy, p = 20": 1e-3, "toy, noisy": 1e-3}
"""Where it is not 0.01."""
TUNED = "soba"
"""The entry whose step is tuned on each draw, for comparison."""
DEFAULT_ETA = 1e-2
"""The outer step that a method has when none is given."""


@dataclass(frozen=True, kw_only=True)
class CandidatePart(Part):
    """One entry (a method with its mitigation) on one draw, at all outer steps.

    ``entry`` "none" stands for what needs no outer step: the reference rows.
    """

    name: str
    entry: str
    budget: int
    curvatures: tuple[float, ...] = SCALES["curvature"]
    ratios: tuple[float, ...] = SCALES["ratio"]

    @property
    def label(self) -> str:
        """Such as ``wine-soba-entropy-seed100``."""
        words = re.findall(r"[a-z0-9]+", f"{self.name} {self.entry}")
        return "-".join([*words, f"seed{self.seed}"])

    @property
    def scales(self) -> dict[str, tuple[float, ...]]:
        """The values of each scale."""
        return {"curvature": self.curvatures, "ratio": self.ratios}


_MAKERS: dict[str, Callable[[int], Data]] = {
    "toy": lambda seed: Toy(m=10, seed=seed).make(),
    "toy, p = 20": lambda seed: Toy(p=20, m=40, seed=seed).make(),
    "toy, noisy": lambda seed: Toy(p=5, m=20, noise=1.0, share=0.3, seed=seed).make(),
    "diabetes": lambda seed: Tabular(name="diabetes", n=250, m=30, seed=seed).make(),
    "friedman": lambda seed: Tabular(name="friedman", n=300, m=30, seed=seed).make(),
    "student": lambda seed: Tabular(name="student", n=300, m=20, seed=seed).make(),
    "wine": lambda seed: Tabular(name="wine", n=90, m=20, seed=seed).make(),
    "breast cancer": lambda seed: Tabular(name="breast_cancer", n=250, m=30, seed=seed).make(),
    "digits": lambda seed: _images("digits", seed, None),
    "circuit": lambda seed: Tabular(name="circuit", n=300, m=20, seed=seed).make(),
    "clouds": lambda seed: Tabular(name="clouds", n=300, m=30, seed=seed).make(),
    "digits 4 of 9": lambda seed: _imbalanced(seed),
    "mnist": lambda seed: _images("mnist", seed, 1000),
}


def make_data(part: CandidatePart) -> Data:
    """Draw the data set of a part.

    Clusters; half of the targets permuted or of the labels redrawn; or a rare class. Validation
    samples are few, about as many as parameters: with more of them no training sample is needed.
    """
    return _MAKERS[part.name](part.seed)


def _images(name: str, seed: int, test_size: int | None) -> Data:
    """Draw images half of whose labels were redrawn."""
    split = Split(n=300, m=100, test_size=test_size, seed=seed)
    return corrupt(load_named(name, split), Corruption(fraction=0.5, seed=seed))


def _imbalanced(seed: int) -> Data:
    """Draw digits 9 with few 4 in training, and as many 4 as 9 in validation and test."""
    sizes = Imbalance(num_majority=100, num_minority=5, val_each=8, test_each=65, seed=seed)
    return sizes.make("digits", load_pool("digits"))


def run_candidates(part: CandidatePart, data: Data) -> xr.Dataset:
    """Run all outer steps, or the references; over ``(scale, value)``."""
    problem = data.problem(RIDGE.get(part.name, 1e-2))
    uniform = np.full(problem.num_samples, 1.0 / problem.num_samples)
    theta = problem.theta_star(uniform)
    if part.entry == "none":
        return _references(data, problem, theta)
    mitigation = part.entry.partition("+")[2] or "none"
    (entry,) = standard_entries([part.entry.partition("+")[0]], [mitigation]).values()
    of_scale = {"curvature": eta_of_curvature, "ratio": eta_of_ratio}
    etas = [
        of_scale[scale](problem, entry.method, values, entry.geometry, theta)
        for scale, values in part.scales.items()
    ]
    etas.append(np.array([DEFAULT_ETA]))
    joined = np.concatenate(etas)
    spent = spend(problem, entry.method, entry.geometry, joined, [part.budget], part.seed, theta)
    end, w = spent.theta[:, -1], spent.w[:, -1]
    known = np.isfinite(end).all(-1)
    safe = np.where(known[:, None], end, 0.0)
    held_back = np.full(joined.size, np.nan)
    if part.entry == TUNED:
        held_back = _held_back(part, problem, theta, joined)
    columns = {
        "test_loss": np.where(known, problem.test_loss(safe), np.nan),
        "val_loss": np.where(known, problem.val_loss(safe), np.nan),
        "ess": np.where(known, ess(np.where(known[:, None], w, 1.0)), np.nan),
        "held_back": held_back,
        "eta": joined,
        "steps": spent.steps,
        "status": spent.status,
    }
    scales = [*(s for s, values in part.scales.items() for _ in values), "default"]
    values = [*(v for values in part.scales.values() for v in values), DEFAULT_ETA]
    coordinates = {"scale": ("case", scales), "value": ("case", values)}
    return xr.Dataset(
        {name: ("case", np.asarray(column)) for name, column in columns.items()},
        coordinates, attrs={"num_samples": problem.num_samples},
    )  # fmt: skip


def _held_back(
    part: CandidatePart, problem: Problem, theta: np.ndarray, etas: np.ndarray
) -> np.ndarray:
    """Return the loss on every other validation sample of runs that aim at the rest, (cases,)."""
    rows = np.arange(problem.num_val)
    aim, judge = problem.batch(val=rows[::2]), problem.batch(val=rows[1::2])
    (entry,) = standard_entries([part.entry]).values()
    spent = spend(aim, entry.method, entry.geometry, etas, [part.budget], part.seed, theta)
    end = spent.theta[:, -1]
    known = np.isfinite(end).all(-1)
    return np.where(known, judge.val_loss(np.where(known[:, None], end, 0.0)), np.nan)


def _references(data: Data, problem: Problem, theta: np.ndarray) -> xr.Dataset:
    """Test losses of uniform weights, of an oracle, and of the validation samples alone."""
    found = {
        "uniform": problem.test_loss(theta),
        "oracle": problem.test_loss(problem.theta_star(_oracle_weights(data))),
        "validation": problem.test_loss(validation_solution(problem)),
    }
    return xr.Dataset({name: ((), float(loss)) for name, loss in found.items()})


def _oracle_weights(data: Data) -> np.ndarray:
    """Return uniform weights of the clean samples, or such that classes weigh the same."""
    if data.clean is not None:
        return np.asarray(data.clean / data.clean.sum())
    share = 1.0 / np.bincount(data.y)[data.y]
    return np.asarray(share / share.sum())
