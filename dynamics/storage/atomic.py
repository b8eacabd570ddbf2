"""Files that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["atomic_directory", "atomic_file", "write_json", "write_text"]


@contextmanager
def atomic_file(path: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path` and move it there when the block ends without error.

    The temporary name keeps the suffix, because writers choose the format by it. What is hashed
    afterwards need not be durable: a power failure that takes it away is found out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        if is_durable:
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Like `atomic_file` for a directory; one that exists under `path` is replaced.

    Between two renames there is neither; an error there brings the old one back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = _beside(path), _beside(path)
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    """Return a hidden name beside `path` that no other process, on any machine, uses."""
    return path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name}")


def write_text(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Write `text` (UTF-8) atomically."""
    with atomic_file(path, is_durable=is_durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any, *, is_durable: bool = True) -> None:
    """Write `document` as indented JSON, atomically, keys in their given order."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text, is_durable=is_durable)
