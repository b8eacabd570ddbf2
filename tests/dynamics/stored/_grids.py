"""Small stored sweeps."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from warmflow.dynamics import LeastSquares, SoftmaxRegression, sweep

ALPHA, BETA = np.geomspace(1e-2, 0.1, 5), np.geomspace(1e-2, 1.0, 6)
COMMON: dict[str, Any] = {"alpha": ALPHA, "beta": BETA, "num_steps": 20, "save_steps": 10}


def toy(seed: int = 0, noise: float = 0.3, n: int = 30, ridge: float = 0.1) -> LeastSquares:
    """Return two clusters; streams depend on the seed alone."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((200, 2))
    y = X @ [1.0, -1.0] * np.where(np.arange(200) % 2, 1.0, -1.0)
    y = y + noise * rng.standard_normal(200)
    data = X[:n], y[:n], X[100:], y[100:]
    return LeastSquares(*data, ridge=ridge, test=data[2:], clean=np.arange(n) % 2 == 1)


def classes() -> SoftmaxRegression:
    rng = np.random.default_rng(1)
    X, labels = rng.standard_normal((40, 3)), np.arange(40) % 3
    return SoftmaxRegression(X[:30], labels[:30], X[30:], labels[30:], ridge=0.1)


def stored(root: Path, **options: Any) -> xr.Dataset:
    return sweep(toy(), store=root, **COMMON | options)


def read(root: Path) -> xr.Dataset:
    """Read as a user does."""
    return xr.open_zarr(root / "sweep.zarr", consolidated=False).load()


def assert_same(found: xr.Dataset, wanted: xr.Dataset) -> None:
    """Compare bit for bit: names, dimensions by name, dtypes, values."""
    assert {*found.variables} == {*wanted.variables}
    for name in wanted.variables:
        a, b = found[name], wanted[name]
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a.transpose(*b.dims).values, b.values, err_msg=str(name))
