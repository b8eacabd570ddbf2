"""Batches of trajectories: the flow on a grid of speeds, with steps of its own for each cell.

:mod:`.api` checks and labels, :mod:`.run` packs the problem and shares the cells out to threads,
:mod:`.kernel` is the compiled loop over steps; below it :mod:`.step` (a Rosenbrock step with the
coefficients of :mod:`.tableau`), :mod:`.controller` (step sizes), :mod:`.field` (the reduced flow
and its Jacobian) and :mod:`.dense` (small linear algebra).
"""

from __future__ import annotations

from .api import integrate_grid

__all__ = ["integrate_grid"]
