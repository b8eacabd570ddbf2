"""Sweeps: the algorithm run on a whole grid of rates at once.

:mod:`.api` checks, an engine steps the cells through all their time steps, :mod:`.labels` makes the
Dataset, and :mod:`.rebuild` gives back the weights of one cell.

Least squares has the engine of :mod:`.compiled` and, with many parameters, :mod:`.iterative`
(:mod:`.adjoints`, :mod:`.krylov`, :mod:`.blocks`); softmax regression has :mod:`.softmax`
(:mod:`.conjugate`); both iterative ones share :mod:`.extrapolation` and :mod:`.workers`. The plain
references are :mod:`.least_squares` and :mod:`.oracles`. :mod:`.engines` chooses, and
:mod:`.cells` keeps which cells are alive.

:mod:`.refinement` chooses cells along a level curve instead of a grid (:mod:`.lattice`,
:mod:`.tracking`).
"""

from __future__ import annotations

from .api import sweep
from .rebuild import weights
from .refinement import Refinement

__all__ = ["Refinement", "sweep", "weights"]
