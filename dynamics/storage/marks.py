"""What is done, running and failed: one small file for each unit of work.

A unit writes its outputs first and its mark last, with the SHA-256 of each output: what has no
mark, or one that does not fit, counts as missing. Marks are all that another process needs in order
to see how far the work is.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .atomic import write_json
from .hashing import file_hash, tree_hash

__all__ = ["Marks"]

_SUFFIXES = {"done": ".json", "running": ".running", "failed": ".failed"}


class Marks:
    """The marks of units, by name, under one folder.

    Parameters
    ----------
    root : Path
        Where marks lie. A name may hold slashes.
    base : Path, optional
        Outputs are named relative to this folder; ``root`` when left out.
    """

    def __init__(self, root: Path, base: Path | None = None) -> None:
        self.root = root
        self.base = root if base is None else base

    # ------------------------------------------------------------------ done
    def done(self, name: str) -> dict[str, Any] | None:
        """Return the mark of a unit that is said to be done, else None."""
        return _read(self._path(name, "done"))

    def whole(self, name: str) -> dict[str, Any] | None:
        """Return the mark of a unit whose outputs are all as they were written, else None."""
        mark = self.done(name)
        outputs = (mark or {}).get("outputs")
        if not isinstance(outputs, dict) or not outputs or None in outputs.values():
            return None
        fits = all(_hash(self.base / place) == value for place, value in outputs.items())
        return mark if fits else None

    def finish(self, name: str, outputs: Iterable[Path], facts: Mapping[str, Any]) -> None:
        """Mark a unit as done, with the hashes of its files and folders.

        Raises
        ------
        FileNotFoundError
            For an output that is not there.
        """
        hashes = {path.relative_to(self.base).as_posix(): _hash(path) for path in outputs}
        for place, value in hashes.items():
            if value is None:
                raise FileNotFoundError(f"{self.base / place} was to be marked as done; it is gone")
        write_json(self._path(name, "done"), {**facts, "outputs": hashes})
        self.clear(name, "failed")

    def forget(self, name: str) -> None:
        """Take the mark of a unit away: before its outputs are written anew."""
        self.clear(name, "done")

    # ------------------------------------------------------------------ running and failed
    def start(self, name: str) -> None:
        """Say that this process works on a unit."""
        facts = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}
        write_json(self._path(name, "running"), facts, is_durable=False)

    def running(self, name: str) -> dict[str, Any] | None:
        """Return who works on a unit; ``alive`` is None where that cannot be known."""
        facts = _read(self._path(name, "running"))
        return None if facts is None else {**facts, "alive": _is_alive(facts)}

    def fail(self, name: str, label: str, message: str) -> None:
        """Keep why a unit failed, until it is done."""
        write_json(self._path(name, "failed"), {"label": label, "message": message})

    def failed(self, name: str) -> dict[str, Any] | None:
        """Return why a unit failed, None where it did not."""
        return _read(self._path(name, "failed"))

    def clear(self, name: str, state: str) -> None:
        """Take one of the files of a unit away."""
        self._path(name, state).unlink(missing_ok=True)

    def names(self, state: str) -> Iterator[str]:
        """Yield the names of the units in a state, in order."""
        suffix, found = _SUFFIXES[state], []
        for folder, inner, files in os.walk(self.root):
            inner[:] = [name for name in inner if not name.endswith(".zarr")]
            found += [Path(folder, n) for n in files if n.endswith(suffix) and n[0] != "."]
        for path in sorted(found):
            yield path.relative_to(self.root).as_posix().removesuffix(suffix)

    def _path(self, name: str, state: str) -> Path:
        return self.root / f"{name}{_SUFFIXES[state]}"


def _read(path: Path) -> dict[str, Any] | None:
    """Return a JSON object; None where there is none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _hash(path: Path) -> str | None:
    """Return the SHA-256 of a file or folder; None where it cannot be read."""
    try:
        return tree_hash(path) if path.is_dir() else file_hash(path)
    except OSError:
        return None


def _is_alive(facts: Mapping[str, Any]) -> bool | None:
    """Return whether the process of a running mark lives; None on another machine."""
    if facts.get("host") != socket.gethostname():
        return None
    try:
        os.kill(int(facts["pid"]), 0)
        state = Path(f"/proc/{facts['pid']}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"  # one that ended, and whose parent does not know it yet
    except FileNotFoundError:  # no such folder on this system
        return True
    except (ProcessLookupError, KeyError, ValueError, OverflowError):
        return False
    except OSError:  # it belongs to another user
        return True
