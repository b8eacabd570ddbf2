"""A device made of fibers: the kernels compiled as C++, behind the protocol of the engine."""

import ctypes
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from warmflow.dynamics.sweeps.cuda.source import WARP

COMPILER = shutil.which("g++") if sys.platform == "linux" else None
FIBERS = Path(__file__).with_name("fibers.cpp")
VERDICTS = {1: "deadlock", 2: "bad shuffle", 3: "no kernel", 4: "too long"}
needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason="no g++ on Linux to compile the kernels with"
)


class KernelError(RuntimeError):
    """A kernel did what no kernel may do."""


def build(folder: Path, source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """Return the kernels as a library, compiled once per source and options."""
    macros = [option for option in options if option.startswith("-D")]
    name = hashlib.sha256("\0".join([source, *macros]).encode()).hexdigest()[:16]
    library, kernels = folder / f"{name}.so", folder / f"{name}.inc"
    if not library.exists():
        kernels.write_text(source, encoding="utf-8")
        flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE"]
        flags += ["-Wno-unknown-pragmas", f'-DKERNELS="{kernels}"', *macros]
        command = [COMPILER, *flags, str(FIBERS), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise KernelError(done.stderr)
    return ctypes.CDLL(str(library))


class Emulator:
    """Arrays are NumPy arrays that lie apart; blocks run one by one, forwards or backwards."""

    def __init__(
        self,
        folder: Path,
        *,
        backwards: bool = False,
        free_bytes: int = 2**30,
        num_multiprocessors: int = 4,
        patch=lambda source: source,
        limit: int = 10**9,
    ) -> None:
        self.folder = folder
        self.backwards = backwards
        self.free_bytes = free_bytes
        self.num_multiprocessors = num_multiprocessors
        self.patch = patch
        self.limit = limit
        self.launches: list[tuple[str, tuple[int, int], int]] = []

    def put(self, values: np.ndarray) -> np.ndarray:
        return np.array(values, order="C")

    def empty(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        out = np.empty(shape, dtype)
        out.view(np.uint8).fill(0xFF)  # NaN, or -1
        return out

    def get(self, values: np.ndarray) -> np.ndarray:
        return values.copy()

    def synchronize(self) -> None:
        pass

    def launch(self, kernel, grid, threads, arguments, source, options) -> None:
        assert threads % WARP == 0
        self.launches.append((kernel, grid, threads))
        library = build(self.folder, self.patch(source), options)
        held = [_argument(value) for value in arguments]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(item) for item in held))
        place = (*grid, threads, int(self.backwards), ctypes.c_longlong(self.limit))
        verdict = library.launch(kernel.encode(), *place, len(held), pointers)
        if verdict != 0:
            raise KernelError(f"{kernel}: {VERDICTS[verdict]}")


def _argument(value):
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    kinds = {np.int32: ctypes.c_int, np.int64: ctypes.c_longlong}
    return kinds[type(value)](int(value))
