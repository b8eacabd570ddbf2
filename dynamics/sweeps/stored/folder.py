"""The folder of a stored sweep: its manifest, its Zarr group, and what of it is whole.

``sweep.json`` is written last at creation: without it nothing was started. It holds the
specification, the layout, the provenance, and the hashes of the coordinates and of the metadata of
the arrays, which are made anew where they do not fit.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...jobs.published import UNITS
from ...storage.atomic import atomic_directory, write_json
from ...storage.hashing import digest_of, file_hash
from ...storage.locks import exclusive
from ...storage.marks import Marks
from .layout import Layout, Variable

if TYPE_CHECKING:
    import xarray

__all__ = ["GROUP", "MANIFEST", "Blueprint", "SweepFolder", "extend", "write_manifest"]

MANIFEST = "sweep.json"
GROUP = "sweep.zarr"
_NEXT = ".extended"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Blueprint:
    """What a folder is made of before there is a single cell.

    Attributes
    ----------
    spec, provenance : dict
    layout : Layout
    coordinates : xarray.Dataset
        The Dataset without its cells.
    """

    spec: dict[str, Any]
    layout: Layout
    coordinates: xarray.Dataset
    provenance: dict[str, Any]

    @property
    def labelled(self) -> xarray.Dataset:
        """The coordinates with the provenance."""
        return self.coordinates.assign_attrs(provenance=json.dumps(self.provenance))


@dataclass(frozen=True, eq=False)
class SweepFolder:
    """A folder with a manifest.

    Attributes
    ----------
    root : Path
    manifest : dict
        ``spec``, ``layout``, ``provenance``, ``skeleton``.
    """

    root: Path
    manifest: dict[str, Any]

    @staticmethod
    def started(root: Path) -> SweepFolder | None:
        """Return the folder as an earlier run left it, None where nothing was started.

        Raises
        ------
        ValueError
            When the manifest is damaged.
        """
        if (root / _NEXT / MANIFEST).exists():
            with exclusive(root):
                _finish_extension(root)
        return SweepFolder.peek(root)

    @staticmethod
    def peek(root: Path) -> SweepFolder | None:
        """Like :meth:`started`, without changing anything: others may be at work."""
        try:
            manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
            if _check_sum(manifest) != manifest["sha256"]:
                raise ValueError("its parts do not belong together")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"`store` {root / MANIFEST} is damaged; choose another.") from error
        if manifest.get("format") != _FORMAT or manifest.get("kind") not in ("grid", "refined"):
            raise ValueError(f"`store` {root} was written by another version; choose another.")
        return SweepFolder(root, manifest)

    @staticmethod
    def create(root: Path, blueprint: Blueprint) -> SweepFolder:
        """Start a sweep, or return the one that another process started meanwhile."""
        with exclusive(root):
            found = SweepFolder.started(root)
            if found is None:
                _build(root, blueprint)
                found = SweepFolder.started(root)
        assert found is not None, "it was just written"
        return found

    # ------------------------------------------------------------------ parts
    @property
    def generation(self) -> str:
        """SHA-256 of the specification and the layout: an extension is another one."""
        return digest_of([self.spec, self.manifest.get("layout")])

    @property
    def group(self) -> Path:
        """The Zarr group."""
        return self.root / GROUP

    @property
    def marks(self) -> Marks:
        """What is done, running and failed."""
        return Marks(self.root / UNITS, self.root)

    @property
    def spec(self) -> dict[str, Any]:
        """What the sweep was started with."""
        spec: dict[str, Any] = self.manifest["spec"]
        return spec

    @property
    def layout(self) -> Layout:
        """The arrays and their units."""
        stored = self.manifest["layout"]
        variables = {
            name: Variable(v["dtype"], tuple(v["dims"]), tuple(v["shape"]))
            for name, v in stored["variables"].items()
        }
        return Layout(stored["axes"], (stored["block"][0], stored["block"][1]), variables)

    def mend(self, coordinates: xarray.Dataset) -> int:
        """Make anew what is damaged of coordinates and metadata; return how many files were."""
        wanted = self.manifest["skeleton"]
        broken = [place for place, value in wanted.items() if _hash(self.group / place) != value]
        if not broken:
            return 0
        temporary = self.root / f".{uuid.uuid4().hex[:12]}-{GROUP}"
        record = json.dumps(self.manifest["provenance"])
        try:
            self.layout.create(temporary, coordinates.assign_attrs(provenance=record))
            for place in broken:
                if _hash(temporary / place) != wanted[place]:
                    raise ValueError(
                        f"`store` {self.group / place} is damaged and cannot be made anew with "
                        "these versions of the libraries; choose another one."
                    )
                (self.group / place).parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary / place, self.group / place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return len(broken)

    def done_units(self) -> set[int]:
        """Return the units that are said to be done, by this run or by others."""
        marks = self.marks
        found = ((name, marks.done(name) or {}) for name in marks.names("done"))
        return {
            int(name)
            for name, mark in found
            if name.isdecimal()
            and mark.get("generation") == self.generation
            and not mark.get("is_partial")
        }

    def whole_units(self) -> set[int]:
        """Return the units that are whole; marks that do not fit are taken away."""
        marks, whole = self.marks, set()
        for name in list(marks.names("done")):
            mark = marks.whole(name) if name.isdecimal() else None
            if mark is None or mark.get("generation") != self.generation:
                marks.forget(name)
            elif not mark.get("is_partial"):
                whole.add(int(name))
        return whole


def extend(root: Path, blueprint: Blueprint, fill: Callable[[SweepFolder], None]) -> SweepFolder:
    """Put an extended sweep into the place of the old one, once ``fill`` brought over what is done.

    A kill at any instant leaves the old sweep, or one that the next start finishes.

    Raises
    ------
    ValueError
        While another process of this machine works on the old one.
    """
    marks = Marks(root / UNITS, root)
    for name in marks.names("running"):
        facts = marks.running(name) or {}
        if facts.get("alive") and facts["pid"] != os.getpid():
            raise ValueError(
                f"`store` {root}: process {facts['pid']} works on it; extend it afterwards."
            )
    aside = root / f".{uuid.uuid4().hex[:12]}-extended"
    try:
        aside.mkdir()
        _build(aside, blueprint)
        built = SweepFolder.peek(aside)
        assert built is not None, "it was just written"
        (aside / UNITS).mkdir(exist_ok=True)
        fill(built)
        os.replace(aside, root / _NEXT)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    found = SweepFolder.started(root)
    assert found is not None, "it was just put there"
    return found


def _build(root: Path, blueprint: Blueprint) -> None:
    """Write the group without a single cell, then the manifest.

    Raises
    ------
    ValueError
        When the folder holds a group or units that belong to no start of a sweep.
    """
    if not _is_start(root):
        raise ValueError(
            f"`store` {root} holds {GROUP} or {UNITS} without {MANIFEST}: what they are cannot be "
            "known; choose another folder, or remove them."
        )
    for leftover in [*root.glob(f".*-{GROUP}"), *root.glob(".*-extended"), root / GROUP]:
        shutil.rmtree(leftover, ignore_errors=True)  # of a start that was killed
    with atomic_directory(root / GROUP) as temporary:
        blueprint.layout.create(temporary, blueprint.labelled)
    manifest = {
        "format": _FORMAT,
        "made_by": "warmflow sweep",
        "kind": "grid",
        "spec": blueprint.spec,
        "layout": asdict(blueprint.layout),
        "provenance": blueprint.provenance,
        "skeleton": _hashes(root / GROUP),
    }
    write_manifest(root, manifest)


def write_manifest(root: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest with its check sum."""
    write_json(root / MANIFEST, manifest | {"sha256": _check_sum(manifest)})


def _check_sum(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its check sum, as it comes back from a file."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return digest_of(json.loads(json.dumps(rest)))


def _is_start(root: Path) -> bool:
    """Whether all that a folder without manifest holds of a sweep is a start that was killed."""
    if not (root / GROUP).exists():
        return not (root / UNITS).exists()
    try:
        own = json.loads((root / GROUP / "zarr.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "provenance" in own.get("attributes", {}) and not (root / UNITS).exists()


def _finish_extension(root: Path) -> None:
    """Finish the exchange of a sweep for its extension; it may be interrupted anywhere."""
    built = root / _NEXT
    if not (built / MANIFEST).exists():
        return
    for name in (GROUP, UNITS):
        if (built / name).exists():
            shutil.rmtree(root / name, ignore_errors=True)
            os.replace(built / name, root / name)
    os.replace(built / MANIFEST, root / MANIFEST)
    shutil.rmtree(built, ignore_errors=True)


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files under a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def _hash(path: Path) -> str | None:
    try:
        return file_hash(path)
    except OSError:
        return None
