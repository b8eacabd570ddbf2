"""The folder of a comparison: what it was started with, and whether one may go on in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...dynamics.storage.atomic import write_json
from ...dynamics.storage.hashing import digest_of
from ...dynamics.storage.locks import exclusive
from ...dynamics.sweeps.stored.spec import Mismatch, differences
from .units import Job, described, problem_of

__all__ = ["MANIFEST", "open_folder", "read_manifest"]

MANIFEST = "comparison.json"
FORMAT = 1
OF_ENTRY = ("method", "knob", "geometry", "is_scaled")
"""First words of what an entry determines, in the description of its runs."""


def open_folder(job: Job, seeds: Sequence[int], *, resume: bool) -> None:
    """Start a comparison in a folder, or go on with the one there.

    A comparison can go on with more entries and more seeds; those that it has stay what they are.

    Raises
    ------
    Mismatch
        When the folder holds another comparison.
    ValueError
        When it holds something and ``resume`` is not set, or its manifest is damaged.
    """
    root = job.root
    root.mkdir(parents=True, exist_ok=True)
    if not resume and any(root.iterdir()):
        raise ValueError(f"`store` {root} is not empty; pass `resume=True` or choose another.")
    with exclusive(root):
        before, now = read_manifest(root), _describe(job, seeds)
        if before is not None:
            found = differences(before["plan"], now["plan"])
            for part, shown in (("entries", "entry"), ("data", "the data of seed")):
                common = [name for name in now[part] if name in before[part]]
                changed = [name for name in common if before[part][name] != now[part][name]]
                found += [f"{shown} {name} differs" for name in changed]
                now[part] = before[part] | now[part]
            if found:
                raise Mismatch(
                    f"`store` {root} was started with another comparison: {'; '.join(found)}."
                )
        if before != now:
            document = {"format": FORMAT, "kind": "comparison", "spec": now}
            write_json(root / MANIFEST, document | {"sha256": digest_of(document)})


def _describe(job: Job, seeds: Sequence[int]) -> dict[str, Any]:
    """Return what determines a comparison, in JSON types."""
    problem = problem_of(job, seeds[0])
    entries = {}
    for name, entry in job.entries.items():
        words = described(problem, entry, seeds[0])
        entries[name] = {key: text for key, text in words.items() if key.startswith(OF_ENTRY)}
    data = {str(seed): problem_of(job, seed).fingerprint() for seed in seeds}
    spec: dict[str, Any] = {"plan": asdict(job.plan), "entries": entries, "data": data}
    return dict(json.loads(json.dumps(spec)))


def read_manifest(root: Path) -> dict[str, Any] | None:
    """Return the specification that a folder was started with, None where nothing was.

    Raises
    ------
    ValueError
        When the manifest is damaged, or of another version.
    """
    path = root / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        sha256 = document.pop("sha256")
        if digest_of(document) != sha256:
            raise ValueError("its parts do not belong together")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"`store` {path} is damaged; choose another.") from error
    if document.get("format") != FORMAT or document.get("kind") != "comparison":
        raise ValueError(f"`store` {root} was written by another version; choose another.")
    return dict(document["spec"])
