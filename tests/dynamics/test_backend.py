"""Who computes: every way in which a GPU can be missing has its own cure, and ``auto`` says."""

import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, backend, methods, run_method, sweep

from .cases import softmax, two_clusters
from .devices import FAKE_GPU, needs_torch


class HostArray(np.ndarray):
    """What the stand-in computes with: NumPy, read like CuPy."""

    def get(self) -> np.ndarray:
        return np.asarray(self)


def on_stand_in(values) -> HostArray:
    return np.array(values).view(HostArray)


class RuntimeFault(RuntimeError):
    """As CuPy's CUDARuntimeError."""


def stand_in(driver: int = 12040, built: int = 12090, count: int = 1, **broken) -> ModuleType:
    """Return a module that answers as CuPy does; ``broken`` replaces some of its functions."""
    cupy = ModuleType("cupy")
    cupy.__spec__ = ModuleSpec("cupy", None)

    def counted() -> int:
        if count < 0:
            raise RuntimeFault("cudaErrorNoDevice: no CUDA-capable device is detected")
        return count

    runtime = SimpleNamespace(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: built,
        getDeviceCount=counted,
        getDeviceProperties=lambda k: {"name": b"Stand-in 9000"},
    )
    cupy.cuda = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(id=0))
    cupy.asarray, cupy.zeros = on_stand_in, lambda shape: on_stand_in(np.zeros(shape))
    cupy.exp, cupy.ndarray, cupy.generic = np.exp, HostArray, HostArray
    cupy.linalg = SimpleNamespace(solve=lambda H, b: np.linalg.solve(H, b).view(HostArray))
    for name, function in broken.items():
        holder = cupy.linalg if name == "solve" else cupy
        setattr(holder, name, function)
    return cupy


def fails(error: Exception) -> Callable[..., object]:
    def function(*_: object, **__: object) -> object:
        raise error

    return function


def without_cupy(name: str) -> ModuleSpec | None:
    return None if name == "cupy" else find_spec(name)


@pytest.fixture
def install(monkeypatch):
    """Return a function that puts a stand-in (or its absence) and distributions in place."""

    def put(module: ModuleType | None, packages: tuple[str, ...] = ("cupy-cuda12x",)) -> None:
        if module is None:
            monkeypatch.delitem(sys.modules, "cupy", raising=False)
            monkeypatch.setattr(backend, "util", SimpleNamespace(find_spec=without_cupy))
        else:
            monkeypatch.setitem(sys.modules, "cupy", module)
            monkeypatch.setattr(backend, "util", SimpleNamespace(find_spec=find_spec))
        monkeypatch.setattr(backend, "_distributions", lambda: sorted(packages))
        backend._probed.cache_clear()

    yield put
    backend._probed.cache_clear()


NVRTC = RuntimeError("CuPy failed to load libnvrtc.so.12: OSError: cannot open shared object file")
HEADERS = RuntimeError("\n====\nFailed to find CUDA headers.\nPlease install them.")
FAULTS = {
    "no CuPy": (None, (), r"CuPy is not installed; run `pip install 'warmflow\[cuda12\]'`"),
    "two CuPys": (
        stand_in(),
        ("cupy-cuda13x", "cupy-cuda12x"),
        r"cupy-cuda12x and cupy-cuda13x are installed together; uninstall",
    ),
    "no driver": (stand_in(driver=0), None, r"no CUDA driver found; install NVIDIA's driver"),
    "no device": (
        stand_in(count=-1),
        None,
        r"no CUDA device found \(cudaErrorNoDevice: no CUDA-capable device is detected\)",
    ),
    "hidden device": (stand_in(count=0), None, r"no CUDA device found .*CUDA_VISIBLE_DEVICES"),
    "wrong extra": (
        stand_in(driver=12040, built=13000),
        ("cupy-cuda13x",),
        r"speaks CUDA 12\.4 and CuPy was built for 13\.0; uninstall cupy-cuda13x and run "
        r"`pip install 'warmflow\[cuda12\]'`",
    ),
    "very old driver": (
        stand_in(driver=11080),
        None,
        r"speaks CUDA 11\.8 .* 12\.9; update the driver",
    ),
    "no NVRTC": (
        stand_in(exp=fails(NVRTC)),
        None,
        r"cannot compile kernels \(CuPy failed to load libnvrtc.*'cupy-cuda12x\[ctk\]'",
    ),
    "no headers": (stand_in(exp=fails(HEADERS)), None, r"\(Failed to find CUDA headers\).*\[ctk\]"),
    "other failure": (
        stand_in(solve=fails(RuntimeFault("out of memory"))),
        None,
        r"failed its probe \(out of memory\)",
    ),
    "wrong results": (
        stand_in(solve=lambda H, b: on_stand_in(np.zeros(b.shape))),
        None,
        r"computes wrong results",
    ),
}


