"""The Zarr group of a sweep: which arrays there are, and the bytes of a chunk.

Every chunk of every array belongs to one unit of work. Its bytes are made in memory and moved into
place, so that readers never see half a chunk; what is not there yet reads as NaN, or -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...storage.atomic import atomic_file
from ...storage.datasets import write_dataset
from ..labels import PER_CELL, TRAILING, attributes
from ..memory import fill_of

if TYPE_CHECKING:
    import xarray

__all__ = ["PENDING", "Layout", "Variable"]

LEVEL = 0
"""Of the compression: Zstandard's default."""
PENDING = -1
"""The status of a cell that has not been run yet."""


@dataclass(frozen=True)
class Variable:
    """One array: its type, and its axes behind those of the cells."""

    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Arrays over ``(*axes, ...)``, cut into one block of cells for each unit of work.

    Attributes
    ----------
    axes : dict
        Lengths of the axes of the cells by name: alpha, beta, and the others.
    block : tuple of int
        Cells of a unit along alpha and beta; one along each other axis.
    variables : dict
        The arrays by name.
    """

    axes: dict[str, int]
    block: tuple[int, int]
    variables: dict[str, Variable]

    @staticmethod
    def of(
        table: dict[str, np.ndarray], axes: dict[str, int], block: tuple[int, int], saves: int
    ) -> Layout:
        """Return the layout for tables like this one ``(B, saves, ...)``.

        ``saves`` is 0 where the Dataset has no dimension ``step``.
        """
        variables = {}
        for name, values in sorted(table.items()):
            per_cell = name == "status" or name in PER_CELL
            dims: tuple[str, ...] = ("step",) if saves and not per_cell else ()
            dims += (TRAILING[name],) if name in TRAILING else ()
            shape: tuple[int, ...] = (saves,) if saves and not per_cell else ()
            shape += (int(values.shape[-1]),) if name in TRAILING else ()
            variables[name] = Variable(str(values.dtype), dims, shape)
        return Layout(axes, block, variables)

    # ------------------------------------------------------------------ units
    @property
    def chunk(self) -> tuple[int, ...]:
        """Cells of a unit along all axes."""
        return (*self.block, *(1 for _ in range(len(self.axes) - 2)))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of units along all axes."""
        return tuple(-(-n // c) for n, c in zip(self.axes.values(), self.chunk, strict=True))

    @property
    def num_units(self) -> int:
        """Number of units; those of one combination of the extra axes follow each other."""
        return prod(self.counts)

    def place(self, unit: int) -> tuple[int, ...]:
        """Return where a unit lies among the chunks, along all axes."""
        order = (*self.counts[2:], *self.counts[:2])
        where = tuple(int(k) for k in np.unravel_index(unit, order))
        return (*where[-2:], *where[:-2])

    def region(self, unit: int) -> tuple[slice, ...]:
        """Return the cells of a unit along all axes."""
        sizes = zip(self.place(unit), self.chunk, self.axes.values(), strict=True)
        return tuple(slice(k * c, min((k + 1) * c, n)) for k, c, n in sizes)

    def size(self, unit: int) -> int:
        """Return the number of cells of a unit."""
        return prod(s.stop - s.start for s in self.region(unit))

    # ------------------------------------------------------------------ files
    def create(self, path: Path, coordinates: xarray.Dataset) -> None:
        """Write the group without a single cell: coordinates, and arrays of what is not there."""
        import zarr
        from zarr.codecs import BytesCodec, ZstdCodec

        write_dataset(path, coordinates)
        group = zarr.open_group(path, mode="r+", zarr_format=3)
        for name, variable in self.variables.items():
            dtype = np.dtype(variable.dtype)
            group.create_array(
                name,
                shape=(*self.axes.values(), *variable.shape),
                chunks=(*self.chunk, *variable.shape),
                dtype=dtype,
                fill_value=fill_of(dtype),
                serializer=BytesCodec(endian="little"),
                compressors=[ZstdCodec(level=LEVEL)],
                dimension_names=(*self.axes, *variable.dims),
                attributes=attributes(name) | ({"pending": PENDING} if name == "status" else {}),
            )

    def file(self, name: str, unit: int) -> Path:
        """Return the file of a chunk, relative to the group."""
        place = (*self.place(unit), *(0 for _ in self.variables[name].shape))
        return Path(name, "c", *map(str, place))

    def files(self, unit: int) -> Iterator[Path]:
        """Yield the files of a unit, relative to the group."""
        for name in self.variables:
            yield self.file(name, unit)

    def write(self, group: Path, unit: int, table: dict[str, np.ndarray]) -> list[Path]:
        """Write the cells ``(B, ...)`` of a unit; return its files."""
        inside = tuple(s.stop - s.start for s in self.region(unit))
        for name, variable in self.variables.items():
            dtype = np.dtype(variable.dtype)
            whole = np.full((*self.chunk, *variable.shape), fill_of(dtype), dtype)
            if name in table:
                values = table[name]
                if "step" not in variable.dims and name != "status" and name not in PER_CELL:
                    values = values[:, -1]
                values = values.reshape(*inside, *values.shape[1:])
                whole[tuple(slice(size) for size in values.shape)] = values
            path = group / self.file(name, unit)
            with atomic_file(path, is_durable=False) as temporary:
                temporary.write_bytes(_encode(whole))
        return [group / file for file in self.files(unit)]

    def read(self, group: Path, unit: int) -> dict[str, np.ndarray]:
        """Return the cells ``(B, saves, ...)`` of a unit that is stored."""
        import zarr

        arrays, region, table = zarr.open_group(group, mode="r"), self.region(unit), {}
        for name, variable in self.variables.items():
            array: Any = arrays[name]
            values = np.asarray(array[region])
            values = values.reshape(self.size(unit), *variable.shape)
            if "step" not in variable.dims and name != "status" and name not in PER_CELL:
                values = values[:, None]
            table[name] = values
        return table


def _encode(values: np.ndarray) -> bytes:
    """Return the bytes of a chunk that holds ``values``: those that Zarr itself would write."""
    from numcodecs import Zstd

    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    content: bytes = Zstd(level=LEVEL).encode(np.ascontiguousarray(little))
    return content
