"""README runs: its Python blocks and its ``warmflow`` lines, in order, in one empty folder."""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ._tree import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENVIRONMENT = {**os.environ, "MPLBACKEND": "Agg"}


def steps(text: str) -> list[list[str]]:
    """Return the commands that follow a reader's steps through ``text``."""
    found: list[list[str]] = []
    for language, body in FENCE.findall(text):
        if language == "python":
            found.append(["-W", "error", "-c", body])
        if language in ("bash", "console"):
            lines = (line.removeprefix("$ ").strip() for line in body.splitlines())
            found += [["-m", *shlex.split(x, comments=True)] for x in lines if x[:9] == "warmflow "]
    return found


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )


def test_readme_runs(tmp_path: Path) -> None:
    found = steps(README)
    assert len(found) >= 4
    for arguments in found:
        if "import torch" in arguments[-1] and find_spec("torch") is None:
            continue
        result = run(arguments, tmp_path)
        assert result.returncode == 0, f"{arguments[-1]}\n{result.stderr}"
        assert result.stdout, f"printed nothing:\n{arguments[-1]}"


def test_readme_names_the_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)(?=[`\n])", README))
    assert {"test", "test-core", "reproduce", "docs"} <= named <= targets


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_local_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_steps_are_found_in_order() -> None:
    text = "```python\nprint(1)\n```\n```bash\nmake test\n$ warmflow run --out 'a b'  # note\n```\n"
    assert steps(text) == [
        ["-W", "error", "-c", "print(1)\n"],
        ["-m", "warmflow", "run", "--out", "a b"],
    ]


def test_planted_fault_is_found(tmp_path: Path) -> None:
    (step,) = steps("```python\nimport warmflow.no_such_module\n```\n")
    assert "ModuleNotFoundError" in run(step, tmp_path).stderr
