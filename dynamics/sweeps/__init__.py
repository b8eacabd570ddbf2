"""Sweeps: the algorithm run on a whole grid of rates at once.

:mod:`.api` checks, an engine steps a tile of cells through all its time steps, :mod:`.cells` keeps
what the engines share (which cells are alive), :mod:`.labels` makes the Dataset, and
:mod:`.rebuild` gives back the weights of one cell.
"""

from __future__ import annotations

from .api import sweep
from .rebuild import weights

__all__ = ["sweep", "weights"]
