"""COMPARISON.md and comparison.csv: a comparison as tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..artefacts import save_table
from ..markdown import markdown_table

__all__ = ["at_the_edge", "markdown_page", "write_csv"]

_NONE = "–"
_FAR = 1.25
"""Times the budget: beyond it a row says what was spent."""

_INTRODUCTION = """\
Each row is one method at its best ratio R of speeds, the one with the smallest median validation
risk at the end of the budget; the test set had no part in the choice. Best validation risk first;
numbers are *median (worst)* over {seeds} draws of the data; a failed run has infinite risk. All
had the same budget of {budget:,} oracle calls, where one call is one pass over the data with one
vector, and end with the step that spends it: *ended* says who went far beyond. *own* in place of R
marks a method without a rate of its own, run at its default.
"""
_SAME = """ **All draws hold the same
data** (these have a split of their own, and no corruption was asked for): only the random numbers
of methods differ, and the worst says nothing about other samples."""
_EDGE = """ **The best R of {names} is the smallest or the largest that was tried**: a wider range
of `--ratios` may change these rows."""
_COSTS = """\
Oracle calls by class, medians over the draws: methods do not need the same classes. A product
with k vectors counts k, a dense Hessian p; what a solve calls is counted, not the solve itself. η
is the outer step that R stands for, q the share of an error of θ that one outer step removes, s
the seconds for all R of one draw.
"""
_REACHED = {
    "test_loss": "test risk",
    "test_loss_star": "of θ*(w)",
    "test_loss_averaged": "of averaged w",
    "test_accuracy": "accuracy",
    "test_accuracy_star": "accuracy of θ*(w)",
    "test_accuracy_averaged": "accuracy of averaged w",
    "val_loss": "validation risk",
    "ess": "ESS",
    "clean_mass": "clean mass",
    "cosine_start": "cosine, start",
    "cosine_end": "cosine, end",
    "cosine_min": "cosine, least",
}
_REFERENCES = {
    "test_loss": "test risk",
    "test_accuracy": "accuracy",
    "val_loss": "validation risk",
    "ess": "ESS",
    "clean_mass": "clean mass",
    "calls": "oracle calls",
}


def write_csv(path: Path, ds: xr.Dataset) -> None:
    """Write one row for each entry, ratio and seed, at the end of the budget."""
    from ...dynamics import Status

    last = ds.isel(budget=-1, drop=True)
    columns: dict[str, Any] = {}
    for name, field in last.items():
        extra = [dim for dim in field.dims if dim not in ("entry", "ratio", "seed")]
        # Equal runs give equal files: how long they took is on the page alone.
        if "entry" not in field.dims or name == "seconds":
            continue
        if not extra:
            columns[str(name)] = field
            continue
        for value in field[extra[0]].values:
            label = f"{value:g}" if isinstance(value, float) else str(value)
            columns[f"{name}_{label}"] = field.sel({extra[0]: value}, drop=True)
    names = np.vectorize(
        lambda value: "missing" if value < 0 else Status(value).name, otypes=[object]
    )
    columns["status"] = last["status"].copy(data=names(last["status"].values))
    table = xr.Dataset(columns)
    save_table(path, table.drop_vars([name for name in table.coords if name not in table.dims]))


def markdown_page(
    ds: xr.Dataset, chosen: xr.Dataset, title: str, again: str, provenance: dict[str, Any]
) -> str:
    """Return the page; ``chosen`` is ``ds`` at the best ratio of each entry."""
    from ...analysis.comparison import summarise

    summary = summarise(ds)
    order = np.argsort(summary["val_loss"].fillna(np.inf).values, kind="stable")
    rows, chosen = summary.isel(entry=order), chosen.isel(entry=order)
    is_one = ds.attrs["num_distinct_draws"] == 1 < ds.sizes["seed"]
    edge = at_the_edge(ds, summary)
    notes = (_SAME if is_one else "") + (_EDGE if edge else "")
    introduction = (_INTRODUCTION.strip() + notes).format(
        seeds=ds.sizes["seed"], budget=int(ds["budget"].values[-1]), names=", ".join(edge)
    )
    parts = [
        f"# Methods side by side: {title}",
        introduction,
        "## What is reached",
        _table_of_entries(rows, _reached(rows) | {"ended": _ends(chosen)}),
        *_references(summary),
        "## What it costs",
        _COSTS,
        _table_of_entries(rows, _costs(rows)),
        "## How to run it again",
        f"```bash\n{again}\n```",
        _facts(provenance),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def at_the_edge(ds: xr.Dataset, summary: xr.Dataset) -> list[str]:
    """Return the entries whose best ratio is the first or the last of several."""
    tried = ds["ratio"].values
    if tried.size < 2:
        return []
    is_edge = summary["best_ratio"].isin([tried.min(), tried.max()]) & summary["is_scaled"]
    return [str(name) for name in summary["entry"].values[is_edge.values]]


def _table_of_entries(rows: xr.Dataset, columns: dict[str, list[str]]) -> str:
    names = [str(name) for name in rows["entry"].values]
    ratios = [
        f"{ratio:.3g}" if scaled else "own"
        for ratio, scaled in zip(rows["best_ratio"].values, rows["is_scaled"].values, strict=True)
    ]
    header = ["method", "R", *columns]
    return markdown_table(header, list(zip(names, ratios, *columns.values(), strict=True)))


def _reached(rows: xr.Dataset) -> dict[str, list[str]]:
    """Return the columns of results."""
    return {
        title: _middle_and_worst(rows, name)
        for name, title in _REACHED.items()
        if name in rows and bool(rows[name].notnull().any())
    }


def _costs(rows: xr.Dataset) -> dict[str, list[str]]:
    """Return the columns of costs: all calls, those of each class that somebody made, steps."""
    columns = {"all calls": _numbers(rows["cost"])}
    for oracle in rows["oracle"].values:
        calls = rows["calls"].sel(oracle=oracle)
        if (calls > 0).any():
            columns["(solves)" if oracle == "theta_star" else str(oracle)] = _numbers(calls)
    for name, title in (("steps", "steps"), ("eta", "η"), ("inner_rate", "q"), ("seconds", "s")):
        columns[title] = _numbers(rows[name])
    return columns


def _references(summary: xr.Dataset) -> list[str]:
    """Return the rows that no method made."""
    names = {name: f"reference_{name}" for name in _REFERENCES}
    names = {k: v for k, v in names.items() if v in summary and summary[v].notnull().any()}
    if not names:
        return []
    columns = [_middle_and_worst(summary, full) for full in names.values()]
    labels = [str(label).replace("_", " ") for label in summary["reference"].values]
    header = ["reference", *(_REFERENCES[name] for name in names)]
    return ["## Without a method", markdown_table(header, list(zip(labels, *columns, strict=True)))]


def _middle_and_worst(rows: xr.Dataset, name: str) -> list[str]:
    """Return medians over the draws, each with the worst where that is known."""
    middle, worst = _numbers(rows[name]), rows.get(f"{name}_worst")
    if worst is None:
        return middle
    return [
        text if text == _NONE else f"{text} ({last})"
        for text, last in zip(middle, _numbers(worst), strict=True)
    ]


def _ends(chosen: xr.Dataset) -> list[str]:
    """Return how the runs over the draws ended: ``ok``, or how many did not and why."""
    from ...dynamics import Status

    texts = []
    budget = int(chosen["budget"].values[-1])
    statuses = chosen["status"].transpose("entry", "seed").values
    spent = chosen["cost"].transpose("entry", "seed").max("seed").values
    for values, most in zip(statuses, spent, strict=True):
        names = ["missing" if value < 0 else Status(int(value)).name for value in values]
        bad = Counter(name for name in names if name not in ("ok", "converged"))
        words = [f"{count} of {len(names)} {name}" for name, count in bad.items()]
        if most > _FAR * budget:
            words.append(f"{most / budget:.3g} times the budget")
        texts.append(", ".join(words) or "ok")
    return texts


def _numbers(field: xr.DataArray) -> list[str]:
    return [_number(value) for value in field.values]


def _number(value: Any) -> str:
    """Return three digits; whole numbers in full."""
    number = float(value)
    if np.isnan(number):
        return _NONE
    if np.isinf(number):
        return "failed"
    if number.is_integer() and abs(number) < 1e9:
        return f"{int(number):,}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _facts(provenance: dict[str, Any]) -> str:
    """Return the provenance as a folded block."""
    text = json.dumps(provenance, indent=1, sort_keys=True)
    return f"<details><summary>Provenance</summary>\n\n```json\n{text}\n```\n\n</details>"
