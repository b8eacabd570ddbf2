"""``warmflow compare``: from the command line to tables and figures, end to end on small data."""

import csv
import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from warmflow.analysis.comparison import compare, standard_entries, summarise, units
from warmflow.paper_repro import cli
from warmflow.paper_repro.commands._compare_page import at_the_edge
from warmflow.paper_repro.commands.compare import DEAR
from warmflow.paper_repro.data import Toy

NAMES = ["joint", "soba", "learning_to_reweight"]
OPTIONS = ["--methods", "joint,soba,l2r", "--budget", "200", "--ratios", "0.1:10:3",
           "--seeds", "2", "--executor", "serial"]  # fmt: skip
FIGURES = ("sparsity_against_ratio", "budget_frontier", "risk_against_ess")


def run(*args: object) -> int:
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as end:
        return int(end.code or 0)


def compared(out: Path, *options: object) -> int:
    return run("compare", "--data", "toy", "--out", out, *OPTIONS, *options)


def make(seed: int, ridge: float = 1e-3) -> Any:
    return Toy(seed=seed).make().problem(ridge)


def direct(**changes: Any) -> xr.Dataset:
    wanted = {"budget": 200, "ratios": np.geomspace(0.1, 10, 3), "seeds": range(2), **changes}
    return compare(make, standard_entries(NAMES), **wanted)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "comparison.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tables_of(out: Path) -> list[list[list[str]]]:
    """The markdown tables of the page: lines of cells, the header first."""
    text = (out / "COMPARISON.md").read_text(encoding="utf-8")
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    cells = [[re.split(r" \| ", line[2:-2]) for line in table.splitlines()] for table in found]
    return [[table[0], *table[2:]] for table in cells]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    assert compared(out) == 0
    return out


def test_csv_has_the_numbers_of_the_dataset(whole: Path) -> None:
    ds, rows = direct(), rows_of(whole)
    assert len(rows) == 3 * 3 * 2
    for row in rows:
        at = {"entry": row["entry"], "seed": int(row["seed"])}
        cell = ds.sel(at).sel(ratio=float(row["ratio"]), method="nearest").isel(budget=-1)
        for name in ("test_loss", "val_loss", "ess", "test_loss_star", "cosine_min", "steps"):
            assert float(row[name]) == float(cell[name]), name
        assert float(row["calls_hvp"]) == float(cell["calls"].sel(oracle="hvp"))
        assert float(row["support_0.001"]) == float(cell["support"].isel(threshold=0))
        assert row["status"] == "ok"


def test_page_has_medians_and_worst_draws_at_the_best_ratio(whole: Path) -> None:
    last = direct().isel(budget=-1)
    reached, references, costs = tables_of(whole)
    risks = []
    for line in reached[1:]:
        found = dict(zip(reached[0], line, strict=True))
        part = last.sel(entry=found["method"])
        best = int(part["val_loss"].median("seed").argmin("ratio"))
        is_own = found["method"] == "learning_to_reweight"
        assert found["R"] == ("own" if is_own else f"{float(part['ratio'][best]):.3g}")
        values = part.isel(ratio=best)
        risk, ess = values["test_loss"], values["ess"]
        assert found["test risk"] == f"{float(risk.median()):.3g} ({float(risk.max()):.3g})"
        assert found["ESS"] == f"{float(ess.median()):.3g} ({float(ess.min()):.3g})"
        risks.append(float(values["val_loss"].median()))
    assert risks == sorted(risks)
    names = [line[0] for line in references[1:]]
    assert names == ["uniform", "validation only", "clean only", "derivative free"]
    for line in costs[1:]:
        found = dict(zip(costs[0], line, strict=True))
        calls = float(found["all calls"].replace(",", ""))
        assert 200 <= calls < 210
        assert (found["hvp"] == "0") == (found["method"] != "soba")


