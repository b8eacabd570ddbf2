"""The wheel, built by way of the sdist, holds the package: all of it and nothing else."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from ._tree import FOLDERS, ROOT, repository_files


def expected(files: list[str]) -> set[str]:
    """Name the files of the wheel from those of the repository."""
    names = set()
    for name in files:
        path = PurePosixPath(name)
        if path.parts[0] in FOLDERS:
            names.add(f"warmflow/{name}")
        if path.parts[0] == "warmflow" and len(path.parts) == 2 and path.name not in FOLDERS:
            names.add(name)
    return names


@pytest.fixture(scope="module")
def repository() -> list[str]:
    return repository_files()


@pytest.fixture(scope="module")
def dist(repository: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy of the repository's files: the tree itself stays free of build/."""
    copy = tmp_path_factory.mktemp("copy")
    for name in repository:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist"]
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return copy / "dist"


@pytest.fixture(scope="module")
def contents(dist: Path) -> set[str]:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_wheel_and_tree_hold_the_same_files(contents: set[str], repository: list[str]) -> None:
    assert sorted(expected(repository) - contents) == [], "missing from the wheel"
    assert sorted(contents - expected(repository)) == [], "not in the tree"


def test_wheel_is_typed_and_carries_its_data(contents: set[str], repository: list[str]) -> None:
    data = {f"warmflow/{name}" for name in repository if name.startswith("paper_repro/")}
    assert "warmflow/py.typed" in contents
    assert {name for name in data if name.endswith(".json")} <= contents


def test_every_folder_of_modules_is_a_package(repository: list[str]) -> None:
    modules = {PurePosixPath(name) for name in repository if name.endswith(".py")}
    folders = {path.parent for path in modules if path.parts[0] in FOLDERS}
    assert folders
    assert {str(f) for f in folders if f / "__init__.py" not in modules} == set()


def test_sdist_holds_what_a_packager_needs(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {PurePosixPath(*PurePosixPath(name).parts[1:]) for name in archive.getnames()}
    needed = ["LICENSE", "CHANGELOG.md", "constraints.txt", "tests/repository/test_wheel.py"]
    assert {PurePosixPath(name) for name in needed} <= names


def test_console_script_is_declared(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(name).decode()
    assert "warmflow = warmflow.paper_repro.cli:main" in text
