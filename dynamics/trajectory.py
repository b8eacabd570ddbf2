"""The result of every single run: times, states, how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import provenance
from .problems import Problem
from .statistics import (
    THRESHOLDS,
    VARIABLES,
    check_thresholds,
    describe_theta,
    describe_weights,
)
from .status import flag_attributes
from .types import Array

if TYPE_CHECKING:
    import xarray

__all__ = ["Trajectory"]

CHUNK_BYTES = 64e6
"""Size of the blocks of weights that are expanded at once where only statistics are asked for."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A run of a flow or of a method, at its saved points.

    Weights are computed on access from the coordinates of the solver, so that a long run over many
    samples stays small until somebody asks for ``w``.

    Attributes
    ----------
    t : (k,)
        Times, in units of 1/alpha and 1/beta; the number of steps done for a method.
    theta : (k, ..., p)
        Inner parameters.
    status : Status, or (...) int8 array of its values
        How the run ended, for each cell of a run with leading axes; ``message`` says it in words
        (of the worst cell) and names the knob to turn.
    problem : Problem
    settings : dict
        What determined the run: kind, rates, tolerances.
    num_evaluations : int
        Right-hand sides, or steps of a method.
    oracle_counts : dict
        Calls of each oracle, for methods.
    tail : (up to 4, ..., n) or None
        Log-weights after the last consecutive steps of a method: saved points that are many steps
        apart cannot show an oscillation from step to step.
    last_step : (...) int or None
        Steps done by each cell of a method's run with leading axes; a cell that ended early keeps
        its last good state.
    """

    t: np.ndarray
    theta: np.ndarray
    status: Any
    message: str
    problem: Problem
    settings: dict[str, Any]
    num_evaluations: int
    states: np.ndarray = field(repr=False)
    log_weights_of: Callable[[Array], np.ndarray] = field(repr=False)
    oracle_counts: dict[str, int] = field(default_factory=dict)
    tail: np.ndarray | None = field(default=None, repr=False)
    wall_seconds: float = 0.0
    time_name: str = "time"
    last_step: np.ndarray | None = field(default=None, repr=False)

    def log_weights(self, index: Any) -> np.ndarray:
        """Return the log-weights ``(..., n)`` of the saved points ``index`` alone."""
        return self.log_weights_of(self.states[index])

    @property
    def log_w(self) -> np.ndarray:
        """Log-weights of all saved points, ``(k, ..., n)``."""
        return self.log_weights(slice(None))

    @property
    def w(self) -> np.ndarray:
        """Weights of all saved points, ``(k, ..., n)``; what underflows here survives in log_w."""
        return np.exp(self.log_w)

    def __len__(self) -> int:
        return self.t.size

    def to_xarray(
        self, weights: bool = True, thresholds: tuple[float, ...] = THRESHOLDS
    ) -> xarray.Dataset:
        """Return a labelled Dataset with the statistics of the weights and of theta.

        Parameters
        ----------
        weights : bool
            Whether ``w`` and ``log_w`` (k, ..., n) are expanded into it.
        thresholds : tuple of float
            Relative thresholds of ``support``.
        """
        import xarray

        thresholds = check_thresholds(thresholds)
        cells = tuple(f"cell_{axis}" for axis in range(self.theta.ndim - 2))
        dims = (self.time_name, *cells)
        data: dict[str, Any] = {"theta": ((*dims, "param"), self.theta, _label("theta"))}
        for name, values in self._statistics(thresholds).items():
            extra = ("threshold",) if name == "support" else ()
            data[name] = ((*dims, *extra), values, _label(name))
        if weights:
            log_w = self.log_w
            data["log_w"] = ((*dims, "sample"), log_w, _label("log_w"))
            data["w"] = ((*dims, "sample"), np.exp(log_w), _label("w"))
        if self.last_step is None:
            data["status"] = ((), np.int8(self.status), flag_attributes())
        else:
            data["status"] = (cells, self.status, flag_attributes())
            data["last_step"] = (cells, self.last_step, {"long_name": "steps done by the cell"})
        coords = {self.time_name: self.t, "threshold": list(thresholds)}
        config = {
            **self.settings,
            "problem": repr(self.problem),
            "data": self.problem.fingerprint(),
        }
        record = provenance.record(
            config,
            root_seed=self.settings.get("seed"),
            dtype=str(self.theta.dtype),
            wall_seconds=self.wall_seconds,
        )
        attrs = {"message": self.message, "provenance": json.dumps(record)}
        return xarray.Dataset(data, coords, attrs)

    def _statistics(self, thresholds: tuple[float, ...]) -> dict[str, np.ndarray]:
        """Return statistics of all saved points, expanding a bounded number of weights at once."""
        per_point = self.problem.num_samples * max(1, int(np.prod(self.theta.shape[1:-1])))
        size = max(1, int(CHUNK_BYTES / (8 * per_point)))
        parts = []
        for start in range(0, self.t.size, size):
            rows = slice(start, start + size)
            w = np.exp(self.log_weights(rows))
            parts.append(describe_weights(self.problem, w, thresholds))
        out = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        theta = self.problem.xp.asarray(self.theta, device=self.problem.device)
        out.update(describe_theta(self.problem, theta))
        return out


def _label(name: str) -> dict[str, str]:
    return {"long_name": VARIABLES[name]}
