"""How a run, or a cell of a sweep, ended: failure is data."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["BOUND", "ConvergenceError", "Status", "flag_attributes"]

BOUND = 1e12
"""Largest entry of theta, in size, that is still called a state: beyond it a run has diverged."""


class Status(IntEnum):
    """Outcome of one run or of one sweep cell.

    ``ok``: reached the requested end. ``converged``: stopped early at a rest point, as asked.
    ``max_evaluations``: the cap on right-hand sides was reached. ``diverged``: the state left every
    sensible bound. ``nonfinite``: NaN or infinity appeared. ``underflow``: so many weights
    underflowed that the inner Hessian lost rank. ``stiff``: an explicit integrator was held back
    by stability and would not have ended in reasonable work.
    """

    ok = 0
    converged = 1
    max_evaluations = 2
    diverged = 3
    nonfinite = 4
    underflow = 5
    stiff = 6

    @property
    def success(self) -> bool:
        """Whether the state at the end is the one that was asked for."""
        return self in (Status.ok, Status.converged)

    @property
    def cure(self) -> str:
        """What to change so that a run or a cell does not end like this; empty after a success."""
        return _CURES.get(self, "")


_CURES = {
    Status.max_evaluations: "raise `max_evaluations`, or end earlier",
    Status.diverged: "lower `alpha` or `dt` (stable below 2/L in all cases), or `beta`",
    Status.nonfinite: "lower `beta` or `dt`, and scale the data",
    Status.underflow: "raise `ridge`, or lower `beta`",
    Status.stiff: "lower the ratio of the speeds, or integrate with an implicit method",
}


class ConvergenceError(RuntimeError):
    """An inner solve did not reach its tolerance; the message names the knob to turn."""


def flag_attributes() -> dict[str, object]:
    """CF attributes ``flag_values`` and ``flag_meanings`` of a stored ``status`` variable."""
    return {
        "flag_values": [int(status) for status in Status],
        "flag_meanings": " ".join(status.name for status in Status),
    }
