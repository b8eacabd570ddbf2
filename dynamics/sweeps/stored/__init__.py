"""Sweeps in a folder: nothing that is done is lost, and nothing is done twice.

:mod:`.layout` is the Zarr group and its chunks, :mod:`.chunks` chooses their size, :mod:`.folder`
the manifest, :mod:`.spec` what a sweep was started with, :mod:`.job` what a worker does,
:mod:`.moving` extends, and :mod:`.run` puts it together.
"""

from __future__ import annotations

from .entry import sweep_stored
from .folder import SweepFolder
from .layout import PENDING
from .refined import RefinedSweep, open_refined
from .run import Outcome, StoredSweep, open_sweep
from .spec import Mismatch

__all__ = [
    "PENDING",
    "Mismatch",
    "Outcome",
    "RefinedSweep",
    "StoredSweep",
    "SweepFolder",
    "open_refined",
    "open_sweep",
    "sweep_stored",
]
