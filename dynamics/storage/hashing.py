"""Names of contents: canonical JSON, and SHA-256 of files and folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["canonical_json", "digest_of", "file_hash", "tree_hash"]


def canonical_json(document: Any) -> str:
    """One text for one document: sorted keys, no spaces, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(document: Any) -> str:
    """SHA-256 of the canonical JSON of ``document``."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of the contents of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_hash(folder: Path) -> str:
    """SHA-256 of the names and contents of all files under ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder).as_posix()).encode() + b"\0")
        digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()
