"""xarray Datasets as Zarr v3 groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import atomic_directory, atomic_file

if TYPE_CHECKING:
    import xarray

__all__ = ["read_dataset", "write_dataset", "write_netcdf"]


def write_dataset(path: Path, dataset: xarray.Dataset) -> None:
    """Write ``dataset`` as a Zarr v3 group that appears whole or not at all."""
    with atomic_directory(path) as temporary:
        # Consolidated metadata are no part of the Zarr v3 specification: reading warns of them.
        stored = _with_strings(dataset, "U", object)  # Zarr v3 specifies no strings of fixed length
        stored.to_zarr(temporary, mode="w", consolidated=False, zarr_format=3)


def write_netcdf(path: Path, dataset: xarray.Dataset) -> None:
    """Write ``dataset`` as a NetCDF 4 file that appears whole or not at all.

    Raises
    ------
    ImportError
        Where h5netcdf is not installed.
    """
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"NetCDF needs {error.name}; run pip install 'warmflow[netcdf]'."
        ) from None
    with atomic_file(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf")


def read_dataset(path: Path) -> xarray.Dataset:
    """Read a Zarr group into memory, its variables by name: folders list them in any order."""
    import xarray

    with xarray.open_dataset(path, engine="zarr", consolidated=False, chunks=None) as dataset:
        loaded = _with_strings(dataset.load(), "TO", str)
    return loaded[sorted(loaded.data_vars, key=str)]


def _with_strings(dataset: xarray.Dataset, kinds: str, dtype: type) -> xarray.Dataset:
    """Return ``dataset`` with its strings, dtypes of these kinds, in another dtype."""
    found: dict[Any, Any] = {
        name: (variable.dims, variable.values.astype(object).astype(dtype), variable.attrs)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in kinds
    }
    coordinates = {name: value for name, value in found.items() if name in dataset.coords}
    data = {name: value for name, value in found.items() if name not in coordinates}
    return dataset.assign_coords(coordinates).assign(data)
