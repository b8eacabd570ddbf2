"""The store between simulating and drawing: what was computed once is never computed again.

A stored part is found by an explicit key: schema version, item, version of the item, settings,
root seed and the fingerprint of the data. Source text is no part of the key; whoever changes what
an item computes raises its version. A part is a Zarr group and, written last, a JSON mark beside
it with the key and the SHA-256 of the group: without a mark, or with one that does not fit, the
part counts as missing and is computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from .atomic import atomic_directory, write_json

__all__ = ["SCHEMA", "Key", "Store", "canonical_json", "read_dataset", "write_dataset"]

SCHEMA = 1


def canonical_json(document: Any) -> str:
    """One text for one document: sorted keys, no spaces, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Key:
    """What the numbers of one part depend on.

    Parameters
    ----------
    item, version : str, int
        The item, and the version of what it computes.
    label : str
        Readable name of the part: begins its file name, is no part of the key.
    settings : mapping
        All settings of the part, in JSON types.
    seed : int
        Root seed.
    data : str
        `Data.fingerprint` of the data set.
    """

    item: str
    version: int
    label: str
    settings: Mapping[str, Any]
    seed: int
    data: str

    def document(self) -> dict[str, Any]:
        """The key as it is hashed and written into the mark."""
        document = {
            "schema": SCHEMA, "item": self.item, "version": self.version,
            "settings": dict(self.settings), "seed": self.seed, "data": self.data,
        }  # fmt: skip
        # As it comes back from a file: tuples are lists.
        return dict(json.loads(canonical_json(document)))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of `document`."""
        return hashlib.sha256(canonical_json(self.document()).encode()).hexdigest()


class Store:
    """Stored parts under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: Key) -> Path:
        """Where the Zarr group of `key` lies."""
        return self.root / key.item / f"{key.label}-{key.digest[:12]}.zarr"

    def mark(self, key: Key) -> dict[str, Any] | None:
        """The mark of a part that is stored and whole, else None."""
        path = self.path(key)
        try:
            mark = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if mark.get("key") != key.document() or mark.get("sha256") != tree_hash(path):
            return None
        return dict(mark)

    def save(self, key: Key, dataset: xr.Dataset, facts: Mapping[str, Any]) -> None:
        """Write `dataset`, then the mark with `facts` (wall seconds and the like)."""
        path = self.path(key)
        path.with_suffix(".json").unlink(missing_ok=True)
        write_dataset(path, dataset)
        mark = {"key": key.document(), "sha256": tree_hash(path), **facts}
        write_json(path.with_suffix(".json"), mark)

    def load(self, key: Key) -> xr.Dataset:
        """Read a stored part into memory."""
        return read_dataset(self.path(key))


def write_dataset(path: Path, dataset: xr.Dataset) -> None:
    """Write `dataset` as a Zarr v3 group that appears whole or not at all."""
    with atomic_directory(path) as temporary:
        # Consolidated metadata are no part of the Zarr v3 specification: reading warns of them.
        stored = _with_strings(dataset, "U", object)  # Zarr v3 specifies no strings of fixed length
        stored.to_zarr(temporary, mode="w", consolidated=False, zarr_format=3)


def read_dataset(path: Path) -> xr.Dataset:
    """Read a Zarr group into memory, its variables by name: folders list them in any order."""
    with xr.open_dataset(path, engine="zarr", consolidated=False, chunks=None) as dataset:
        loaded = _with_strings(dataset.load(), "TO", str)
    return loaded[sorted(loaded.data_vars, key=str)]


def _with_strings(dataset: xr.Dataset, kinds: str, dtype: type) -> xr.Dataset:
    """Return `dataset` with its strings, dtypes of these kinds, in another dtype."""
    found: dict[Any, Any] = {
        name: (variable.dims, variable.values.astype(object).astype(dtype), variable.attrs)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in kinds
    }
    coordinates = {name: value for name, value in found.items() if name in dataset.coords}
    data = {name: value for name, value in found.items() if name not in coordinates}
    return dataset.assign_coords(coordinates).assign(data)


def tree_hash(folder: Path) -> str:
    """SHA-256 of the names and contents of all files under `folder`."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder).as_posix()).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
