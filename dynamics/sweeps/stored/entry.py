"""A stored sweep as one call."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...jobs import Report, as_pool
from ..axes import Grid
from ..refinement import Refinement
from ..settings import Settings
from .refined import RefinedSweep, open_refined
from .run import StoredSweep, open_sweep

if TYPE_CHECKING:
    import xarray

__all__ = ["store_folder", "sweep_stored", "warn_of_failures"]

SHOWN = 5
"""Failures that a warning lists."""


def sweep_stored(
    grid: Grid,
    settings: Settings,
    store: Any,
    *,
    resume: bool,
    extends: bool,
    executor: Any,
    progress: Callable[[float], None] | None,
    refinement: Refinement | None = None,
) -> xarray.Dataset:
    """Run all cells in a folder (for the time of the call, where ``store`` is None)."""
    pool = as_pool(executor)
    with store_folder(store) as root:
        stored: StoredSweep | RefinedSweep
        if refinement is None:
            stored = open_sweep(root, grid, settings, resume=resume, extends=extends)
        else:
            stored = open_refined(root, grid, settings, refinement, resume=resume or extends)
        ended = 0

        def tell(report: Report) -> None:
            nonlocal ended
            ended += report.facts.get("cells", 0)
            if progress is not None:
                progress(min(ended / stored.num_cells, 1.0))

        outcome = stored.run(pool, tell=tell)
        ds = stored.load()
    warn_of_failures(outcome.failed, "chunks")
    return ds


def warn_of_failures(failed: Sequence[Report], what: str) -> None:
    """Warn of the units that failed, if any, with the reasons of the first."""
    if failed:
        lines = [f"{report.label}: {report.message}" for report in failed[:SHOWN]]
        more = len(failed) - len(lines)
        lines += [f"and {more} more"] if more else []
        message = f"{len(failed)} {what} failed: {'; '.join(lines)}. Their cells are NaN."
        warnings.warn(message, stacklevel=4)


@contextmanager
def store_folder(store: Any) -> Iterator[Path]:
    """Give the folder, or one that lasts as long as the block."""
    if store is None:
        with tempfile.TemporaryDirectory(prefix="warmflow-") as root:
            yield Path(root)
    elif isinstance(store, str | os.PathLike):
        yield Path(store)
    else:
        raise TypeError(f"`store` must be a path; got {store!r}.")
