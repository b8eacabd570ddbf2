"""A comparison as one call: units of work in a folder, brought together in one Dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ...dynamics import Problem, checks, provenance
from ...dynamics.jobs import Report, as_pool, run_tasks
from ...dynamics.jobs.published import publish
from ...dynamics.statistics import THRESHOLDS, check_thresholds
from ...dynamics.status import flag_attributes
from ...dynamics.storage.datasets import read_dataset
from ...dynamics.sweeps.stored.entry import store_folder, warn_of_failures
from ..optimality import checked_problem
from .entries import Entry, check_entries
from .folder import open_folder
from .references import REFERENCES
from .rows import Plan
from .runs import ORACLES
from .units import REFERENCE_UNIT, Job, Unit, dims_of, problem_of

if TYPE_CHECKING:
    import xarray

__all__ = ["compare"]

PENDING = -1
"""Status of a cell whose unit is missing."""
LABELS = {
    "val_loss": "F(theta), loss on the validation samples",
    "test_loss": "loss of theta on the independent test set",
    "test_accuracy": "accuracy of theta on the independent test set",
    "ess": "effective sample size, (sum w)^2 / sum w^2",
    "clean_mass": "weight on samples known to be clean",
    "outer_loss": "h(w) = F(theta_star(w)) of the last weights",
    "entropy": "entropy of the last weights in nats",
    "support": "number of last weights above threshold times the largest",
    "test_loss_star": "test loss of theta_star(w), w the last weights",
    "test_accuracy_star": "test accuracy of theta_star(w), w the last weights",
    "test_loss_averaged": "test loss of theta_star(w), w averaged over the run",
    "test_accuracy_averaged": "test accuracy of theta_star(w), w averaged over the run",
    "cosine_start": "cosine of the used field to grad h in the metric P(w), at the start",
    "cosine_end": "the same cosine, at the end",
    "cosine_min": "the same cosine, least over the states at which it was taken",
    "eta": "outer step",
    "inner_rate": "q, share of an error of theta that one outer step removes",
    "steps": "outer steps",
    "calls": "calls of each oracle with one vector",
    "cost": "calls of all oracles",
    "seconds": "seconds for all ratios of an entry and draw",
}


def compare(
    make: Callable[[int], Problem],
    entries: Mapping[str, Entry],
    *,
    budget: int,
    ratios: Sequence[float],
    seeds: Sequence[int],
    num_budgets: int = 8,
    thresholds: Sequence[float] = THRESHOLDS,
    store: str | os.PathLike[str] | None = None,
    resume: bool = False,
    executor: Any = None,
    progress: Callable[[float], None] | None = None,
) -> xarray.Dataset:
    r"""Run methods at equal budgets of oracle calls and equal ratios R of the speeds.

    Every run starts at :math:`\theta^\star` of uniform weights and ends after the first step at
    which its oracle calls reach ``budget`` (a call with k vectors counts k, a dense Hessian p); R
    sets its outer step, :mod:`~warmflow.analysis.comparison.rates`.

    Parameters
    ----------
    make : callable
        Seed to problem, of NumPy arrays; picklable where an executor has other processes.
    entries : mapping of str to Entry
        Such as :func:`standard_entries`.
    budget : int
        Oracle calls of each run, one for each pass over the data with one vector.
    ratios : sequence of float
        Values of R > 0, increasing.
    seeds : sequence of int
        Draws; each is also the root of the random numbers of the methods. A draw gives the same
        numbers whatever other draws and entries there are.
    num_budgets : int
        States are described at so many numbers of calls, log-spaced up to ``budget``.
    thresholds : sequence of float
        Relative thresholds of ``support``.
    store : path, optional
        A folder that holds what is done, so that nothing is ever done twice.
    resume : bool
        Go on in ``store``, also with other entries and seeds; what is damaged is done again.
    executor : optional
        ``"serial"`` (default), ``"processes"``, ``"dask"``, a Pool, or an executor.
    progress : callable, optional
        Called with the share of the units that is done.

    Returns
    -------
    xarray.Dataset
        Over ``(entry, ratio, seed)``, ``budget``, ``threshold``, ``oracle`` and ``(reference,
        seed)``. Runs that end badly are NaN from there on; ``status`` is -1 where a unit failed,
        and 0 where a budget was spent. Runs of an entry that is not scaled are repeated along
        ``ratio``. The attribute ``num_distinct_draws`` is below the number of seeds where they make
        the same data. ``seconds`` is the only variable that another run does not reproduce.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, entries that the problem cannot serve, or a store that is not empty
        without ``resume``, damaged, or another comparison.

    Warns
    -----
    UserWarning
        Where units failed, with their reasons.
    """
    entries, seeds = check_entries(entries), _check_seeds(seeds)
    plan = _plan(budget, ratios, num_budgets, thresholds)
    pool, resume = as_pool(executor), checks.flag("resume", resume)
    with store_folder(store) as root:
        job = Job(root, make, entries, plan)
        for seed in seeds[:1]:
            checked_problem(problem_of(job, seed), "compare")
        open_folder(job, seeds, resume=resume)
        units = [Unit(job, name, seed) for seed, name in product(seeds, [*entries, REFERENCE_UNIT])]
        keys = {unit.name: job.key(unit.entry, unit.seed) for unit in units}
        todo = [unit for unit in units if not _is_whole(unit, keys)]
        ended = len(units) - len(todo)

        def tell(report: Report) -> None:
            nonlocal ended
            ended += 1
            if progress is not None:
                progress(ended / len(units))

        for unit in todo:
            unit.marks.forget(unit.name)
        sent = job if pool.is_local else publish(job)
        reports = run_tasks([Unit(sent, u.entry, u.seed) for u in todo], pool, tell)
        ds = _gather(job, seeds, {unit: _is_whole(unit, keys) for unit in units})
    warn_of_failures([r for r in reports if r.outcome == "failed"], "units")
    return ds


def _is_whole(unit: Unit, keys: Mapping[str, str]) -> bool:
    """Whether a unit is stored as this comparison would compute it."""
    mark = unit.marks.whole(unit.name)
    return mark is not None and mark.get("key") == keys[unit.name]


def _check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    found = tuple(checks.integer("seeds", seed, minimum=0) for seed in seeds)
    if not found:
        raise ValueError("`seeds` must hold at least one seed; got none.")
    if len(set(found)) < len(found):
        raise ValueError(f"`seeds` must be distinct; got {list(found)}.")
    return found


def _plan(
    budget: Any, ratios: Sequence[float], num_budgets: Any, thresholds: Sequence[float]
) -> Plan:
    """Return the checked plan; budgets that round to the same number of calls are one."""
    budget = checks.integer("budget", budget, minimum=1)
    count = checks.integer("num_budgets", num_budgets, minimum=1)
    values = checks.array("ratios", np.asarray(ratios, dtype=float), shape=(None,))
    if not (values.size and values[0] > 0 and (np.diff(values) > 0).all()):
        raise ValueError(f"`ratios` must be positive and increase; got {values.tolist()}.")
    marks = np.geomspace(min(budget, max(1.0, 1e-2 * budget)), budget, count).round().astype(int)
    marks[-1] = budget
    distinct = tuple(int(mark) for mark in np.unique(marks))
    return Plan(tuple(float(r) for r in values), distinct, check_thresholds(thresholds))


def _gather(job: Job, seeds: tuple[int, ...], is_whole: Mapping[Unit, bool]) -> xarray.Dataset:
    """Return everything that is stored."""
    import xarray

    stored = {
        (unit.entry, unit.seed): read_dataset(unit.path) for unit in is_whole if is_whole[unit]
    }
    names = tuple(job.entries)
    data: dict[str, Any] = {}
    for group, dim in ((names, "entry"), ((REFERENCE_UNIT,), "reference")):
        found = {k: ds for k, ds in stored.items() if k[0] in group}
        for name in sorted({str(v) for ds in found.values() for v in ds.data_vars}):
            block = _block(found, name, group, seeds)
            if dim == "reference":
                data[name] = (("reference", "seed"), np.moveaxis(block[0], 0, -1))
            else:
                _, *rest = dims_of(name)
                dims = ("entry", "ratio", "seed", *rest)
                attrs = flag_attributes() if name == "status" else {"long_name": LABELS[name]}
                data[name] = (dims, np.moveaxis(block, 1, 2), attrs)
    if "calls" in data:
        paid = [k for k, name in enumerate(ORACLES) if name != "theta_star"]
        total = data["calls"][1][..., paid].sum(-1)
        data["cost"] = (("entry", "ratio", "seed"), total, {"long_name": LABELS["cost"]})
    data["seconds"] = (("entry", "seed"), _seconds(job, seeds), {"long_name": LABELS["seconds"]})
    return xarray.Dataset(data, _coordinates(job, seeds), _attributes(job, seeds))


def _block(
    found: Mapping[tuple[str, int], xarray.Dataset],
    name: str,
    group: tuple[str, ...],
    seeds: tuple[int, ...],
) -> np.ndarray:
    """Return a variable over (group, seed, ...), with gaps where units are missing."""
    first = next(ds[name].values for ds in found.values() if name in ds)
    is_status = name == "status"
    block = np.full(
        (len(group), len(seeds), *first.shape),
        PENDING if is_status else np.nan,
        dtype=np.int8 if is_status else np.float64,
    )
    for (entry, seed), ds in found.items():
        if name in ds:
            block[group.index(entry), seeds.index(seed)] = ds[name].values
    return block


def _seconds(job: Job, seeds: tuple[int, ...]) -> np.ndarray:
    """Return how long each unit took, from its mark."""
    marks = [[Unit(job, name, seed) for seed in seeds] for name in job.entries]
    facts = [[unit.marks.done(unit.name) or {} for unit in row] for row in marks]
    return np.array([[fact.get("wall_seconds", np.nan) for fact in row] for row in facts])


def _coordinates(job: Job, seeds: tuple[int, ...]) -> dict[str, Any]:
    entries = job.entries
    return {
        "entry": list(entries),
        "ratio": list(job.plan.ratios),
        "seed": list(seeds),
        "budget": list(job.plan.marks),
        "threshold": list(job.plan.thresholds),
        "oracle": list(ORACLES),
        "reference": list(REFERENCES),
        "label": ("entry", [entry.label or name for name, entry in entries.items()]),
        "is_scaled": ("entry", [entry.is_scaled for entry in entries.values()]),
        "kind": ("entry", ["method"] * len(entries)),
        "method": ("entry", [type(entry.method).__name__ for entry in entries.values()]),
    }


def _attributes(job: Job, seeds: tuple[int, ...]) -> dict[str, Any]:
    problem = problem_of(job, seeds[-1])
    config = {
        "entries": {name: repr(entry) for name, entry in job.entries.items()},
        "budget": job.plan.marks[-1],
        "ratios": list(job.plan.ratios),
        "seeds": list(seeds),
        "problem": repr(problem),
    }
    record = provenance.record(config, root_seed=None, dtype=str(problem.dtype))
    return {
        "budget": job.plan.marks[-1],
        "num_samples": problem.num_samples,
        "num_params": problem.num_params,
        "num_distinct_draws": len({problem_of(job, seed).fingerprint() for seed in seeds}),
        "problem": repr(problem),
        "provenance": json.dumps(record),
    }
