"""Writing a drawing: PNG, PDF, the plotted data as CSV, and a JSON sidecar of provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from .. import figures
from ..dynamics.storage.atomic import atomic_file, write_json
from .item import Drawing

__all__ = ["save_drawing", "save_table"]


def save_drawing(
    folder: Path, name: str, drawing: Drawing, provenance: Mapping[str, Any], *, quick: bool
) -> list[Path]:
    """Write all files of one figure and return their paths, the PNG first.

    `quick` puts the watermark QUICK on the figure. The same provenance goes into the metadata of
    PNG and PDF, without ``wall_seconds``, so that equal runs give equal bytes.
    """
    if quick:
        figures.style.watermark(drawing.figure, "QUICK")
    stable = {key: value for key, value in provenance.items() if key != "wall_seconds"}
    record = json.dumps(stable, sort_keys=True)
    metadata: dict[str, dict[str, Any]] = {
        ".png": {"Title": name, "Description": record, "Software": "warmflow"},
        # Without a date: equal runs give equal bytes.
        ".pdf": {"Title": name, "Subject": record, "Creator": "warmflow", "CreationDate": None},
    }
    paths = []
    with figures.style.context():
        for suffix, entries in metadata.items():
            path = folder / f"{name}{suffix}"
            with atomic_file(path) as temporary:
                drawing.figure.savefig(temporary, metadata=entries)
            paths.append(path)
            # The layout is found once; the second format shows the same picture.
            drawing.figure.set_layout_engine("none")
    for table, dataset in drawing.tables.items():
        path = folder / (f"{name}.csv" if len(drawing.tables) == 1 else f"{name}-{table}.csv")
        save_table(path, dataset)
        paths.append(path)
    sidecar = {
        "figure": name,
        "caption": drawing.caption,
        "files": [path.name for path in paths],
        "provenance": dict(provenance),
    }
    path = folder / f"{name}.json"
    write_json(path, sidecar)
    return [*paths, path]


def save_table(path: Path, dataset: xr.Dataset) -> None:
    """Write the variables of `dataset` as CSV: one row for each point, coordinates first."""
    frame = dataset.to_dataframe() if dataset.sizes else dataset.expand_dims("row").to_dataframe()
    with atomic_file(path) as temporary:
        frame.to_csv(temporary, float_format="%.17g", lineterminator="\n")
