"""Output folders: whose they are, and what is refused."""

import os
from pathlib import Path

import pytest

from warmflow.paper_repro.errors import UserError
from warmflow.paper_repro.folder import ReproductionFolder, new_folder


def test_new_folders_may_be_missing_or_empty(tmp_path: Path) -> None:
    assert new_folder(tmp_path / "a" / "b").is_dir()
    assert new_folder(tmp_path / "a" / "b").is_dir()


def test_a_filled_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(UserError, match=r"--out .*: the folder is not empty; choose another"):
        new_folder(tmp_path)
    with pytest.raises(UserError, match=r"x: is a file; choose a folder"):
        new_folder(tmp_path / "x")
    with pytest.raises(UserError, match=r"not empty; choose another --out, or an earlier"):
        ReproductionFolder.open(tmp_path, "quick", ("toy",))
    with pytest.raises(UserError, match=r"cannot be made"):
        new_folder(tmp_path / "x" / "y")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="is read-only"):
        new_folder(tmp_path)


def test_no_permission_is_found_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="is read-only; choose another --out"):
        new_folder(tmp_path)


def test_an_own_folder_is_opened_again(tmp_path: Path) -> None:
    ReproductionFolder.open(tmp_path / "r", "full", ("toy", "digits_cleaning"))
    before = ReproductionFolder.started(tmp_path / "r")
    assert before is not None
    assert (before.variant, before.items) == ("full", ("toy", "digits_cleaning"))
    ReproductionFolder.open(tmp_path / "r", "full", ("toy",))
    with pytest.raises(UserError, match="holds a --full reproduction; choose another --out"):
        ReproductionFolder.open(tmp_path / "r", "quick", ("toy",))


def test_unstarted_folders_have_no_manifest(tmp_path: Path) -> None:
    assert ReproductionFolder.started(tmp_path / "missing") is None
    assert ReproductionFolder.started(tmp_path) is None
    (tmp_path / "reproduction.json").write_text("{")
    with pytest.raises(UserError, match=r"reproduction\.json: damaged"):
        ReproductionFolder.started(tmp_path)
