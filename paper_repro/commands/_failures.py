"""Failures at the end: each kind with a cell, the number of cells, and the cure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from ...dynamics.storage.marks import Marks

__all__ = ["list_cells", "list_units"]

SHOWN = 20


def list_cells(ds: xr.Dataset, *, is_complete: bool = True) -> bool:
    """Write how cells failed; return whether that makes the sweep a failure.

    Cells that diverge belong to a sweep that crosses the limit of stability: they are listed, and
    make it a failure only where no cell of all reached its end.
    """
    import numpy as np

    from ...dynamics import Status

    status = ds["status"]
    values = status.values
    for state in Status:
        count = int((values == state).sum())
        if state.success or count == 0:
            continue
        where = np.unravel_index(int(np.argmax(values == state)), values.shape)
        first = status.isel(dict(zip(status.dims, map(int, where), strict=True)))
        names = ["alpha", "beta", *(n for n in status.dims if n not in ("alpha", "beta", "cell"))]
        place = ", ".join(f"{name} {first[name].item():.4g}" for name in names)
        print(
            f"{state.name}: {count} of {values.size} cells, the first at {place}; cure: "
            f"{state.cure}",
            file=sys.stderr,
        )
    bad = [s for s in Status if not s.success and s is not Status.diverged]
    has_success = bool(((values == Status.ok) | (values == Status.converged)).any())
    return bool(np.isin(values, bad).any()) or (is_complete and not has_success)


def list_units(marks: Marks) -> int:
    """Write which chunks failed, and why; return how many."""
    names = list(marks.names("failed"))
    for name in names[:SHOWN]:
        fault = marks.failed(name) or {"label": name, "message": "unknown"}
        print(f"failed: {fault['label']}: {fault['message']}", file=sys.stderr)
    if len(names) > SHOWN:
        print(f"failed: {len(names) - SHOWN} more chunks", file=sys.stderr)
    return len(names)
