r"""Which candidate is best on some data sets, and how it does on others.

The score of a run is the share of the harm that is left,

.. math:: s = \frac{\text{risk} - \text{risk of the oracle}}
    {\text{risk with uniform weights} - \text{risk of the oracle}},

0 for an oracle and 1 for doing nothing, cut at `WORST` so that one bad run cannot decide alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..item import Results
from ._recommendation_runs import DEVELOPMENT, HELD_OUT, SCALES, TUNED, CandidatePart

__all__ = ["WORST", "Scores", "choose", "leave_one_out", "outcomes", "scores", "tuned"]

WORST = 2.0
"""Largest score that counts; runs that ended badly have it."""
BEST = -0.5
"""Least score that counts: luck below the oracle is no merit."""

Scores = xr.Dataset
"""``score, ess`` (share of n), ``val_loss`` over (candidate, name, seed); ``validation`` over
(name, seed)."""


def scores(results: Results[CandidatePart]) -> Scores:
    """Gather the scores of all candidates; a candidate is an entry with a value of a scale."""
    names = [name for name in (*DEVELOPMENT, *HELD_OUT) if any(p.name == name for p in results)]
    seeds = sorted({part.seed for part in results})
    harm = {(p.name, p.seed): ds for p, ds in results.items() if p.entry == "none"}
    cells: dict[str, dict[tuple[str, int], tuple[float, ...]]] = {}
    for part, ds in results.items():
        if part.entry == "none":
            continue
        known = harm[part.name, part.seed]
        score = _score(ds["test_loss"].values, known)
        share = ds["ess"].values / ds.attrs["num_samples"]
        for k in range(ds.sizes["case"]):
            label = f"{part.entry}|{ds['scale'].values[k]}|{ds['value'].values[k]:g}"
            losses = (float(ds[name].values[k]) for name in ("val_loss", "held_back"))
            row = float(score[k]), float(share[k]), *losses
            cells.setdefault(label, {})[part.name, part.seed] = row
    shape = (len(cells), len(names), len(seeds))
    data = np.full((4, *shape), np.nan)
    for i, found in enumerate(cells.values()):
        for (name, seed), row in found.items():
            data[:, i, names.index(name), seeds.index(seed)] = row
    validation = np.full((len(names), len(seeds)), np.nan)
    for (name, seed), known in harm.items():
        share = _score(known["validation"].values, known)
        validation[names.index(name), seeds.index(seed)] = share
    dims = ("candidate", "name", "seed")
    return xr.Dataset(
        {"score": (dims, data[0]), "ess": (dims, data[1]), "val_loss": (dims, data[2]),
         "held_back": (dims, data[3]),
         "validation": (("name", "seed"), validation)},
        {"candidate": list(cells), "name": names, "seed": seeds},
    )  # fmt: skip


def _score(risk: np.ndarray, harm: xr.Dataset) -> np.ndarray:
    """Return the share of the harm that is left, cut to [BEST, WORST]; NaN is the worst."""
    oracle, uniform = float(harm["oracle"]), float(harm["uniform"])
    score = (risk - oracle) / (uniform - oracle)
    return np.clip(np.nan_to_num(score, nan=WORST), BEST, WORST)


def choose(found: Scores, names: Sequence[str], scale: str | None = None) -> str:
    """Return the candidate whose worst mean score among the named data sets is least.

    A default is for data that nobody has seen, so that its worst data set counts, not the mean: a
    mean is dominated by data on which many candidates are good.

    Parameters
    ----------
    scale : str, optional
        Only candidates of this scale; all but the default step when left out.
    """
    worst = found["score"].sel(name=list(names)).mean("seed").max("name")
    scales = [str(label).split("|")[1] for label in worst["candidate"].values]
    allowed = [s != "default" if scale is None else s == scale for s in scales]
    worst = worst.where(xr.DataArray(allowed, dims="candidate"))
    return str(worst["candidate"].values[int(worst.argmin("candidate"))])


def tuned(found: Scores, loss: str) -> xr.DataArray:
    """Score of one entry whose value is chosen by a loss of each draw, (name, seed).

    It costs as many budgets as there are values, for ``held_back`` one more.
    """
    labels = [str(label) for label in found["candidate"].values]
    chosen = [label for label in labels if label.startswith(f"{TUNED}|curvature|")]
    losses = found[loss].sel(candidate=chosen)
    best = losses.where(np.isfinite(losses), np.inf).argmin("candidate")
    return found["score"].sel(candidate=chosen).isel(candidate=best).drop_vars("candidate")


def leave_one_out(found: Scores) -> xr.DataArray:
    """Score on each data set of the candidate that is chosen on all others, (name, seed)."""
    names = [str(name) for name in found["name"].values]
    rows = []
    for name in names:
        others = [other for other in names if other != name]
        rows.append(found["score"].sel(candidate=choose(found, others), name=name, drop=True))
    return xr.concat(rows, xr.DataArray(names, dims="name", name="name"))


def outcomes(found: Scores) -> xr.Dataset:
    """How the recommendation and what it competes with do, over (arm, name, seed)."""
    names = [name for name in DEVELOPMENT if name in found["name"].values]
    chosen = choose(found, names)
    entry = chosen.split("|")[0]
    rivals = {scale: choose(found, names, scale) for scale in SCALES}
    mean = found["score"].mean("seed")
    hindsight = mean.argmin("candidate")
    arms = {
        "recommended": found["score"].sel(candidate=chosen, drop=True),
        "fixed curvature": found["score"].sel(candidate=rivals["curvature"], drop=True),
        "fixed R": found["score"].sel(candidate=rivals["ratio"], drop=True),
        "default step": found["score"].sel(candidate=f"{entry}|default|0.01", drop=True),
        "tuned on validation": tuned(found, "val_loss"),
        "held back": tuned(found, "held_back"),
        "best in hindsight": found["score"].isel(candidate=hindsight).drop_vars("candidate"),
        "validation only": found["validation"],
    }
    joined = xr.concat(
        list(arms.values()), xr.DataArray(list(arms), dims="arm", name="arm"), coords="minimal",
        compat="override", join="exact",
    )  # fmt: skip
    return joined.to_dataset(name="score").assign_attrs(chosen=chosen, **rivals)
