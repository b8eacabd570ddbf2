"""Who computes a sweep: the seam behind ``sweep(..., backend=...)``, and the probes of devices.

Importing CuPy succeeds without a driver, and counting devices says nothing about whether kernels
compile. So a device counts as there only after it has solved a small system.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, util
from typing import Any

import numpy as np
from array_api_compat import is_cupy_namespace, is_numpy_namespace, is_torch_namespace

from . import checks
from .namespaces import library_name, to_numpy
from .problems import Problem

__all__ = [
    "BACKENDS",
    "Backend",
    "Unavailable",
    "free_bytes",
    "probe_cupy",
    "require_current_device",
    "resolve",
]

BACKENDS = ("auto", "numpy", "cupy", "torch")
FALLBACK = "use `backend='numpy'`"
CUPY = re.compile(r"cupy|cupy-(cuda|rocm)[\w-]*|amd-cupy")
"""Distributions that provide CuPy itself, other than packages that build on it."""
FIRST_CUDA = 12
"""Oldest CUDA that there is an extra for."""


@dataclass(frozen=True)
class Backend:
    """Who computes.

    Attributes
    ----------
    name : str
        ``"compiled"`` (kernels in Numba for what they suit, else what :mod:`.sweeps.engines`
        chooses), ``"numpy"`` (the plain reference), ``"cupy"``, ``"torch"``, or the library of a
        problem that lives elsewhere.
    module : module or None
        The array library to move the problem to; None where it is already at home.
    device : object
        The device to move the problem to, as its library spells it; None for its own.
    label : str
        The device in words.
    note : str
        Why ``"auto"`` took no GPU although CuPy is installed; else empty.
    """

    name: str
    module: Any = None
    device: Any = None
    label: str = "cpu"
    note: str = ""


class Unavailable(Exception):
    """A backend that cannot run here; the text says what is wrong and its cure."""


def resolve(backend: str, problem: Problem) -> Backend:
    """Return who computes for ``backend`` on this machine.

    ``"auto"`` leaves a problem where it is unless that is NumPy; then it takes a GPU if a probe of
    CuPy succeeds, else the compiled engine.

    Raises
    ------
    ValueError
        For an unknown name, or one that cannot run here, with its cure.
    """
    checks.choice("backend", backend, BACKENDS)
    require_current_device(problem)
    at_home = is_numpy_namespace(problem.xp)
    try:
        if backend == "auto":
            return _best_for_numpy() if at_home else _own(problem)
        if backend == "cupy":
            cupy, label = probe_cupy()
            is_own = is_cupy_namespace(problem.xp)
            return Backend("cupy", None if is_own else cupy, None, label)
        if backend == "torch":
            return _own(problem) if is_torch_namespace(problem.xp) else _torch()
    except Unavailable as fault:
        raise ValueError(f"`backend` {backend!r} is not available: {fault}.") from None
    return Backend("numpy", None if at_home else np)


def require_current_device(problem: Problem) -> None:
    """Refuse CuPy arrays on a device that is not the current one, where new arrays would go."""
    if not is_cupy_namespace(problem.xp):
        return
    import cupy

    current, own = cupy.cuda.Device().id, problem.device.id
    if own != current:
        raise ValueError(
            f"`problem` must be on the current CUDA device ({current}); got device {own} "
            f"(call `cupy.cuda.Device({own}).use()` before)."
        )


def free_bytes(problem: Problem) -> int | None:
    """Return the free memory of the device that holds a problem; None on a CPU."""
    if is_cupy_namespace(problem.xp):
        import cupy

        return int(cupy.cuda.Device().mem_info[0]) + cupy.get_default_memory_pool().free_bytes()
    if is_torch_namespace(problem.xp) and problem.device.type == "cuda":
        import torch

        where = problem.device
        cached = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
        return int(torch.cuda.mem_get_info(where)[0]) + cached
    return None


def _own(problem: Problem) -> Backend:
    """Return the library and device that a problem lives on."""
    return Backend(library_name(problem.xp), label=str(problem.device))


def _best_for_numpy() -> Backend:
    """Return CuPy if it is there and works, else the compiled engine and why."""
    if util.find_spec("cupy") is None:
        return Backend("compiled")
    try:
        cupy, label = probe_cupy()
    except Unavailable as fault:
        reason = str(fault).partition("; ")[0]
        return Backend("compiled", note=f"no GPU was taken: {reason}")
    return Backend("cupy", cupy, None, label)


def _torch() -> Backend:
    """Return torch on a CUDA device that works, else on the CPU."""
    if util.find_spec("torch") is None:
        raise Unavailable(
            f"torch is not installed; run `pip install 'warmflow[torch]'`, or {FALLBACK}"
        )
    import torch

    if torch.cuda.is_available():
        try:
            torch.linalg.solve(torch.eye(2, device="cuda"), torch.ones(2, device="cuda")).cpu()
            return Backend("torch", torch, "cuda", f"cuda ({torch.cuda.get_device_name()})")
        except RuntimeError as error:
            note = f"no GPU was taken: {_first_line(error)}"
            return Backend("torch", torch, "cpu", note=note)
    return Backend("torch", torch, "cpu")


def probe_cupy() -> tuple[Any, str]:
    """Return CuPy and its device in words, if the device can solve a system; asked once a process.

    Raises
    ------
    Unavailable
        With the first thing that is missing and its cure.
    """
    outcome = _probed()
    if isinstance(outcome, Unavailable):
        raise outcome
    return outcome


@lru_cache(maxsize=1)
def _probed() -> tuple[Any, str] | Unavailable:
    try:
        return _probe()
    except Unavailable as fault:
        return fault


def _probe() -> tuple[Any, str]:
    """Go through everything that can be missing, in order."""
    cupy = _import_cupy()
    runtime = cupy.cuda.runtime
    _check_driver(runtime)
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        count, fault = 0, _first_line(error)
    else:
        fault = "none is visible; see CUDA_VISIBLE_DEVICES"
    if not count:
        raise Unavailable(f"no CUDA device found ({fault}); {FALLBACK}")
    try:
        _solve_something(cupy)
    except Unavailable:
        raise
    except Exception as error:
        raise _explain(error) from None
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    return cupy, f"cuda:{cupy.cuda.Device().id} ({properties['name'].decode()})"


def _import_cupy() -> Any:
    """Return CuPy, or say which package is missing, doubled or broken."""
    found = _distributions()
    if len(found) > 1:
        raise Unavailable(
            f"{' and '.join(found)} are installed together; uninstall all of them, then run "
            f"`pip install 'warmflow[cuda12]'` or 'warmflow[cuda13]', or {FALLBACK}"
        )
    if util.find_spec("cupy") is None:
        raise Unavailable(
            "CuPy is not installed; run `pip install 'warmflow[cuda12]'` (or 'warmflow[cuda13]' "
            f"for a driver of CUDA 13), or {FALLBACK}"
        )
    try:
        return importlib.import_module("cupy")
    except Exception as error:
        raise Unavailable(
            f"CuPy cannot be imported ({_first_line(error)}); reinstall it with `pip install "
            f"--force-reinstall 'warmflow[cuda12]'` (or 'warmflow[cuda13]'), or {FALLBACK}"
        ) from None


def _check_driver(runtime: Any) -> None:
    """Refuse a missing driver, and one that is older than the CUDA of the installed CuPy."""
    try:
        driver = runtime.driverGetVersion()
    except Exception:
        driver = 0
    if not driver:
        raise Unavailable(f"no CUDA driver found; install NVIDIA's driver, or {FALLBACK}")
    built = runtime.runtimeGetVersion()
    if driver // 1000 >= built // 1000:
        return
    fault = f"the driver speaks CUDA {_dotted(driver)} and CuPy was built for {_dotted(built)}"
    if driver // 1000 < FIRST_CUDA:
        raise Unavailable(f"{fault}; update the driver, or {FALLBACK}")
    raise Unavailable(
        f"{fault}; uninstall {' '.join(_distributions()) or 'cupy'} and run `pip install "
        f"'warmflow[cuda{driver // 1000}]'`, update the driver, or {FALLBACK}"
    )


def _solve_something(cupy: Any) -> None:
    """Let the device compile kernels, multiply and solve 2x2 systems; compare with the answer."""
    H = cupy.asarray(np.array([[[2.0, 1.0], [1.0, 3.0]]] * 2))
    x = cupy.linalg.solve(H, cupy.exp(cupy.zeros((2, 2, 1))))
    if not np.allclose(to_numpy(H @ x), 1.0):
        raise Unavailable(f"the CUDA device computes wrong results; {FALLBACK}")


def _explain(error: Exception) -> Unavailable:
    """Return the cure for a device that could not solve a system."""
    text = f"{type(error).__name__}: {error}".lower()
    missing = ("nvrtc", "headers", ".h", "cannot open shared object", "compileexception")
    if any(sign in text for sign in missing):
        package = (_distributions() or ["cupy-cuda12x"])[0]
        return Unavailable(
            f"the CUDA device cannot compile kernels ({_first_line(error)}); run `pip install "
            f"'{package}[ctk]'`, or {FALLBACK}"
        )
    return Unavailable(f"the CUDA device failed its probe ({_first_line(error)}); {FALLBACK}")


def _distributions() -> list[str]:
    """Return the installed packages that provide CuPy, by name."""
    names = {str(part.metadata["Name"]).lower() for part in metadata.distributions()}
    return sorted(name for name in names if CUPY.fullmatch(name))


def _first_line(error: Exception) -> str:
    """Return the first telling line of an error."""
    lines = [line.strip(" =") for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__).rstrip(".")


def _dotted(version: int) -> str:
    """Return 12040 as 12.4."""
    return f"{version // 1000}.{version % 1000 // 10}"
