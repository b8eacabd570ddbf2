"""The type checker passes, and it would find a fault."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ._tree import FOLDERS, ROOT

PLANTED = '''"""Planted."""

from ..dynamics import answer

WRONG: str = answer()
'''


def mypy(folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Check the package as the top of ``folder`` shows it, with the settings of setup.cfg."""
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), "-p", "warmflow"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_package_is_well_typed() -> None:
    run = mypy(ROOT, ROOT / ".mypy_cache")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("linked", [True, False])
def test_planted_error_is_found(tmp_path: Path, linked: bool) -> None:
    """The fault needs a relative import across folders, followed through the links."""
    (tmp_path / "warmflow").mkdir()
    (tmp_path / "warmflow" / "__init__.py").touch()
    for name in FOLDERS:
        folder = tmp_path / name if linked else tmp_path / "warmflow" / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        if linked:
            (tmp_path / "warmflow" / name).symlink_to(Path("..") / name)
    package = tmp_path / "warmflow"
    (package / "dynamics" / "__init__.py").write_text("def answer() -> int:\n    return 42\n")
    (package / "analysis" / "planted.py").write_text(PLANTED)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    run = mypy(tmp_path, tmp_path / "cache")
    assert run.returncode == 1
    assert "planted.py:5: error: Incompatible types in assignment" in run.stdout
