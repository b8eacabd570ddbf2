"""Simulate, store, draw: nothing is computed twice, one failure harms no other."""

import json
from pathlib import Path

import numpy as np
import pytest

from warmflow.paper_repro import runner
from warmflow.paper_repro.folder import ReproductionFolder
from warmflow.paper_repro.runner import Outcome, run_items

from ._fake import Fake


def run(fake: Fake, path: Path, *, force: bool = False, **changes: object) -> Outcome:
    folder = ReproductionFolder.open(path, "quick", ("toy",))
    return run_items([fake.item(**changes)], "quick", folder, force=force)


def test_each_figure_comes_with_pdf_data_and_provenance(tmp_path: Path) -> None:
    outcome = run(Fake(), tmp_path)
    assert (outcome.simulated, outcome.reused, outcome.drawn) == (2, 0, ["toy"])
    folder = tmp_path / "toy"
    assert (folder / "lines.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "lines.pdf").read_bytes().startswith(b"%PDF")
    table = np.genfromtxt(folder / "lines.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(table["y"], [0, 1, 2, 0, 2, 4])
    sidecar = json.loads((folder / "lines.json").read_text())
    assert sidecar["files"] == ["lines.png", "lines.pdf", "lines.csv"]
    needed = {"version", "git_commit", "git_dirty", "config_hash", "root_seed", "libraries",
              "threads", "dtype", "device", "command", "wall_seconds"}  # fmt: skip
    assert needed <= sidecar["provenance"].keys()
    assert sidecar["provenance"]["root_seed"] == 0


def test_redrawing_never_simulates(tmp_path: Path) -> None:
    run(Fake(), tmp_path)
    (tmp_path / "toy" / "lines.png").unlink()
    again = Fake()
    outcome = run(again, tmp_path)
    assert again.simulated == []
    assert (outcome.simulated, outcome.reused) == (0, 2)
    assert (tmp_path / "toy" / "lines.png").exists()


def test_force_simulates_again(tmp_path: Path) -> None:
    run(Fake(), tmp_path)
    again = Fake()
    outcome = run(again, tmp_path, force=True)
    assert again.simulated == [1.0, 2.0]
    assert outcome.simulated == 2


def test_a_new_grid_point_leaves_the_others_alone(tmp_path: Path) -> None:
    run(Fake(), tmp_path)
    wider = Fake(xs=(1.0, 1.5, 2.0))
    run(wider, tmp_path)
    assert wider.simulated == [1.5]


def test_a_new_version_or_other_data_simulate_again(tmp_path: Path) -> None:
    run(Fake(), tmp_path)
    newer, other = Fake(), Fake(scale=2.0)
    run(newer, tmp_path, version=2)
    run(other, tmp_path)
    assert newer.simulated == [1.0, 2.0]
    assert other.simulated == [1.0, 2.0]


def test_an_interruption_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    fake = Fake(xs=(1.0, 2.0, 3.0), interrupt_at=3.0)
    with pytest.raises(KeyboardInterrupt):
        run(fake, tmp_path)
    again = Fake(xs=(1.0, 2.0, 3.0))
    outcome = run(again, tmp_path)
    assert again.simulated == [3.0]
    assert (outcome.simulated, outcome.reused, outcome.drawn) == (1, 2, ["toy"])


def test_interrupted_and_uninterrupted_runs_give_the_same_files(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Fake(interrupt_at=2.0), tmp_path / "a")
    run(Fake(), tmp_path / "a")
    run(Fake(), tmp_path / "b")
    for name in ("lines.png", "lines.pdf", "lines.csv"):
        assert (tmp_path / "a/toy" / name).read_bytes() == (tmp_path / "b/toy" / name).read_bytes()


def test_one_failing_part_harms_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Fake(xs=(1.0, 2.0, 3.0), fails_at=2.0)
    outcome = run(fake, tmp_path)
    assert fake.simulated == [1.0, 3.0]
    assert outcome.drawn == []
    assert [(f.place, f.message) for f in outcome.failures] == [
        ("toy x2-seed0", "RuntimeError: planted failure")
    ]
    assert "[2/3] toy x2-seed0 FAILED" in capsys.readouterr().err
    mended = Fake(xs=(1.0, 2.0, 3.0))
    run(mended, tmp_path)
    assert mended.simulated == [2.0]


def test_a_failing_drawing_is_reported_and_keeps_the_store(tmp_path: Path) -> None:
    def draw(results: object) -> dict[str, object]:
        raise ValueError("no picture")

    outcome = run(Fake(), tmp_path, draw=draw)
    assert [f.message for f in outcome.failures] == ["ValueError: no picture"]
    again = Fake()
    run(again, tmp_path)
    assert again.simulated == []


def test_a_damaged_part_is_computed_again(tmp_path: Path) -> None:
    run(Fake(), tmp_path)
    chunk = next(p for p in (tmp_path / "store").rglob("x2-*/y/c/*") if p.is_file())
    chunk.unlink()
    again = Fake()
    run(again, tmp_path)
    assert again.simulated == [2.0]


def test_only_quick_figures_carry_the_watermark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[str] = []
    monkeypatch.setattr("warmflow.figures.style.watermark", lambda figure, text: marks.append(text))
    run(Fake(), tmp_path / "quick")
    folder = ReproductionFolder.open(tmp_path / "full", "full", ("toy",))
    run_items([Fake().item()], "full", folder)
    assert marks == ["QUICK"]


def test_provenance_is_stored_with_the_results(tmp_path: Path) -> None:
    folder = ReproductionFolder.open(tmp_path, "quick", ("toy",))
    item = Fake().item()
    runner.run_items([item], "quick", folder)
    part = item.parts("quick")[0]
    stored = folder.store.load(item.key(part, item.data(part)))
    provenance = json.loads(stored.attrs["provenance"])
    assert provenance["config"]["settings"] == {"x": 1.0}
    assert provenance["wall_seconds"] is None
