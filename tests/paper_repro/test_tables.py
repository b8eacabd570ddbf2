"""`.npz` archives and CSV pairs: what is read, and what is refused with one line."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from warmflow.paper_repro.data import load_csv_pair, load_npz
from warmflow.paper_repro.errors import UserError

RNG = np.random.default_rng(1)


def arrays(**changes: Any) -> dict[str, Any]:
    base = {
        "X": RNG.normal(size=(20, 3)), "y": RNG.normal(size=20),
        "X_val": RNG.normal(size=(8, 3)), "y_val": RNG.normal(size=8),
    }  # fmt: skip
    return {name: value for name, value in (base | changes).items() if value is not None}


def labelled(**changes: Any) -> dict[str, Any]:
    return arrays(**{"y": np.arange(20) % 4 + 3, "y_val": np.arange(8) % 4 + 3, **changes})


def save(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, **content)
    return path


def test_regression_arrays_come_back_unchanged(tmp_path: Path) -> None:
    content = arrays(
        X_test=RNG.normal(size=(5, 3)), y_test=RNG.normal(size=5), clean=np.arange(20) < 4
    )
    data = load_npz(save(tmp_path, content))
    assert data.kind == "least-squares"
    for name, value in content.items():
        np.testing.assert_array_equal(getattr(data, name), value)


def test_integer_targets_mean_softmax_with_a_constant_feature(tmp_path: Path) -> None:
    content = labelled()
    data = load_npz(save(tmp_path, content))
    assert (data.kind, data.num_classes, data.facts["classes"]) == ("softmax", 4, [3, 4, 5, 6])
    np.testing.assert_array_equal(data.y + 3, content["y"])
    np.testing.assert_array_equal(data.y_val + 3, content["y_val"])
    np.testing.assert_array_equal(data.X, np.c_[content["X"], np.ones(20)])
    np.testing.assert_array_equal(data.X_val[:, -1], 1.0)


def test_a_constant_feature_is_not_appended_twice(tmp_path: Path) -> None:
    content = labelled()
    content["X"][:, 1] = 2.0
    data = load_npz(save(tmp_path, content))
    assert data.X.shape == (20, 3)
    assert data.facts["constant_feature"] is False


def test_kind_overrides_integer_targets(tmp_path: Path) -> None:
    data = load_npz(save(tmp_path, labelled()), "least-squares")
    assert data.kind == "least-squares"
    assert data.X.shape == (20, 3)
    assert data.y.dtype == np.float64


REFUSED = [
    (arrays(y_val=None), r"lacks the array\(s\) y_val \(it holds X, y, X_val\)"),
    (arrays(X=np.array([[1, "a"]], dtype=object)), "X is an array of objects"),
    (arrays(X=np.full((20, 3), "a")), "X must hold real numbers; it holds <U1"),
    (arrays(X=np.ones((20, 3), complex)), "X must hold real numbers; it holds complex128"),
    (arrays(X=np.full((20, 3), np.nan)), r"X holds 60 value\(s\) .* the first at \[0, 0\]"),
    (arrays(y_val=np.r_[np.zeros(7), np.inf]), r"y_val holds 1 value\(s\) .* at \[7\]"),
    (arrays(y=np.zeros(19)), r"X must be .* got \(20, 3\) and \(19,\)"),
    (arrays(X=np.zeros(20)), r"X must be \(samples, features\)"),
    (arrays(X_val=np.zeros((8, 2))), "X_val has 2 features, but X has 3"),
    (arrays(X_val=np.zeros((0, 3)), y_val=np.zeros(0)), "both filled"),
    (arrays(X_test=np.zeros((8, 3))), "X_test and y_test must be given together"),
    (arrays(clean=np.ones(3, bool)), r"clean has shape \(3,\); y has shape \(20,\)"),
    (labelled(y=np.arange(20)), "20 different labels for 20 samples.*--problem least-squares"),
    (labelled(y=np.zeros(20, int), y_val=np.zeros(8, int)), "1 different labels"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_unfit_archives_are_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    path = save(tmp_path, content)
    with pytest.raises(UserError, match=message) as caught:
        load_npz(path)
    assert str(caught.value).startswith(str(path))


def test_fractional_labels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, arrays())
    with pytest.raises(UserError, match="not whole, but softmax needs class labels"):
        load_npz(path, "softmax")


def test_unreadable_archives_are_refused(tmp_path: Path) -> None:
    good = save(tmp_path, arrays()).read_bytes()
    for content in (b"", b"hello", good[: len(good) // 2], good[:40] + b"\xff" * 40 + good[80:]):
        path = tmp_path / "bad.npz"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.npz"):
            load_npz(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_npz(tmp_path / "missing.npz")


def test_an_empty_archive_and_a_single_array_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.npz"
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(UserError, match=r"lacks .* \(it holds nothing\)"):
        load_npz(path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(UserError, match="holds a single array"):
        load_npz(tmp_path / "one.npy")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_takes_the_column_named_y_else_the_last(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "a,y,b\n1,0.5,2\n3,1.5,4\n")
    val = write(tmp_path / "val.csv", "5,6,7.5\n")
    data = load_csv_pair(train, val)
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(data.y, [0.5, 1.5])
    np.testing.assert_array_equal(data.X_val, [[5, 6]])
    np.testing.assert_array_equal(data.y_val, [7.5])


def test_csv_labels_mean_softmax(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "x,y\n" + "".join(f"0.{k},{k % 2}\n" for k in range(8)))
    val = write(tmp_path / "val.csv", "x,y\n0.5,1\n0.1,0\n")
    data = load_csv_pair(train, val)
    assert (data.kind, data.num_classes, data.X.shape) == ("softmax", 2, (8, 2))


CSV = [
    ("", "the file is empty"),
    ("a,b\n", "at least one row of numbers below the header"),
    ("1\n2\n", "at least one row, one feature column and the target"),
    ("1,2\n3\n", "rows must hold the same number of numbers"),
    ("1,2\n3,x\n", "could not convert string 'x'.*row 1"),
    ("1,2\n3,nan\n", r"y holds 1 value\(s\) that are NaN"),
]


@pytest.mark.parametrize(("text", "message"), CSV)
def test_unfit_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "train.csv", text)
    with pytest.raises(UserError, match=message) as caught:
        load_csv_pair(path, write(tmp_path / "val.csv", "1,2.5\n"))
    assert str(caught.value).startswith(str(path))


def test_csv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="not a text file"):
        load_csv_pair(path, path)
