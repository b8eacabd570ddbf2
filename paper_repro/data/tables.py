"""Arrays that users bring: `.npz` archives and pairs of CSV files, checked before use."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .dataset import Data, Kind

__all__ = ["load_csv_pair", "load_npz", "read_csv"]

_REQUIRED = ("X", "y", "X_val", "y_val")
_OPTIONAL = ("X_test", "y_test")
Arrays = dict[str, NDArray[Any]]
# What numpy and zipfile raise for damaged archives.
_DAMAGE = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError)


def load_npz(path: Path, kind: Kind | None = None) -> Data:
    """Load ``X, y, X_val, y_val`` [``, X_test, y_test``] [``, clean``] from an `.npz` archive.

    Nothing is ever unpickled: arrays of objects are refused. `kind` None means softmax where y
    holds integers.
    """
    try:
        with path.open("rb") as file:
            arrays, found = _read_archive(np.load(file, allow_pickle=False), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _DAMAGE as error:
        raise UserError(f"{path}: not a readable .npz archive; save it with np.savez") from error
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        raise UserError(
            f"{path}: lacks the array(s) {', '.join(missing)} (it holds {found}); save "
            "X, y, X_val, y_val with np.savez"
        )
    return _assemble(path, arrays, kind)


def load_csv_pair(
    train: Path, val: Path, test: Path | None = None, kind: Kind | None = None
) -> Data:
    """Load CSV files of training and validation samples, and of test samples if given.

    The target is the column named ``y``, else the last one.
    """
    arrays: Arrays = {}
    for path, suffix in ((train, ""), (val, "_val"), (test, "_test")):
        if path is not None:
            arrays["X" + suffix], arrays["y" + suffix] = read_csv(path)
    return _assemble(train, arrays, kind)


def read_csv(path: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Read one CSV file with or without a header line; return X and the target y.

    A target column of whole numbers comes back as integers.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error.reason})") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path}: the file is empty")
    names = [name.strip().strip('"') for name in lines[0].split(",")]
    has_header = not all(_is_number(name) for name in names)
    if len(lines) == has_header:
        raise UserError(f"{path}: needs at least one row of numbers below the header")
    try:
        table = np.loadtxt(lines[has_header:], delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        raise UserError(f"{path}: {error}; rows must hold the same number of numbers") from error
    if table.size == 0 or table.shape[1] < 2:
        raise UserError(f"{path}: needs at least one row, one feature column and the target")
    column = names.index("y") if has_header and "y" in names else table.shape[1] - 1
    y = table[:, column]
    if np.all(np.isfinite(y)) and np.all(y == np.round(y)):
        y = y.astype(np.int64)
    return np.delete(table, column, axis=1), y


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_archive(opened: Any, path: Path) -> tuple[Arrays, str]:
    """Return the arrays that we know, and the names of all that is there."""
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise UserError(f"{path}: holds a single array, not an .npz archive")
    with opened as archive:
        known = [name for name in (*_REQUIRED, *_OPTIONAL, "clean") if name in archive]
        arrays = {name: _member(archive, name, path) for name in known}
        return arrays, ", ".join(archive.files) or "nothing"


def _member(archive: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        array = archive[name]
    except ValueError as error:
        raise UserError(
            f"{path}: {name} is an array of objects, which is never unpickled; save it as "
            "numbers, for example with X.astype(float)"
        ) from error
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: {name} must hold real numbers; it holds {array.dtype}")
    return np.asarray(array)


def _assemble(path: Path, arrays: Arrays, kind: Kind | None) -> Data:
    if ("X_test" in arrays) != ("y_test" in arrays):
        raise UserError(f"{path}: X_test and y_test must be given together")
    roles = ["", "_val"] + (["_test"] if "X_test" in arrays else [])
    for role in roles:
        _check_pair(path, arrays, role)
    y = arrays["y"]
    kind = kind or ("softmax" if y.dtype.kind in "biu" else "least-squares")
    clean = arrays.get("clean")
    if clean is not None and clean.shape != y.shape:
        raise UserError(f"{path}: clean has shape {clean.shape}; y has shape {y.shape}")
    facts: dict[str, Any] = {"file": path.name, "constant_feature": False}
    num_classes = None
    if kind == "softmax":
        facts |= _encode(path, arrays, roles)
        num_classes = len(facts["classes"])
    features = {"X" + role: np.asarray(arrays["X" + role], np.float64) for role in roles}
    targets = {"y" + role: arrays["y" + role] for role in roles}
    if kind == "least-squares":
        targets = {name: np.asarray(value, np.float64) for name, value in targets.items()}
    return Data(
        name=path.stem, kind=kind, num_classes=num_classes, facts=facts,
        clean=None if clean is None else clean.astype(np.bool_), **features, **targets,
    )  # fmt: skip


def _check_pair(path: Path, arrays: Arrays, role: str) -> None:
    X, y = arrays["X" + role], arrays["y" + role]
    if X.ndim != 2 or y.ndim != 1 or len(X) != len(y) or 0 in X.shape:
        raise UserError(
            f"{path}: X{role} must be (samples, features) and y{role} (samples,), both filled; "
            f"got {X.shape} and {y.shape}"
        )
    if X.shape[1] != arrays["X"].shape[1]:
        raise UserError(
            f"{path}: X{role} has {X.shape[1]} features, but X has {arrays['X'].shape[1]}"
        )
    for name, array in (("X" + role, X), ("y" + role, y)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            place = ", ".join(str(int(index)) for index in bad[0])
            raise UserError(
                f"{path}: {name} holds {len(bad)} value(s) that are NaN or infinite, the first "
                f"at [{place}]; remove or fill them"
            )


def _encode(path: Path, arrays: Arrays, roles: list[str]) -> dict[str, Any]:
    """Map labels to 0 ... C-1 and append the constant feature, in place; return the facts."""
    labels = np.concatenate([arrays["y" + role] for role in roles])
    if np.any(labels != np.round(labels)):
        raise UserError(
            f"{path}: y holds numbers that are not whole, but softmax needs class labels; use "
            "--problem least-squares"
        )
    classes = np.unique(labels)
    if not 2 <= len(classes) <= max(2, len(arrays["y"]) // 2):
        raise UserError(
            f"{path}: y holds {len(classes)} different labels for {len(arrays['y'])} samples; "
            "for regression use --problem least-squares"
        )
    constant = any(np.all(column == column[0]) and column[0] != 0 for column in arrays["X"].T)
    for role in roles:
        arrays["y" + role] = np.searchsorted(classes, arrays["y" + role]).astype(np.int64)
        if not constant:
            X = arrays["X" + role]
            arrays["X" + role] = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    return {"classes": classes.tolist(), "constant_feature": not constant}
