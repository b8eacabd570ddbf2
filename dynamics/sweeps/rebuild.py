"""The entry point ``weights``: the weights of one cell, stored or rebuilt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..features import quadratic_features
from ..namespaces import to_numpy
from ..problems import LeastSquares, Problem
from ..simplex import normalise_log, uniform_log_weights

if TYPE_CHECKING:
    import xarray

__all__ = ["weights"]


def weights(
    ds: xarray.Dataset,
    problem: Problem,
    *,
    alpha: float,
    beta: float,
    step: int | None = None,
    **point: Any,
) -> np.ndarray:
    r"""Return the weights of one cell of a sweep, stored or rebuilt from U.

    .. math:: w = \mathrm{softmax}(\log w_0 + \Phi U) \qquad\text{(theory T8)}.

    Parameters
    ----------
    ds : xarray.Dataset
        As returned by :func:`sweep` or :func:`~warmflow.dynamics.integrate_grid`.
    problem : Problem
        The problem that was swept; with more axes, the one of this cell.
    alpha, beta : float
        Coordinates of the cell.
    step : int, optional
        One of the saved steps of a sweep; all of them when left out.
    **point
        Coordinates of the cell along the other axes of the sweep: ``seed=1, ridge=1e-3``.

    Returns
    -------
    (n,) or (step, n)

    Raises
    ------
    ValueError
        For a cell or step that is not in ``ds``, or where neither w nor U is stored.
    """
    _check_same(ds, problem)
    if "cell" in ds.dims:
        place = {"cell": _cell(ds, alpha, beta)}
    else:
        place = {"alpha": _position(ds, "alpha", alpha), "beta": _position(ds, "beta", beta)}
    place |= _place(ds, point)
    if step is not None:
        if "step" not in ds.dims:
            raise ValueError("`step` must be None for a sweep without saved steps.")
        place["step"] = _position(ds, "step", step)
    if "w" in ds:
        return ds["w"].isel(place).to_numpy()[..., : problem.num_samples]
    if "U" not in ds or not isinstance(problem, LeastSquares):
        raise ValueError("`ds` holds neither w nor U; run `sweep(..., keep_weights=True)`.")
    features = quadratic_features(to_numpy(problem.X), to_numpy(problem.y))
    U = ds["U"].isel(place).to_numpy()[..., : features.shape[1]]
    log_w0 = ds["log_w0"].to_numpy() if "log_w0" in ds else uniform_log_weights(len(features))
    return np.exp(normalise_log(log_w0 + U @ features.T))


def _check_same(ds: Any, problem: Any) -> None:
    """Refuse what is no sweep, no problem, or not the problem that was swept."""
    if not {"alpha", "beta"} <= set(getattr(ds, "coords", ())):
        raise TypeError(f"`ds` must be a Dataset from sweep; got {type(ds).__name__}.")
    if not isinstance(problem, Problem):
        raise TypeError(f"`problem` must be a Problem; got {type(problem).__name__}.")
    if "provenance" not in ds.attrs:
        return
    config = json.loads(ds.attrs["provenance"])["config"]
    if "axes" in config:  # each combination has a problem of its own
        return
    if config["data"] != problem.to(xp=np, dtype=config["dtype"]).fingerprint():
        raise ValueError(
            f"`problem` must be the one that was swept ({config['problem']}); got {problem!r}."
        )


def _place(ds: xarray.Dataset, point: dict[str, Any]) -> dict[str, int]:
    """Return the place along the axes beside the rates; each of them must be given."""
    inner = {"alpha", "beta", "cell", "step", "param", "sample", "feature", "threshold"}
    names = [str(name) for name in ds["status"].dims if name not in inner]
    if set(names) != set(point):
        shown = ", ".join(names) or "none"
        raise ValueError(
            f"`point` must name the other axes of the sweep ({shown}); got "
            f"{', '.join(point) or 'none'}."
        )
    return {name: _position(ds, name, value) for name, value in point.items()}


def _cell(ds: xarray.Dataset, alpha: Any, beta: Any) -> int:
    """Return the cell of a refined sweep with these rates, equal to round-off."""
    near = np.ones(ds.sizes["cell"], dtype=bool)
    for name, value in (("alpha", alpha), ("beta", beta)):
        near &= np.isclose(ds[name].to_numpy(), checks.real(name, value), rtol=1e-9, atol=0.0)
    if not near.any():
        raise ValueError(
            f"`alpha` and `beta` must be those of a cell of the refined sweep; got {alpha:g}, "
            f"{beta:g}."
        )
    return int(np.argmax(near))


def _position(ds: xarray.Dataset, name: str, value: Any) -> int:
    """Return the position of a coordinate value, equal to round-off."""
    axis = ds[name].to_numpy()
    if axis.dtype.kind in "OUT":
        found = np.flatnonzero(axis == value)
        if found.size == 0:
            raise ValueError(f"`{name}` must be one of {', '.join(axis)}; got {value!r}.")
        return int(found[0])
    number = checks.real(name, value)
    near = np.flatnonzero(np.isclose(axis, number, rtol=1e-9, atol=0.0))
    if near.size == 0:
        raise ValueError(
            f"`{name}` must be one of the {axis.size} values of the sweep "
            f"({axis.min():g} ... {axis.max():g}); got {number:g}."
        )
    return int(near[0])
