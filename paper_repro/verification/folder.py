"""The folder of a verification: every certificate is stored as soon as it is there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...dynamics.storage.atomic import write_json
from ..errors import UserError
from ..folder import new_folder

__all__ = ["VerificationFolder", "folder_name"]

_MANIFEST = "verify.json"
_FORMAT = 1
_ENTRY = {"name", "statement", "assumptions", "passed", "details", "provenance"}


def folder_name(statement: str) -> str:
    """Return the name of a statement as that of a folder."""
    return statement.replace("'", "_prime")


@dataclass(frozen=True)
class VerificationFolder:
    """A folder that belongs to `warmflow verify`.

    ``verify.json`` holds the certificates with the provenance of each; what was measured lies in
    ``NAME/data.json``, beside the figures of the statement.

    Attributes
    ----------
    certificates : dict
        By name, in JSON types; those of earlier runs of the same variant stay until replaced.
    """

    path: Path
    variant: str
    certificates: dict[str, dict[str, Any]] = field(default_factory=dict)

    @staticmethod
    def open(path: Path, variant: str) -> VerificationFolder:
        """Claim `path`: new, empty, or with an earlier verification of the same variant."""
        found = _read(path)
        if found is None:
            new_folder(path, "choose another --out, or an earlier verification")
            return VerificationFolder(path, variant)
        if found["variant"] != variant:
            raise UserError(
                f"--out {path}: holds a --{found['variant']} verification; choose another --out "
                f"for --{variant}"
            )
        kept = {entry["name"]: entry for entry in found["certificates"]}
        return VerificationFolder(path, variant, kept)

    def place(self, statement: str) -> Path:
        """Return the folder of a statement's data and figures."""
        return self.path / folder_name(statement)

    def store(self, certificate: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Store one certificate, as `Certificate.to_dict` makes it, in place of an earlier one."""
        details = dict(certificate["details"])
        write_json(self.place(certificate["name"]) / "data.json", details.pop("data"))
        self.certificates[certificate["name"]] = {
            **certificate, "details": details, "provenance": provenance,
        }  # fmt: skip
        document = {
            "format": _FORMAT,
            "made_by": "warmflow verify",
            "variant": self.variant,
            "passed": all(entry["passed"] for entry in self.certificates.values()),
            "certificates": list(self.certificates.values()),
        }
        write_json(self.path / _MANIFEST, document)


def _read(path: Path) -> dict[str, Any] | None:
    """Return what an earlier verification left in `path`, or None where there was none."""
    try:
        document = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        found = {key: document[key] for key in ("variant", "certificates")}
        for entry in found["certificates"]:
            if not entry.keys() >= _ENTRY or not (path / folder_name(entry["name"])).is_dir():
                raise ValueError("an entry lacks something")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"--out {path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path / _MANIFEST}: damaged; choose another --out") from error
    return found
