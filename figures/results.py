"""Reading results: the few accessors that the drawing functions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

__all__ = ["Result", "as_dataset", "failed_cells", "measured", "time_axis", "weights_at_end"]


@runtime_checkable
class _Exportable(Protocol):
    def to_xarray(self) -> xr.Dataset: ...


Result: TypeAlias = xr.Dataset | _Exportable
"""A Dataset as `Trajectory.to_xarray` makes it, or the `Trajectory` itself."""


def as_dataset(result: Result) -> xr.Dataset:
    """Return the Dataset of a trajectory, or the Dataset itself."""
    if isinstance(result, xr.Dataset):
        return result
    if isinstance(result, _Exportable):
        return result.to_xarray()
    raise TypeError(
        f"`result` must be an xarray.Dataset or a Trajectory; got {type(result).__name__}."
    )


def time_axis(dataset: xr.Dataset) -> tuple[str, str]:
    """Return the name of the time dimension and its axis label."""
    if "time" in dataset.dims:
        return "time", "time t"
    if "step" in dataset.dims:
        return "step", "outer step k"
    raise ValueError(f"`result` must have a dimension time or step; got {list(dataset.dims)}.")


def weights_at_end(result: Result | ArrayLike) -> NDArray[np.float64]:
    """Return final weights (n,) of a result, or the given weights themselves."""
    if isinstance(result, xr.Dataset | _Exportable):
        dataset = as_dataset(result)
        w = dataset["w"]
        for name in ("time", "step"):
            if name in w.dims:
                w = w.isel({name: -1})
        return np.asarray(w.values, dtype=np.float64)
    array = np.asarray(result, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"`weights` must have shape (n,); got {array.shape}.")
    return array


def failed_cells(status: xr.DataArray) -> dict[str, NDArray[np.bool_]]:
    """Return, by name of the failure, where a stored status is neither ok nor converged."""
    meanings: Mapping[str, Any] = status.attrs
    names = str(meanings.get("flag_meanings", "")).split()
    values = np.atleast_1d(meanings.get("flag_values", []))
    return {
        name: status.values == value
        for name, value in zip(names, values, strict=True)
        if name not in ("ok", "converged") and np.any(status.values == value)
    }


def measured(certificate: Any, name: str) -> dict[str, Any]:
    """Return what a certificate measured; refuse another statement's, or one without data."""
    if getattr(certificate, "name", None) != name:
        got = getattr(certificate, "name", type(certificate).__name__)
        raise ValueError(f"`certificate` must be that of {name}; got {got}.")
    data: dict[str, Any] = certificate.details["data"]
    if not data:
        raise ValueError(f"`certificate` of {name} holds no data: its computation raised.")
    return data
