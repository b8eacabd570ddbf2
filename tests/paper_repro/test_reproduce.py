"""``warmflow reproduce`` from end to end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warmflow.paper_repro import cli, registry

from ._fake import Fake

PROGRAM = "import sys; from warmflow.paper_repro.cli import main; sys.exit(main())"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Every item of the registry is the same fake."""
    fake = Fake(xs=(1.0, 2.0, 3.0))
    monkeypatch.setattr(registry, "load_item", lambda name: fake.item(name=name))
    return fake


def reproduce(*args: object) -> int:
    return cli.main(["reproduce", *map(str, args)])


def test_default_is_quick_into_results(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reproduce("--only", "toy") == 0
    assert (tmp_path / "results/quick/RESULTS.md").exists()
    shown = capsys.readouterr().out
    assert "3 parts simulated, 0 found in the store" in shown
    assert "report: results/quick/RESULTS.md" in shown
    assert reproduce("--full", "--only", "toy") == 0
    assert (tmp_path / "results/full/results.json").exists()


def test_the_own_folder_is_reused_and_force_is_not(fake: Fake, tmp_path: Path) -> None:
    for options, simulated in (([], 3), ([], 0), (["--resume"], 0), (["--force"], 3)):
        fake.simulated.clear()
        assert reproduce("--only", "toy", "--out", tmp_path / "r", *options) == 0
        assert len(fake.simulated) == simulated


def test_quick_and_full_do_not_mix(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce("--only", "toy", "--out", tmp_path / "r") == 0
    assert reproduce("--full", "--out", tmp_path / "r") == 2
    assert "holds a --quick reproduction; choose another --out" in capsys.readouterr().err


def test_interrupted_runs_are_resumed_with_their_settings(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my results"
    fake.interrupt_at = 3.0
    assert reproduce("--full", "--only", "phase_diagram", "--out", out) == 130
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.endswith(f"warmflow reproduce --resume --out '{out}'")
    fake.interrupt_at = None
    fake.simulated.clear()
    assert reproduce("--resume", "--out", out) == 0
    assert fake.simulated == [3.0]
    results = json.loads((out / "results.json").read_text())
    assert results["variant"] == "full"
    assert {row["item"] for row in results["results"]} == {"phase_diagram"}


def test_resume_of_a_missing_folder_starts_it(fake: Fake, tmp_path: Path) -> None:
    assert reproduce("--resume", "--only", "toy", "--out", tmp_path / "new") == 0
    assert len(fake.simulated) == 3


def test_failures_are_listed_and_set_the_exit_code(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.fails_at = 2.0
    assert reproduce("--only", "toy", "--out", tmp_path / "r") == 1
    captured = capsys.readouterr()
    assert "failed: toy x2-seed0: RuntimeError: planted failure" in captured.err
    assert fake.simulated == [1.0, 3.0]


def test_a_full_disk_is_one_line(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("warmflow.paper_repro.report.write_text", full)
    assert reproduce("--only", "toy", "--out", tmp_path / "r") == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_the_real_thing_interrupted_and_resumed(tmp_path: Path) -> None:
    """Ctrl-C in the middle, then --resume: everything is there, nothing was computed twice."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, "reproduce"]
    first = subprocess.Popen(
        [*command, "--out", "r"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip  # a shell that runs the tests in the background makes them ignore SIGINT
    store = tmp_path / "r" / "store" / "toy"
    deadline = time.monotonic() + 600
    while len(list(store.glob("*.json"))) < 6:
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    try:
        _, errors = first.communicate(timeout=300)
    finally:
        first.kill()
    assert first.returncode == 130
    assert errors.splitlines()[-1].endswith("warmflow reproduce --resume --out r")
    assert "Traceback" not in errors
    stored = len(list((tmp_path / "r" / "store").glob("*/*.json")))
    assert stored >= 6

    second = subprocess.run(
        [*command, "--resume", "--out", "r"], cwd=tmp_path, capture_output=True, text=True
    )
    assert second.returncode == 0, second.stderr
    assert f"{stored} found in the store" in second.stdout
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    assert {row["item"] for row in results["results"]} == {*registry.STANDARD}
    differing = [row["number"] for row in results["results"] if row["agrees"] is False]
    assert differing == []
    for figure in (tmp_path / "r").glob("*/*.png"):
        assert {".png", ".pdf", ".csv", ".json"} <= {
            path.suffix for path in figure.parent.glob(f"{figure.stem}*")
        }
    page = (tmp_path / "r" / "RESULTS.md").read_text("utf-8")
    assert page.count("not stated in the paper") > 5
    assert "## ASSUMED settings" in page
