"""Output folders: what they must be before work starts, and what a reproduction leaves there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dynamics.storage.atomic import write_json
from .errors import UserError
from .store import Store

__all__ = ["ReproductionFolder", "new_folder"]

_MANIFEST = "reproduction.json"
_FORMAT = 1


def new_folder(path: Path, cure: str = "choose another --out") -> Path:
    """Make `path` for a new result; refuse a folder that holds something."""
    _make(path)
    if any(path.iterdir()):
        raise UserError(f"--out {path}: the folder is not empty; {cure}")
    return path


@dataclass(frozen=True, kw_only=True)
class ReproductionFolder:
    """A folder that belongs to `warmflow reproduce`.

    It holds ``reproduction.json`` (what the folder is, and for which variant and items it was
    started), ``store/`` (results), one folder of figures for each item, and the report.
    """

    path: Path
    variant: str
    items: tuple[str, ...]

    @staticmethod
    def started(path: Path) -> ReproductionFolder | None:
        """The folder as an earlier run left it; None where nothing was started."""
        try:
            document = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"--out {path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise UserError(f"{path / _MANIFEST}: damaged; choose another --out") from error
        return ReproductionFolder(
            path=path, variant=document["variant"], items=tuple(document["items"])
        )

    @staticmethod
    def open(path: Path, variant: str, items: tuple[str, ...]) -> ReproductionFolder:
        """Claim `path` for a run of `items`; what it holds of an earlier run stays."""
        before = ReproductionFolder.started(path)
        if before is None:
            new_folder(path, "choose another --out, or an earlier reproduction to go on with")
        elif before.variant != variant:
            raise UserError(
                f"--out {path}: holds a --{before.variant} reproduction; choose another --out "
                f"for --{variant}"
            )
        else:
            _make(path)
        folder = ReproductionFolder(path=path, variant=variant, items=items)
        write_json(path / _MANIFEST, folder.document())
        return folder

    def document(self) -> dict[str, Any]:
        """Contents of the manifest."""
        return {
            "format": _FORMAT,
            "made_by": "warmflow reproduce",
            "variant": self.variant,
            "items": list(self.items),
        }

    @property
    def store(self) -> Store:
        """The store of simulated parts."""
        return Store(self.path / "store")

    def numbers(self, item: str) -> Path:
        """The file with the numbers of an item."""
        return self.path / item / "numbers.json"


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UserError(f"--out {path}: is a file; choose a folder") from error
    except OSError as error:
        raise UserError(f"--out {path}: cannot be made ({error.strerror})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"--out {path}: is read-only; choose another --out")
