"""VERIFY.md: every statement with its assumptions, observed against bound, and figures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...dynamics.storage.atomic import write_text
from ..markdown import markdown_table
from ..progress import duration
from .folder import VerificationFolder, folder_name

__all__ = ["figure_of", "write_page"]

_HEAD = """\
# The theory, verified

{summary}

*holds*: measured numbers keep every bound. *proved*: by computer algebra (S) or by interval \
arithmetic (R); *not proved* disproves nothing. The margin is the distance to the bound in units \
of its size. Statements T1-T12 are those of the theory page of the documentation."""


def write_page(folder: VerificationFolder, order: Iterable[str]) -> Path:
    """Write the page over all certificates in `folder`, in the given order; return its path."""
    entries = [folder.certificates[name] for name in order if name in folder.certificates]
    failures = [entry["name"] for entry in entries if not entry["passed"]]
    summary = f"{len(entries) - len(failures)} of {len(entries)} certificates pass"
    summary += f"; these do not: {', '.join(failures)}." if failures else "."
    rows = [
        [f"[{entry['name']}](#{_anchor(entry)})", entry["details"]["title"], *figure_of(entry),
         entry["details"]["verdict"], duration(entry["details"]["seconds"] or 0.0)]
        for entry in entries
    ]  # fmt: skip
    header = ["", "statement", "observed", "bound", "margin", "verdict", "time"]
    blocks = [
        _HEAD.format(summary=summary),
        markdown_table(header, rows),
        *(_section(entry, folder.path) for entry in entries),
        _origin(entries),
    ]
    page = folder.path / "VERIFY.md"
    write_text(page, "\n\n".join(blocks) + "\n")
    return page


def figure_of(entry: dict[str, Any]) -> tuple[str, str, str]:
    """Return observed number, bound and margin as text; empty where nothing was computed."""
    shown = (entry["observed"], entry["bound"], entry["margin"])
    observed, bound, margin = ("" if value is None else f"{value:.3g}" for value in shown)
    return observed, bound, margin


def _heading(entry: dict[str, Any]) -> str:
    return f"{entry['name']} {entry['details']['title']}"


def _anchor(entry: dict[str, Any]) -> str:
    """Return the anchor that renderers of Markdown give to the heading."""
    kept = "".join(c for c in _heading(entry).lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _section(entry: dict[str, Any], root: Path) -> str:
    details = entry["details"]
    blocks = [f"## {_heading(entry)}", entry["statement"]]
    if entry["assumptions"]:
        blocks.append(f"Assumes: {'; '.join(entry['assumptions'])}.")
    blocks.append(f"Verdict: **{details['verdict']}**.")
    if details["checks"]:
        blocks.append(_checks(details["checks"]))
    if "error" in details:
        blocks.append(f"```\n{details['error'].strip()}\n```")
    place = root / folder_name(entry["name"])
    blocks += [*_formulas(place), *_figures(place, root)]
    return "\n\n".join(blocks)


def _checks(checks: list[dict[str, Any]]) -> str:
    rows = [
        [check["what"], _number(check["observed"]),
         f"{check['relation']} {_number(check['bound'])}", check["why"],
         "yes" if check["passed"] else "**NO**"]
        for check in checks
    ]  # fmt: skip
    return markdown_table(["measured", "observed", "bound", "where the bound is from", ""], rows)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _formulas(place: Path) -> list[str]:
    """Return the formulas that a symbolic proof left in its data."""
    try:
        data = json.loads((place / "data.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the user may have removed it: the certificate stands
        return []
    return [f"{caption}\n\n$$\n{latex}\n$$" for caption, latex in data.get("latex", [])]


def _figures(place: Path, root: Path) -> list[str]:
    blocks = []
    for path in sorted(place.glob("*.json")):
        if path.name == "data.json":
            continue
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        image = f"{place.relative_to(root)}/{sidecar['figure']}.png"
        blocks.append(f"![{sidecar['figure']}]({image})\n\n{sidecar['caption']}")
    return blocks


def _origin(entries: list[dict[str, Any]]) -> str:
    lines: dict[str, list[str]] = {}
    for entry in entries:
        origin = entry["provenance"]
        dirty = " with local changes" if origin["git_dirty"] else ""
        line = f"warmflow {origin['version']}, commit {origin['git_commit']}{dirty}"
        lines.setdefault(line, []).append(entry["name"])
    listed = "\n".join(f"- {', '.join(names)}: {line}" for line, names in lines.items())
    return f"## Provenance\n\nComplete in verify.json.\n\n{listed}"
