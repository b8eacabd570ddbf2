"""RESULTS.md and results.json."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from warmflow.paper_repro.claims import Claim, Reference
from warmflow.paper_repro.folder import ReproductionFolder
from warmflow.paper_repro.item import Item
from warmflow.paper_repro.report import write_report
from warmflow.paper_repro.runner import run_items

from ._fake import Fake, FakePart


def report(item: Item[FakePart], path: Path) -> tuple[str, dict]:
    folder = ReproductionFolder.open(path, "quick", ("toy",))
    run_items([item], "quick", folder)
    page, machine = write_report([item], folder)
    return page.read_text("utf-8"), json.loads(machine.read_text("utf-8"))


def table_rows(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("| toy ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_each_claim_has_a_row_with_its_verdict(tmp_path: Path) -> None:
    page, machine = report(Fake(xs=(2.0, 3.0)).item(), tmp_path)
    stated, unstated, assumed = table_rows(page)
    assert stated[:3] == ["toy", "y is large", "sec. 9"]
    assert stated[-2:] == ["at least 2", "qualitative match"]
    assert stated[3].startswith("largest y: 5 [")
    assert unstated[1] == "nothing"
    assert unstated[-1] == "not stated in the paper"
    assert assumed == ["toy", "k", "3", "small"]
    first = machine["results"][0]
    assert first["got"]["values"] == [4.0, 6.0]
    assert first["verdict"] == "qualitative match"
    assert machine["assumed"]["toy"] == [{"name": "k", "choice": "3", "reason": "small"}]


def test_numbers_of_absent_data_are_left_out(tmp_path: Path) -> None:
    item = Fake().item()
    absent = Claim(number="nowhere", meaning="of data that are not here")
    page, machine = report(replace(item, claims=(*item.claims, absent)), tmp_path)
    assert [row["number"] for row in machine["results"]] == [c.number for c in item.claims]
    assert "not here" not in page


def test_figures_are_shown_with_their_files(tmp_path: Path) -> None:
    page, _ = report(Fake().item(), tmp_path)
    assert "![lines](toy/lines.png)" in page
    assert "[lines.csv](toy/lines.csv)" in page


@pytest.mark.parametrize(("value", "agrees"), [(3.0, True), (9.0, False)])
def test_our_own_reference_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, agrees: bool
) -> None:
    references = {"top": Reference(value=value, tolerance=0.5)}
    monkeypatch.setattr(Item, "references", lambda self, variant: references)
    page, machine = report(Fake().item(), tmp_path)
    assert machine["results"][0]["agrees"] is agrees
    assert ("DIFFERS" in page) is not agrees


def test_bars_in_texts_do_not_break_the_table(tmp_path: Path) -> None:
    claims = (Claim(number="top", meaning="|y|"),)
    page, _ = report(Fake().item(claims=claims), tmp_path)
    row = next(line for line in page.splitlines() if line.startswith("| toy | nothing"))
    assert r"\|y\|" in row


def test_items_run_before_stay_in_the_report(tmp_path: Path) -> None:
    first, second = Fake().item(), Fake().item(name="phase_diagram")
    folder = ReproductionFolder.open(tmp_path, "quick", ("toy",))
    run_items([first], "quick", folder)
    run_items([second], "quick", folder)
    page = write_report([first, second], folder)[0].read_text("utf-8")
    assert "| toy | y is large" in page
    assert "| phase_diagram | y is large" in page


def test_numbers_of_an_older_version_are_left_out(tmp_path: Path) -> None:
    folder = ReproductionFolder.open(tmp_path, "quick", ("toy",))
    run_items([Fake().item()], "quick", folder)
    _, machine = write_report([Fake().item(version=2)], folder)
    assert json.loads(machine.read_text())["results"] == []
