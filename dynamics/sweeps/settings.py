"""What all cells of a sweep have in common, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import checks
from ..geometries import Geometry
from ..methods import Method
from ..namespaces import to_host
from ..statistics import check_thresholds
from ..types import Array

__all__ = ["Settings", "check_rates", "check_settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all cells have in common.

    Attributes
    ----------
    dt : float
    num_steps : int
    steps : tuple of int
        Increasing steps at which states are kept.
    has_steps : bool
        Whether the Dataset has the dimension ``step``.
    backend, dtype : str
    keep_weights : bool
    thresholds : tuple of float
    max_bytes : float
    theta0, w0 : array or None
    method : Method or None
        None: the algorithm of the engines, Joint with Mirror.
    geometry : Geometry or None
    seed : int
        Of the method's random numbers.
    """

    dt: float
    num_steps: int
    steps: tuple[int, ...]
    has_steps: bool
    backend: str
    dtype: str
    keep_weights: bool
    thresholds: tuple[float, ...]
    max_bytes: float
    theta0: np.ndarray | None
    w0: np.ndarray | None
    method: Method | None
    geometry: Geometry | None
    seed: int

    def config(self) -> dict[str, Any]:
        """Return what determines the numbers, for provenance."""
        own = {
            "dt": self.dt,
            "num_steps": self.num_steps,
            "save_steps": list(self.steps),
            "theta0": self.theta0,
            "w0": self.w0,
            "backend": self.backend,
            "dtype": self.dtype,
        }
        if self.method is not None:
            own |= {"method": repr(self.method), "seed": self.seed}
        return own if self.geometry is None else {**own, "geometry": repr(self.geometry)}


def check_settings(
    *,
    dt: Any,
    num_steps: Any,
    save_steps: Any,
    backend: Any,
    dtype: Any,
    keep_weights: Any,
    thresholds: Any,
    max_bytes: Any,
    theta0: Any,
    w0: Any,
    method: Any,
    geometry: Any,
    seed: Any,
) -> Settings:
    """Check what needs no problem."""
    num_steps = checks.integer("num_steps", num_steps, minimum=1)
    if method is not None and not isinstance(method, Method):
        raise TypeError(f"`method` must be a method such as methods.Joint(); got {method!r}.")
    if geometry is not None and not isinstance(geometry, Geometry):
        raise TypeError(f"`geometry` must be a geometry such as Mirror(); got {geometry!r}.")
    return Settings(
        dt=checks.positive("dt", dt),
        num_steps=num_steps,
        steps=check_steps(save_steps, num_steps),
        has_steps=save_steps is not None,
        backend=backend,
        dtype=checks.choice("dtype", dtype, ("float64", "float32")),
        keep_weights=checks.flag("keep_weights", keep_weights),
        thresholds=check_thresholds(thresholds),
        max_bytes=checks.positive("max_bytes", max_bytes),
        theta0=None if theta0 is None else np.asarray(to_host(theta0)),
        w0=None if w0 is None else np.asarray(to_host(w0)),
        method=method,
        geometry=geometry,
        seed=checks.integer("seed", seed, minimum=0),
    )


def check_rates(name: str, value: Any) -> Array:
    """Return distinct rates >= 0 as a vector."""
    value = to_host(value)
    if _is_scalar(value):
        value = [checks.real(name, value)]
    rates = checks.array(name, value, shape=(None,))
    if rates.min() < 0:
        raise ValueError(f"`{name}` must be >= 0; got {rates.min()}.")
    if np.unique(rates).size < rates.size:
        raise ValueError(f"`{name}` must hold distinct rates; got one twice.")
    return rates


def check_steps(value: Any, num_steps: int) -> tuple[int, ...]:
    """Return the increasing steps to record."""
    if value is None:
        return (num_steps,)
    if _is_scalar(value):
        every = checks.integer("save_steps", value, minimum=1)
        return tuple(sorted({*range(0, num_steps + 1, every), num_steps}))
    steps = sorted({checks.integer("save_steps", item, minimum=0) for item in value})
    if not steps or steps[-1] > num_steps:
        shown = steps[-1] if steps else "none"
        raise ValueError(f"`save_steps` must hold steps in 0 ... {num_steps}; got {shown}.")
    return tuple(steps)


def _is_scalar(value: Any) -> bool:
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    return not is_sequence and getattr(value, "ndim", 0) == 0
