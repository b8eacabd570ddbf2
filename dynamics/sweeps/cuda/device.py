"""What the engine asks of a device, and how CuPy answers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ...types import Array

__all__ = ["CupyDevice", "Device"]


class Device(Protocol):
    """Memory and launches. Arrays of a device are handles that only the device understands."""

    def put(self, values: Array) -> Any:
        """Return a copy of a NumPy array on the device, in C order."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return memory that holds anything."""
        ...

    def get(self, values: Any) -> np.ndarray:
        """Return a copy in NumPy, once all launches are done."""
        ...

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        arguments: tuple[Any, ...],
        source: str,
        options: tuple[str, ...],
    ) -> None:
        """Start a kernel of the source; scalars among its arguments are NumPy scalars."""
        ...

    def synchronize(self) -> None:
        """Wait until all launches are done."""
        ...

    @property
    def free_bytes(self) -> int:
        """Memory that could be had."""
        ...

    @property
    def num_multiprocessors(self) -> int:
        """Blocks that run side by side, at the least."""
        ...


class CupyDevice:
    """The current device of CuPy, on its current stream.

    Parameters
    ----------
    cupy : module
        The caller imports it: a process that never asks for a GPU never loads it.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._kernels: dict[tuple[Any, ...], Any] = {}

    def put(self, values: Array) -> Any:
        return self._cupy.asarray(np.ascontiguousarray(values))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._cupy.empty(shape, dtype=dtype)

    def get(self, values: Any) -> np.ndarray:
        return self._cupy.asnumpy(values)

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        arguments: tuple[Any, ...],
        source: str,
        options: tuple[str, ...],
    ) -> None:
        device = self._cupy.cuda.Device().id
        key = (device, kernel, options, source)
        if key not in self._kernels:
            module = self._cupy.RawModule(code=source, options=options, backend="nvrtc")
            self._kernels[key] = module.get_function(kernel)
        self._kernels[key](grid, (threads,), arguments)

    def synchronize(self) -> None:
        self._cupy.cuda.get_current_stream().synchronize()

    @property
    def free_bytes(self) -> int:
        free, _ = self._cupy.cuda.Device().mem_info
        return int(free) + int(self._cupy.get_default_memory_pool().free_bytes())

    @property
    def num_multiprocessors(self) -> int:
        return int(self._cupy.cuda.Device().attributes["MultiProcessorCount"])
