"""The store between simulating and drawing: what was computed once is never computed again.

A stored part is found by an explicit key: schema version, item, version of the item, settings,
root seed and the fingerprint of the data. Source text is no part of the key; whoever changes what
an item computes raises its version. A part is a Zarr group and, written last, a JSON mark beside
it with the key and the SHA-256 of the group: without a mark, or with one that does not fit, the
part counts as missing and is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from ..dynamics.storage.datasets import read_dataset, write_dataset
from ..dynamics.storage.hashing import canonical_json, digest_of
from ..dynamics.storage.marks import Marks

__all__ = ["SCHEMA", "Key", "Store"]

SCHEMA = 1


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
        return digest_of(self.document())


class Store:
    """Stored parts under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def marks(self) -> Marks:
        """What is done, running and failed."""
        return Marks(self.root)

    def name(self, key: Key) -> str:
        """The name of a part among the marks."""
        return f"{key.item}/{key.label}-{key.digest[:12]}"

    def path(self, key: Key) -> Path:
        """Where the Zarr group of `key` lies."""
        return self.root / f"{self.name(key)}.zarr"

    def mark(self, key: Key) -> dict[str, Any] | None:
        """The mark of a part that is stored and whole, else None."""
        mark = self.marks.whole(self.name(key))
        return mark if mark is not None and mark.get("key") == key.document() else None

    def forget(self, key: Key) -> None:
        """Take the mark of a part away."""
        self.marks.forget(self.name(key))

    def write(self, key: Key, dataset: xr.Dataset) -> tuple[list[Path], dict[str, Any]]:
        """Write `dataset` without its mark; return what the mark is made of."""
        self.forget(key)
        write_dataset(self.path(key), dataset)
        return [self.path(key)], {"key": key.document()}

    def save(self, key: Key, dataset: xr.Dataset, facts: Mapping[str, Any]) -> None:
        """Write `dataset`, then the mark with `facts` (wall seconds and the like)."""
        outputs, own = self.write(key, dataset)
        self.marks.finish(self.name(key), outputs, own | dict(facts))

    def load(self, key: Key) -> xr.Dataset:
        """Read a stored part into memory."""
        return read_dataset(self.path(key))
