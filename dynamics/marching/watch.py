"""What is checked after every step: is it still a solution, is it at rest, does it get anywhere."""

from __future__ import annotations

import numpy as np
from scipy.integrate import OdeSolver

from ..status import BOUND, Status
from ..types import Array
from .field import Field, Stop

__all__ = ["Watch", "gave_up"]

STALLED_STEPS = 20
"""Consecutive steps at the spacing of floating-point times after which LSODA is given up."""
STIFF_EVALUATIONS = 200_000
"""An explicit run held back by stability is given up when it needs more evaluations than this."""
STIFF_PRODUCT = 3.0
"""Step times spectral radius from which a step of DOP853 (limit 6.1) counts as held back."""
STIFF_EVERY = 50


class Watch:
    """Raises :class:`Stop` when a run should end before its time."""

    def __init__(
        self, field: Field, t_end: float, max_evaluations: int | None, rest_tol: float | None
    ) -> None:
        self._field = field
        self._rest_tol = rest_tol
        self._stalled = 0
        self._stiffness = None
        if not field.flow.has_jacobian:
            cap = STIFF_EVALUATIONS if max_evaluations is None else max_evaluations
            self._stiffness = _Stiffness(field, t_end, cap)

    def refuse(self, solver: OdeSolver) -> None:
        """Stop on a state that is no longer a solution, so that it is not recorded."""
        if not np.isfinite(solver.y).all():
            raise Stop(
                Status.nonfinite, "the state is not finite; lower beta/alpha or raise `ridge`"
            )
        if self._field.flow.parameter_size(solver.y) > BOUND:
            raise Stop(
                Status.diverged, f"|theta| exceeds {BOUND:g}; lower beta/alpha or raise `ridge`"
            )
        tiny = solver.t - solver.t_old <= 4 * np.spacing(solver.t)
        self._stalled = self._stalled + 1 if tiny else 0
        if self._stalled > STALLED_STEPS:
            raise Stop(Status.stiff, gave_up("the step size fell to round-off"))

    def conclude(self, solver: OdeSolver) -> None:
        """Stop after a recorded state that is at rest, or from which the end is out of reach."""
        if self._stiffness is not None:
            self._stiffness.inspect(solver)
        if self._rest_tol is None:
            return
        residual = self._field.flow.rest_residual(solver.y, self._field(solver.t, solver.y))
        if residual <= self._rest_tol:
            raise Stop(Status.converged, f"rest point, residual at most {self._rest_tol:g}")


class _Stiffness:
    """Tells an explicit run that is held back by stability, and too long because of it.

    The spectral radius of the Jacobian is followed by a nonlinear power iteration (one evaluation
    of the field each), as in the RKC code of Sommeijer, Shampine and Verwer (1998).
    """

    def __init__(self, field: Field, t_end: float, cap: int) -> None:
        self._field = field
        self._t_end = t_end
        self._cap = cap
        self._steps = 0
        self._vector = np.random.default_rng(0).standard_normal(field.flow.initial.size)

    def inspect(self, solver: OdeSolver) -> None:
        self._steps += 1
        if self._steps % STIFF_EVERY:
            return
        step = solver.t - solver.t_old
        projected = self._field.count + 12 * (self._t_end - solver.t) / step
        if projected <= self._cap or step * self._spectral_radius(solver.y) < STIFF_PRODUCT:
            return
        raise Stop(
            Status.stiff,
            f"steps of {step:.1e} are limited by stability and {projected:.0e} evaluations would "
            "be needed; lower beta/alpha, shorten `t_span`, raise `max_evaluations`, or use "
            "`run_method`",
        )

    def _spectral_radius(self, z: Array, iterations: int = 8) -> float:
        base = self._field(0.0, z)
        radius = 0.0
        for _ in range(iterations):
            delta = 1e-7 * (1.0 + np.linalg.norm(z)) / np.linalg.norm(self._vector)
            change = (self._field(0.0, z + delta * self._vector) - base) / delta
            radius = float(np.linalg.norm(change) / np.linalg.norm(self._vector))
            if not radius > 0:
                return 0.0
            self._vector = change / np.linalg.norm(change)
        return radius


def gave_up(reason: str | None) -> str:
    """Return what to do when the integrator itself stopped."""
    detail = (reason or "no reason given").rstrip(".")
    return f"the integrator gave up ({detail}); raise `ridge`, lower beta/alpha, or loosen `rtol`"
