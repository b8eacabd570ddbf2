"""Sweeps: the algorithm run on a whole grid of rates at once.

:mod:`.api` checks and labels, an engine steps a tile of cells through all its time steps, and
:mod:`.cells` keeps what the engines share: which cells are alive, and what is recorded of them.
"""

from __future__ import annotations

from .api import sweep, weights

__all__ = ["sweep", "weights"]
