"""Digits and folders of IDX files: scaling, constant feature, splits, damaged files."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from warmflow.paper_repro.data import Split, digits, load_idx_folder
from warmflow.paper_repro.data.idx import read_idx
from warmflow.paper_repro.errors import UserError

RNG = np.random.default_rng(0)
SMALL = Split(n=12, m=5)


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_pair(folder: Path, stem: str, count: int, ending: str = "", shift: int = 0) -> None:
    """The first pixel is the index of the image plus `shift`, the label its last digit."""
    images = RNG.integers(0, 256, size=(count, 3, 4), dtype=np.uint8)
    images[:, 0, 0] = np.arange(count) + shift
    labels = ((np.arange(count) + shift) % 10).astype(np.uint8)
    for what, array in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx_bytes(array)
        path = folder / f"{stem}-{what}-ubyte{ending}"
        path.write_bytes(gzip.compress(content) if ending else content)


def identity(X: np.ndarray) -> np.ndarray:
    return np.rint(X[:, 0] * 255).astype(int)


def test_digits_are_scaled_and_have_a_constant_feature() -> None:
    data = digits(Split(n=1000, m=300))
    assert data.X.shape == (1000, 65)
    assert data.X_test.shape == (497, 65)
    assert (data.X.min(), data.X.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(data.X_val[:, -1], 1.0)
    assert data.num_classes == 10
    assert data.clean.all()


def test_splits_are_disjoint_and_follow_the_seed() -> None:
    def rows(X: np.ndarray) -> set[bytes]:
        return {row.tobytes() for row in X}

    one = digits(Split(n=1000, m=300))
    assert not rows(one.X) & rows(one.X_val)
    assert not rows(one.X) & rows(one.X_test)
    assert digits(Split(n=1000, m=300)).fingerprint() == one.fingerprint()
    assert digits(Split(n=1000, m=300, seed=1)).fingerprint() != one.fingerprint()


def test_a_larger_validation_set_keeps_the_training_set() -> None:
    small, large = digits(Split(n=500, m=100)), digits(Split(n=500, m=400))
    np.testing.assert_array_equal(small.X, large.X)
    np.testing.assert_array_equal(small.X_val, large.X_val[:100])


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_folder_with_train_and_test_files(tmp_path: Path, ending: str) -> None:
    write_pair(tmp_path, "train", 40, ending)
    write_pair(tmp_path, "t10k", 20, ending, shift=100)
    data = load_idx_folder(tmp_path, SMALL)
    assert data.X.shape == (12, 13)
    train, val, test = (identity(X) for X in (data.X, data.X_val, data.X_test))
    assert max(*train, *val) < 40
    assert not {*train} & {*val}
    assert {*test} == {*range(100, 120)}
    np.testing.assert_array_equal(data.y, train % 10)
    np.testing.assert_array_equal(data.y_test, test % 10)


def test_idx_folder_with_test_files_only_is_split(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", 30, ".gz")
    data = load_idx_folder(tmp_path, SMALL)
    parts = [{*identity(X)} for X in (data.X, data.X_val, data.X_test)]
    assert [len(part) for part in parts] == [12, 5, 13]
    assert set.union(*parts) == {*range(30)}


def test_test_size_limits_the_test_set(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", 30)
    data = load_idx_folder(tmp_path, Split(n=12, m=5, test_size=4))
    assert data.X_test.shape == (4, 13)


@pytest.mark.skipif("WARMFLOW_DATA" not in os.environ, reason="WARMFLOW_DATA names no IDX data")
def test_real_mnist_files() -> None:
    folder = Path(os.environ["WARMFLOW_DATA"]) / "mnist"
    data = load_idx_folder(folder, Split(n=2000, m=500))
    assert data.X.shape == (2000, 785)
    assert len(data.y_test) == 7500
    np.testing.assert_array_equal(np.bincount(data.y) > 100, True)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", 17)
    with pytest.raises(UserError, match=r"has 17 images, but n = 12 .* m = 5 .* need 18"):
        load_idx_folder(tmp_path, SMALL)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no IDX images found; expected train-images-idx3-ubyte"):
        load_idx_folder(tmp_path, SMALL)
    write_pair(tmp_path, "t10k", 30)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte is there, but its label file"):
        load_idx_folder(tmp_path, SMALL)


GOOD = idx_bytes(np.zeros((2, 3, 4), np.uint8))
DAMAGED = [
    ("x", b"", "not an IDX file"),
    ("x", b"PK\x03\x04 and more", "not an IDX file"),
    ("x", GOOD[:6], "header is cut short"),
    ("x", GOOD[:-1], r"promises 24 bytes of data, but 23 follow"),
    ("x", GOOD + b"!", r"promises 24 bytes of data, but 25 follow"),
    ("x.gz", gzip.compress(GOOD, mtime=0)[:-9], "not a whole gzip file"),
    ("x.gz", b"", "not an IDX file|not a whole gzip file"),
    ("x.gz", GOOD, "not a whole gzip file"),
]


@pytest.mark.parametrize(
    "name, content, message", DAMAGED, ids=[f"{k}-{d[2]}" for k, d in enumerate(DAMAGED)]
)
def test_damaged_idx_files_are_explained(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_idx_types_and_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(idx_bytes(np.array([[1.5, -2.0]], ">f4"), code=0x0D))
    np.testing.assert_array_equal(read_idx(path), [[1.5, -2.0]])


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", 30)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(29, np.uint8)))
    with pytest.raises(UserError, match=r"expected 30 labels .* got uint8 of shape \(29,\)"):
        load_idx_folder(tmp_path, SMALL)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`n` must be at least 1; got 0"):
        Split(n=0, m=5)
    with pytest.raises(ValueError, match=r"`test_size` must be at least 1; got 0"):
        Split(n=1, m=5, test_size=0)
