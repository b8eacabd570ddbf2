"""Where image data are looked for."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from warmflow.paper_repro.data import Split, locate
from warmflow.paper_repro.errors import UserError


def write_idx(folder: Path, stem: str, shade: int, count: int = 20) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.full((count, 4, 4), shade, dtype=np.uint8)
    labels = (np.arange(count) % 2).astype(np.uint8)
    for what, dims, array in (("images", 3, images), ("labels", 1, labels)):
        head = struct.pack(f">HBB{dims}I", 0, 8, dims, *array.shape)
        path = folder / f"{stem}-{what}-idx{dims}-ubyte.gz"
        path.write_bytes(gzip.compress(head + array.tobytes()))


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    own, shared = tmp_path / "own", tmp_path / "shared"
    monkeypatch.setenv("WARMFLOW_DATA", str(own))
    monkeypatch.setattr(locate, "SHARED", shared)
    return own, shared


def test_the_users_folder_comes_first(roots: tuple[Path, Path]) -> None:
    own, shared = roots
    assert locate.locate("pictures") is None
    write_idx(shared / "pictures", "t10k", 51)
    assert locate.locate("pictures") == shared / "pictures"
    write_idx(own / "pictures", "t10k", 102)
    assert locate.locate("pictures") == own / "pictures"


def test_a_folder_without_images_is_none(roots: tuple[Path, Path]) -> None:
    (roots[0] / "pictures").mkdir(parents=True)
    assert locate.locate("pictures") is None


def test_without_the_variable_the_shared_folder_is_looked_at(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WARMFLOW_DATA")
    write_idx(roots[1] / "pictures", "t10k", 51)
    assert locate.locate("pictures") == roots[1] / "pictures"


def test_digits_are_always_found(roots: tuple[Path, Path]) -> None:
    assert locate.found("digits", "mnist") == ("digits",)
    write_idx(roots[1] / "mnist", "t10k", 51)
    assert locate.found("mnist", "digits") == ("mnist", "digits")


def test_training_images_are_split_where_there_are_any(roots: tuple[Path, Path]) -> None:
    write_idx(roots[0] / "pictures", "t10k", 51)
    write_idx(roots[0] / "pictures", "train", 102)
    data = locate.load_named("pictures", Split(n=10, m=5))
    assert (data.num_samples, data.X_val.shape[0], data.X_test.shape[0]) == (10, 5, 5)
    np.testing.assert_array_equal(data.X[:, :-1], 0.4)


def test_what_is_absent_is_named_with_the_cure(roots: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"pictures is not .* into \$WARMFLOW_DATA/pictures"):
        locate.load_named("pictures", Split(n=10, m=5))
