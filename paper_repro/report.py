"""RESULTS.md and results.json: what the paper says, what we got, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..dynamics.storage.atomic import write_json, write_text
from .claims import Claim, Estimate, Reference, Verdict, judge
from .folder import ReproductionFolder
from .item import Item
from .markdown import markdown_table

__all__ = ["Row", "write_report"]

_NOTE = """\
The full text of the paper was not at hand: what it says is known in words only. Where it says
nothing about a number, the verdict is *{not_stated}*, and "reference" is our own earlier value,
which guards against change. A statement in words is tested by the bound under "tolerance", which
is our choice unless the verdict is *{match}*."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    item: str
    number: str
    meaning: str
    says: str | None
    where: str | None
    got: dict[str, Any]
    test: str
    reference: dict[str, float] | None
    agrees: bool | None
    verdict: str
    text: str


def write_report(items: Sequence[Item[Any]], folder: ReproductionFolder) -> tuple[Path, Path]:
    """Write both reports over all items whose numbers lie in `folder`; return their paths."""
    rows: list[Row] = []
    done: list[Item[Any]] = []
    provenance: dict[str, Any] = {}
    for item in items:
        document = _numbers(item, folder)
        if document is not None:
            done.append(item)
            rows += _rows(item, document)
            provenance[item.name] = document["provenance"]
    assumed = {item.name: [asdict(entry) for entry in item.assumed] for item in done}
    machine = folder.path / "results.json"
    write_json(
        machine,
        {"variant": folder.variant, "results": [asdict(row) for row in rows],
         "assumed": assumed, "provenance": provenance},
    )  # fmt: skip
    page = folder.path / "RESULTS.md"
    write_text(page, _markdown(done, rows, folder, provenance))
    return page, machine


def _numbers(item: Item[Any], folder: ReproductionFolder) -> dict[str, Any] | None:
    """Numbers that were computed by this version of the item, or None."""
    try:
        document = json.loads(folder.numbers(item.name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if (document["version"], document["variant"]) != (item.version, folder.variant):
        return None
    return dict(document)


def _rows(item: Item[Any], document: dict[str, Any]) -> list[Row]:
    references = item.references(document["variant"])
    rows = []
    for claim in item.claims:
        if claim.number not in document["numbers"]:  # of data that this machine lacks
            continue
        estimate = Estimate.from_document(document["numbers"][claim.number])
        reference = references.get(claim.number)
        rows.append(_row(item.name, claim, estimate, reference))
    return rows


def _row(item: str, claim: Claim, estimate: Estimate, reference: Reference | None) -> Row:
    return Row(
        item=item, number=claim.number, meaning=claim.meaning, says=claim.says, where=claim.where,
        got=estimate.document(), test=claim.test,
        reference=None if reference is None else asdict(reference),
        agrees=None if reference is None else reference.agrees(estimate),
        verdict=str(judge(claim, estimate)), text=str(estimate),
    )  # fmt: skip


def _tolerance(row: Row) -> str:
    texts = [row.test] if row.test else []
    if row.reference is not None:
        state = "agrees" if row.agrees else "DIFFERS"
        texts.append(
            f"reference {row.reference['value']:.4g} ± {row.reference['tolerance']:.2g}: {state}"
        )
    return "; ".join(texts) or "none"


def _markdown(
    items: Sequence[Item[Any]],
    rows: Sequence[Row],
    folder: ReproductionFolder,
    provenance: dict[str, Any],
) -> str:
    lines = [
        [row.item, row.says or "nothing", row.where or "", f"{row.meaning}: {row.text}",
         _tolerance(row), row.verdict]
        for row in rows
    ]  # fmt: skip
    header = ["item", "paper says", "where", "we got (mean [95 % interval] (seeds))",
              "tolerance", "verdict"]  # fmt: skip
    note = _NOTE.format(not_stated=Verdict.not_stated, match=Verdict.match)
    quick = "Quick variant: small grids and few seeds.\n\n" if folder.variant == "quick" else ""
    blocks = [
        f"# Reproduction of arXiv 2310.17386\n\n{quick}{note}",
        markdown_table(header, lines),
        *(_section(item, folder) for item in items),
        "## ASSUMED settings\n\nThe paper leaves these open; they are our choice.\n\n"
        + markdown_table(
            ["item", "setting", "our choice", "why"],
            [[item.name, entry.name, entry.choice, entry.reason]
             for item in items for entry in item.assumed],
        ),
        _origin(provenance),
    ]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def _section(item: Item[Any], folder: ReproductionFolder) -> str:
    parts = [f"## {item.title}", f"{item.caption} ({item.place}.)"]
    for path in sorted((folder.path / item.name).glob("*.json")):
        if path.name == "numbers.json":
            continue
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        image = f"{item.name}/{sidecar['figure']}.png"
        files = ", ".join(f"[{name}]({item.name}/{name})" for name in sidecar["files"])
        parts.append(f"![{sidecar['figure']}]({image})\n\n{sidecar['caption']} Files: {files}.")
    return "\n\n".join(parts)


def _origin(provenance: dict[str, Any]) -> str:
    lines = []
    for name, entry in provenance.items():
        dirty = " with local changes" if entry.get("git_dirty") else ""
        lines.append(
            f"- {name}: warmflow {entry['version']}, commit {entry['git_commit']}{dirty}, root "
            f"seed {entry['root_seed']}, {entry['wall_seconds']:.1f} s of simulation"
        )
    return "## Provenance\n\nComplete in the JSON file beside each figure.\n\n" + "\n".join(lines)
