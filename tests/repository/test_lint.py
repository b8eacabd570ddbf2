"""The linter and the formatter agree with the tree."""

import subprocess
import sys

import pytest

from ._tree import ROOT


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_ruff_passes(command: tuple[str, ...]) -> None:
    arguments = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    run = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_planted_fault_is_found() -> None:
    arguments = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename"]
    run = subprocess.run(
        [*arguments, "dynamics/planted.py", "-"],
        cwd=ROOT,
        input='"""Planted."""\n\nimport os\n',
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "F401" in run.stdout