def test_a_best_ratio_at_the_end_of_the_range_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slow weights have not moved: the larger of two small ratios is the best for both."""
    out = tmp_path / "edge"
    words = ["--data", "toy", "--out", out, "--methods", "soba,l2r", "--executor", "serial"]
    run("compare", *words, "--budget", "100", "--seeds", "1", "--ratios", "1e-4:1e-3:2")
    assert "the best R of 1 of 2 entries is at the end of --ratios" in capsys.readouterr().err
    page = (out / "COMPARISON.md").read_text(encoding="utf-8")
    assert "The best R of soba is the smallest or the largest that was tried" in page
    ds = direct()
    found = summarise(ds)
    inner = found.assign(best_ratio=found["best_ratio"] * 0 + ds["ratio"].values[1])
    assert at_the_edge(ds, inner) == []


def test_figures_and_their_data_are_written(whole: Path) -> None:
    for name in FIGURES:
        for suffix in ("png", "pdf", "json"):
            assert (whole / f"{name}.{suffix}").stat().st_size > 0
    ds = direct()
    chosen = ds.sel(ratio=summarise(ds)["best_ratio"])
    with (whole / "budget_frontier-runs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            place = {"entry": row["entry"], "seed": int(row["seed"]), "budget": int(row["budget"])}
            assert float(row["test_loss"]) == float(chosen["test_loss"].sel(place))
    provenance = json.loads((whole / "budget_frontier.json").read_text())["provenance"]
    assert provenance["config"]["methods"] == NAMES


def test_interrupt_status_resume(
    tmp_path: Path,
    whole: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, rows = 0, units.rows

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return rows(*args)

    monkeypatch.setattr(units, "rows", counted)
    monkeypatch.setattr(sys, "argv", ["warmflow", "compare", "--out", "a b"])
    assert compared(tmp_path) == 130
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.endswith("Go on with: warmflow compare --out 'a b' --resume")
    assert run("status", tmp_path) == 0
    shown = capsys.readouterr().out
    assert "comparison of joint, soba, learning_to_reweight on 2 draws" in shown
    assert "4 of 8 units done, 0 failed, 0 in flight; nobody works on it" in shown
    assert compared(tmp_path) == 2
    assert "not empty; go on with it by --resume" in capsys.readouterr().err
    assert compared(tmp_path, "--resume") == 0
    assert calls == 4 + 3
    assert (tmp_path / "comparison.csv").read_bytes() == (whole / "comparison.csv").read_bytes()
    capsys.readouterr()
    assert run("status", tmp_path) == 0
    assert "8 of 8 units done, 0 failed, 0 in flight\n" in capsys.readouterr().out


def test_failed_units_are_listed_and_set_the_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = units.rows

    def failing(problem: Any, entry: Any, plan: Any, seed: int) -> Any:
        if type(entry.method).__name__ == "SOBA" and seed == 1:
            raise ValueError("planted")
        return rows(problem, entry, plan, seed)

    monkeypatch.setattr(units, "rows", failing)
    assert compared(tmp_path) == 1
    assert re.search(r"failed: soba, seed 1: .*planted", capsys.readouterr().err)
    [line] = [line for line in tables_of(tmp_path)[0] if line[0] == "soba"]
    assert line[-1] == "1 of 2 missing"
    assert run("status", tmp_path) == 1
    monkeypatch.undo()
    assert compared(tmp_path, "--resume") == 0


FAULTS = [
    (["--methods", "jiont"], "--methods must be among"),
    (["--mitigations", "magic"], "--mitigations must be among"),
    (["--budget", "0"], "argument --budget: 0 must be at least 1"),
    (["--ratios", "1:0.1:3"], "argument --ratios"),
    (["--methods", ","], "holds no name"),
    (["--data", "nowhere.npz"], "nowhere.npz: no such file"),
    (["--scheduler", "x", "--executor", "serial"], "--scheduler needs --executor dask"),
    (["--corruption", "0.2"], "--corruption 0.2 needs class labels"),
]


@pytest.mark.parametrize(("options", "words"), FAULTS, ids=lambda value: str(value)[:20])
def test_faults_of_the_user_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert compared(tmp_path, *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def test_another_comparison_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--methods", "joint", "--seeds", "1"]
    assert compared(tmp_path, *small) == 0
    capsys.readouterr()
    assert compared(tmp_path, *small, "--resume", "--ridge", "0.1") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"warmflow compare: error: --out {tmp_path} was started with")


def test_all_leaves_out_what_carries_tangents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from warmflow.analysis import comparison

    class Asked(Exception):
        pass

    def stop(make: Any, entries: Any, **_: Any) -> Any:
        raise Asked(list(entries))

    monkeypatch.setattr(comparison, "compare", stop)
    data = partial(run, "compare", "--executor", "serial")
    with pytest.raises(Asked) as toy:
        data("--data", "toy", "--out", tmp_path / "toy")
    with pytest.raises(Asked) as digits:
        data("--data", "digits", "--out", tmp_path / "digits", "--corruption", "0.3")
    everything, some = toy.value.args[0], digits.value.args[0]
    assert set(everything) - set(some) == set(DEAR)
    assert "left out with p = 6" in capsys.readouterr().err


def test_mitigations_are_entries(tmp_path: Path) -> None:
    options = ["--methods", "joint", "--mitigations", "none,entropy", "--seeds", "1"]
    assert compared(tmp_path, *options) == 0
    found = {row["entry"] for row in rows_of(tmp_path)}
    assert found == {"joint", "joint+entropy"}


def test_what_does_not_go_together_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--methods", "joint,l2r", "--mitigations", "entropy", "--seeds", "1"]
    assert compared(tmp_path, *options) == 0
    assert "do not go together: learning_to_reweight+entropy" in capsys.readouterr().err


def test_equal_draws_and_overspending_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    names = {"X": (30, 2), "y": 30, "X_val": (20, 2), "y_val": 20}
    np.savez(tmp_path / "own.npz", **{name: rng.normal(size=n) for name, n in names.items()})
    out = tmp_path / "out"
    options = ["--methods", "joint,forward", "--ratios", "1", "--seeds", "2", "--budget", "20"]
    assert run("compare", "--data", tmp_path / "own.npz", "--out", out, *options,
               "--executor", "serial") == 0  # fmt: skip
    assert "all 2 draws hold the same data" in capsys.readouterr().err
    assert "**All draws hold the same" in (out / "COMPARISON.md").read_text(encoding="utf-8")
    reached, _, costs = tables_of(out)
    ended = {line[0]: line[-1] for line in reached[1:]}
    calls = {line[0]: float(line[2].replace(",", "")) for line in costs[1:]}
    assert ended["joint"] == "ok"
    assert ended["forward_mode"] == f"{calls['forward_mode'] / 20:.3g} times the budget"