@pytest.mark.parametrize("module, packages, cure", FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_has_its_own_cure_in_one_line(install, module, packages, cure: str) -> None:
    install(module, ("cupy-cuda12x",) if packages is None else packages)
    pattern = rf"^`backend` 'cupy' is not available: .*{cure}.*`backend='numpy'`\.$"
    with pytest.raises(ValueError, match=pattern) as caught:
        sweep(two_clusters(), alpha=[0.1], beta=[0.1], backend="cupy")
    assert "\n" not in str(caught.value)


def test_only_cupy_itself_counts_as_cupy(monkeypatch) -> None:
    installed = ["numpy", "CuPy-cuda12x", "cupy-xarray", "cupy-stubs", "cupy", "cupy-rocm-5-0"]
    parts = [SimpleNamespace(metadata={"Name": name}) for name in installed]
    monkeypatch.setattr(backend.metadata, "distributions", lambda: parts)
    assert backend._distributions() == ["cupy", "cupy-cuda12x", "cupy-rocm-5-0"]


def test_a_broken_import_is_told(install, monkeypatch) -> None:
    install(stand_in())
    broken = fails(ImportError("\n=====\nCuPy is not correctly installed.\nOriginal error: ..."))
    monkeypatch.setattr(backend.importlib, "import_module", broken)
    with pytest.raises(ValueError, match=r"imported \(CuPy is not correctly installed\); reinst"):
        sweep(two_clusters(), alpha=[0.1], beta=[0.1], backend="cupy")


def engine_of(ds) -> str:
    return json.loads(ds.attrs["provenance"])["engine"]


def test_auto_stays_on_the_cpu_and_says_why(install) -> None:
    install(None, ())
    assert engine_of(sweep(two_clusters(), alpha=[0.1], beta=[0.1], num_steps=2)) == (
        "compiled on cpu"
    )
    install(stand_in(driver=0))
    said = engine_of(sweep(two_clusters(), alpha=[0.1], beta=[0.1], num_steps=2))
    assert said.startswith("compiled on cpu; no GPU was taken: no CUDA driver found")


def test_auto_takes_a_gpu_that_passed_the_probe_and_asks_once(install) -> None:
    calls = []
    works = stand_in()
    original = works.linalg.solve
    works.linalg.solve = lambda *system: calls.append(1) or original(*system)
    install(works)
    for name in ("auto", "cupy", "auto"):
        chosen = backend.resolve(name, two_clusters())
        assert (chosen.name, chosen.module) == ("cupy", works)
        assert chosen.label == "cuda:0 (Stand-in 9000)"
    assert len(calls) == 1
    assert backend.resolve("numpy", two_clusters()).name == "numpy"


@pytest.mark.parametrize("name", ["auto", "cupy"])
def test_a_sweep_runs_where_the_probe_succeeded(monkeypatch, name: str) -> None:
    """The whole path, with the fake device in the place of a GPU."""
    gpu = ModuleType("gpu")
    gpu.asarray = lambda *a, **k: array_api_strict.asarray(*a, **(k | {"device": FAKE_GPU}))
    gpu.zeros = array_api_strict.zeros
    monkeypatch.setattr(backend, "probe_cupy", lambda: (gpu, "cuda:0 (stand-in)"))
    monkeypatch.setattr(backend.util, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(
        "warmflow.dynamics.problems.base.resolve_namespace", lambda xp: array_api_strict
    )
    q = softmax()
    rates = {"alpha": [0.1], "beta": [0.05], "num_steps": 10, "keep_weights": True}
    moved = []
    original = type(q).to
    monkeypatch.setattr(
        type(q), "to", lambda self, **k: moved.append(k.get("xp")) or original(self, **k)
    )
    ds = sweep(q, **rates, backend=name)
    assert gpu in moved
    assert engine_of(ds) == "cupy on cuda:0 (stand-in)"
    assert json.loads(ds.attrs["provenance"])["device"] == "cuda:0 (stand-in)"
    monkeypatch.undo()
    assert_allclose(ds.w, sweep(q, **rates, backend="numpy").w, rtol=1e-9)


def test_torch_that_is_missing_names_its_extra(monkeypatch) -> None:
    monkeypatch.setattr(backend.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"torch is not installed; .*'warmflow\[torch\]'"):
        sweep(two_clusters(), alpha=[0.1], beta=[0.1], backend="torch")


@needs_torch
def test_torch_takes_a_device_that_works_else_the_cpu(monkeypatch) -> None:
    import torch

    q: LeastSquares = two_clusters()
    assert backend.resolve("torch", q).device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "eye", fails(RuntimeError("CUDA error: no kernel image\nmore")))
    chosen = backend.resolve("torch", q)
    assert chosen.device == "cpu"
    assert chosen.note == "no GPU was taken: CUDA error: no kernel image"
    monkeypatch.setattr(torch, "eye", lambda n, device: torch.ones(n, n))
    monkeypatch.setattr(torch, "ones", lambda n, device=None: torch.zeros(n))
    monkeypatch.setattr(torch.linalg, "solve", lambda H, b: b)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Stand-in 9000")
    assert backend.resolve("torch", q).label == "cuda (Stand-in 9000)"


def test_a_cupy_problem_must_be_on_the_current_device(install, monkeypatch) -> None:
    install(stand_in())
    q = two_clusters()
    monkeypatch.setattr(backend, "is_cupy_namespace", lambda xp: True)
    monkeypatch.setattr(type(q), "device", SimpleNamespace(id=1))
    pattern = (
        r"`problem` must be on the current CUDA device \(0\); got device 1 \(call `cupy.cuda.D"
    )
    for call in (
        lambda: sweep(q, alpha=[0.1], beta=[0.1]),
        lambda: run_method(q, methods.Joint(), 2),
    ):
        with pytest.raises(ValueError, match=pattern):
            call()
