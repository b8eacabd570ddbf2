"""A right-hand side that counts, is capped, and turns every failure into a status."""

from __future__ import annotations

import numpy as np

from ..flows import Flow, InnerFailure
from ..status import ConvergenceError, Status
from ..types import Array

__all__ = ["Field", "Stop"]

BAD_EVALUATIONS = 100
"""Consecutive evaluations that are not finite after which the integrator is stopped."""


class Stop(Exception):
    """Ends an integration, from inside a right-hand side or after a step."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Field:
    """``dz/dt`` of a flow, at most ``cap`` times."""

    def __init__(self, flow: Flow, cap: int) -> None:
        self.flow = flow
        self.cap = cap
        self.count = 0
        self._bad = 0

    def __call__(self, t: float, z: Array) -> np.ndarray:
        if self.count >= self.cap:
            raise Stop(
                Status.max_evaluations,
                f"the cap of {self.cap} evaluations was reached; raise `max_evaluations`, shorten "
                "`t_span`, loosen `rtol`, or lower beta/alpha",
            )
        self.count += 1
        try:
            dz = self.flow.field(z)
        except InnerFailure as failure:
            raise Stop(
                Status.underflow,
                f"{failure} (weights underflowed, or data lack rank); raise `ridge` or lower beta",
            ) from None
        except ConvergenceError as failure:
            raise Stop(Status.nonfinite, f"an inner solve failed: {failure}") from None
        self._bad = 0 if np.isfinite(dz).all() else self._bad + 1
        if self._bad > BAD_EVALUATIONS:
            raise Stop(
                Status.nonfinite, "the field is not finite here; lower beta or raise `ridge`"
            )
        return dz

    def jacobian(self, t: float, z: Array) -> np.ndarray:
        """Return the Jacobian at z."""
        try:
            return self.flow.jacobian(z)
        except (InnerFailure, np.linalg.LinAlgError):
            raise Stop(Status.underflow, "the inner Hessian is singular; raise `ridge`") from None
