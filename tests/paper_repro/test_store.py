"""The store: explicit keys, whole files or none, damage found."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from warmflow.dynamics.storage import atomic
from warmflow.dynamics.storage.datasets import read_dataset, write_dataset
from warmflow.dynamics.storage.hashing import canonical_json
from warmflow.paper_repro.store import Key, Store

KEY = Key(item="toy", version=1, label="a", settings={"x": 1.5, "y": (1, 2)}, seed=0, data="abc")


def dataset(value: float = 1.0) -> xr.Dataset:
    return xr.Dataset(
        {
            "w": (("time", "sample"), value * np.arange(6.0).reshape(2, 3)),
            "status": ((), np.int8(2), {"flag_values": [0, 2], "flag_meanings": "ok bad"}),
            "clean": ("sample", [True, False, True]),
        },
        {"time": [0.0, 0.5]},
        {"provenance": "{}"},
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.mark(KEY) is None
    store.save(KEY, dataset(), {"wall_seconds": 2.5})
    xr.testing.assert_identical(store.load(KEY), dataset())
    mark = store.mark(KEY)
    assert mark is not None
    assert mark["wall_seconds"] == 2.5
    assert mark["key"] == KEY.document()


CHANGES = [
    {"item": "other"},
    {"version": 2},
    {"settings": {"x": 1.5, "y": [2, 1]}},
    {"seed": 1},
    {"data": "abd"},
]


@pytest.mark.parametrize("change", CHANGES)
def test_everything_that_matters_is_in_the_key(tmp_path: Path, change: dict[str, object]) -> None:
    store = Store(tmp_path)
    store.save(KEY, dataset(), {})
    assert store.mark(replace(KEY, **change)) is None
    assert replace(KEY, **change).digest != KEY.digest


def test_the_label_and_the_order_of_settings_do_not_matter() -> None:
    assert replace(KEY, label="b").digest == KEY.digest
    assert replace(KEY, settings={"y": [1, 2], "x": 1.5}).digest == KEY.digest


def test_canonical_json_refuses_nan() -> None:
    assert canonical_json({"b": 1, "a": (2, 3)}) == '{"a":[2,3],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


@pytest.mark.parametrize("damage", ["chunk deleted", "chunk changed", "mark cut", "mark deleted"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    store.save(KEY, dataset(), {})
    chunk = next(path for path in (store.path(KEY) / "w" / "c").rglob("*") if path.is_file())
    mark = store.path(KEY).with_suffix(".json")
    if damage == "chunk deleted":
        chunk.unlink()
    elif damage == "chunk changed":
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    elif damage == "mark cut":
        mark.write_text(mark.read_text()[:20])
    else:
        mark.unlink()
    assert store.mark(KEY) is None


def test_saving_again_replaces(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(KEY, dataset(1.0), {})
    store.save(KEY, dataset(2.0), {})
    xr.testing.assert_identical(store.load(KEY), dataset(2.0))
    assert store.mark(KEY) is not None


def test_same_data_same_bytes(tmp_path: Path) -> None:
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    marks = []
    for store in (one, two):
        store.save(KEY, dataset(), {"wall_seconds": id(store)})
        mark = store.mark(KEY)
        assert mark is not None
        marks.append(mark["outputs"])
    assert marks[0] == marks[1]


def test_an_interrupted_save_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.save(KEY, dataset(1.0), {})
    calls = 0

    def stop(*names: object) -> None:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    # Not os.replace itself: Zarr writes with it too, in other threads.
    monkeypatch.setattr(atomic, "os", SimpleNamespace(replace=stop, fsync=os.fsync))
    with pytest.raises(KeyboardInterrupt):
        store.save(KEY, dataset(2.0), {})
    assert calls == 1
    monkeypatch.undo()
    assert store.mark(KEY) is None
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def write_half() -> None:
        with atomic.atomic_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        write_half()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_reading_needs_no_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(KEY, dataset(), {})
    xr.testing.assert_identical(read_dataset(store.path(KEY)), dataset())


def test_strings_come_back_as_they_went_in(tmp_path: Path) -> None:
    """Without a warning: Zarr v3 knows no strings of fixed length."""
    dataset = xr.Dataset(
        {"x": ("arm", [1.0, 2.0]), "note": ("arm", ["é", "long"], {"units": "1"})},
        {"arm": ["a", "bcd"], "k": 3},
    )
    write_dataset(tmp_path / "s.zarr", dataset)
    found = read_dataset(tmp_path / "s.zarr")
    xr.testing.assert_identical(found, dataset)
    assert found["arm"].dtype == dataset["arm"].dtype
    assert float(found["x"].sel(arm="bcd")) == 2.0


def test_variables_come_back_by_name_whatever_the_folder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are written in this order: equal runs must give equal bytes."""
    names = ["b", "d", "a", "c"]
    write_dataset(tmp_path / "s.zarr", xr.Dataset({name: ("x", [1.0]) for name in names}))
    for order in (names, names[::-1]):
        shuffled = xr.Dataset({name: ("x", [1.0]) for name in order})
        monkeypatch.setattr(xr, "open_dataset", lambda *_, ds=shuffled, **__: ds)
        assert [*read_dataset(tmp_path / "s.zarr").data_vars] == sorted(names)
