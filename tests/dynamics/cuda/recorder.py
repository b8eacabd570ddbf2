"""A stand-in for the module cupy: does the work on the emulator and writes down every call.

Each call that was written down can be bound to the real CuPy: the name is looked up there, and the
arguments are bound to the signature that ``inspect`` or, for compiled functions, the first line of
the docstring gives.
"""

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .emulator import Emulator


@dataclass(frozen=True)
class Call:
    """A function, by its path in cupy (a class stands for its instances), and what it was given."""

    path: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


class FakeArray(np.ndarray):
    """An array of the device: no use on the host."""

    def __array_ufunc__(self, *_, **__):
        raise TypeError("arithmetic on a device array")


class Recorder:
    """Answers as a path of cupy would: attributes lead on, calls are written down and done."""

    def __init__(self, emulator: Emulator) -> None:
        self.calls: list[Call] = []
        self.emulator = emulator
        self.asarray = self._noted("asarray", lambda values: emulator.put(values).view(FakeArray))
        self.empty = self._noted(
            "empty", lambda shape, dtype: emulator.empty(shape, dtype).view(FakeArray)
        )
        self.asnumpy = self._noted("asnumpy", lambda values: np.array(values.view(np.ndarray)))
        self.RawModule = self._noted("RawModule", lambda **given: _Module(self, **given))
        self.get_default_memory_pool = self._noted("get_default_memory_pool", lambda: _Pool(self))
        self.cuda = _Cuda(self)

    def _noted(self, path: str, work):
        def called(*args, **kwargs):
            self.calls.append(Call(path, args, kwargs))
            return work(*args, **kwargs)

        return called

    def note(self, path: str, *args, **kwargs) -> None:
        self.calls.append(Call(path, args, kwargs))


class _Cuda:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def Device(self, *args, **kwargs):
        self.recorder.note("cuda.Device", *args, **kwargs)
        return _Device(self.recorder)

    def get_current_stream(self, *args, **kwargs):
        self.recorder.note("cuda.get_current_stream", *args, **kwargs)
        return _Stream(self.recorder)


@dataclass
class _Device:
    recorder: Recorder

    @property
    def id(self) -> int:
        self.recorder.note("cuda.Device.id")
        return 0

    @property
    def mem_info(self) -> tuple[int, int]:
        self.recorder.note("cuda.Device.mem_info")
        return self.recorder.emulator.free_bytes, 2**40

    @property
    def attributes(self) -> dict[str, int]:
        self.recorder.note("cuda.Device.attributes")
        return {"MultiProcessorCount": self.recorder.emulator.num_multiprocessors}


@dataclass
class _Stream:
    recorder: Recorder

    def synchronize(self, *args, **kwargs) -> None:
        self.recorder.note("cuda.Stream.synchronize", self, *args, **kwargs)


@dataclass
class _Pool:
    recorder: Recorder

    def free_bytes(self, *args, **kwargs) -> int:
        self.recorder.note("cuda.MemoryPool.free_bytes", self, *args, **kwargs)
        return 0


class _Module:
    def __init__(self, recorder: Recorder, code: str, options: tuple[str, ...], backend: str):
        self.recorder, self.code, self.options = recorder, code, options

    def get_function(self, *args, **kwargs):
        self.recorder.note("RawModule.get_function", self, *args, **kwargs)
        return _Kernel(self, *args, **kwargs)


@dataclass
class _Kernel:
    module: _Module
    name: str

    def __call__(self, *args, **kwargs) -> None:
        self.module.recorder.note("RawKernel.__call__", self, *args, **kwargs)
        self._run(*args)

    def _run(self, grid, block, arguments) -> None:
        assert len(grid) == 2
        assert len(block) == 1
        assert all(isinstance(value, (FakeArray, np.generic)) for value in arguments)
        given = [v.view(np.ndarray) if isinstance(v, FakeArray) else v for v in arguments]
        source, options = self.module.code, self.module.options
        self.module.recorder.emulator.launch(self.name, grid, *block, given, source, options)


def bind(cupy, call: Call) -> None:
    """Raise AttributeError or TypeError where the real CuPy would."""
    target: Any = cupy
    for name in call.path.split("."):
        target = getattr(target, name)
    if not callable(target):
        assert not call.args
        assert not call.kwargs
        return
    _signature(target).bind(*call.args, **call.kwargs)


def _signature(function) -> inspect.Signature:
    """Return the signature; that of compiled functions from their docstrings."""
    try:
        found = inspect.signature(function)
    except ValueError:
        found = None
    generic = found is not None and {str(p) for p in found.parameters.values()} >= {"**kwargs"}
    if found is not None and not generic:
        return found
    first = (function.__doc__ or "").lstrip().splitlines()[0]
    return _parse(first)


def _parse(line: str) -> inspect.Signature:
    """Return the signature that a line such as ``f(self, str code=None, *, int n) -> T`` gives."""
    inside = re.fullmatch(r"[\w.]+\((.*)\)(?: -> .*)?", line).group(1)  # type: ignore[union-attr]
    names = []
    for part in re.split(r",\s*(?![^()]*\))", inside) if inside else []:
        name, equals, _ = part.partition("=")
        names.append(name.split()[-1] + ("=None" if equals else ""))
    space: dict[str, Any] = {}
    exec(f"def f({', '.join(names)}): pass", space)
    return inspect.signature(space["f"])
