"""``warmflow status`` of a reproduction; that of sweeps is in test_sweep_command."""

import os
from pathlib import Path

import pytest

from warmflow.paper_repro import cli, registry, runner
from warmflow.paper_repro.folder import ReproductionFolder
from warmflow.paper_repro.item import Item

from ._fake import Fake


def items(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """Let the registry hold an item that takes no time."""
    item = Fake().item()
    monkeypatch.setattr(registry, "load_items", lambda names=None: [item])
    return [item]


def test_status_of_a_reproduction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [item] = items(monkeypatch)
    folder = ReproductionFolder.open(tmp_path, "quick", (item.name,))
    assert cli.main(["status", str(tmp_path)]) == 0
    total = len(item.parts("quick"))
    assert f"0 of {total} parts done, 0 failed, 0 in flight" in capsys.readouterr().out
    runner.run_items([item], "quick", folder)
    assert cli.main(["status", str(tmp_path)]) == 0
    assert f"{total} of {total} parts done" in capsys.readouterr().out
    marks = folder.store.marks
    [name, *_] = marks.names("done")
    marks.forget(name)
    marks.start(name)
    assert cli.main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert f"{total - 1} of {total} parts done, 0 failed, 1 in flight, about" in shown
    assert f"in flight: {name} by process {os.getpid()}" in shown
    marks.clear(name, "running")
    marks.fail(name, "toy part", "planted")
    assert cli.main(["status", str(tmp_path)]) == 1
    assert "failed: toy part: planted" in capsys.readouterr().err
