"""What CupyDevice asks of CuPy: every call of a whole sweep, bound to the real signatures."""

import numpy as np
import pytest

from warmflow.dynamics.sweeps.cuda import CupyDevice

from ..cases import two_clusters
from .emulator import Emulator, needs_compiler
from .recorder import Call, Recorder, _parse, bind
from .runs import SLICES, WARP, assert_same, run

RATES = {"alpha": [0.1], "beta": [0.1, 1.0], "num_steps": 4, "save_steps": (0, 4)}


@pytest.fixture
def recorder(folder) -> Recorder:
    return Recorder(Emulator(folder))


@needs_compiler
@pytest.mark.parametrize("choice", [WARP, SLICES, None], ids=["warp", "slices", "chosen"])
def test_a_sweep_by_way_of_cupy_is_the_sweep(choice, recorder, folder) -> None:
    ours = run(CupyDevice(recorder), two_clusters(70), **RATES, choice=choice)
    assert_same(run(Emulator(folder), two_clusters(70), **RATES, choice=choice), ours)


@needs_compiler
def test_every_call_fits_the_real_cupy(recorder) -> None:
    cupy = pytest.importorskip("cupy", reason="the CUDA extra is not installed")
    for choice in (WARP, SLICES, None):
        run(CupyDevice(recorder), two_clusters(70), **RATES, choice=choice)
    paths = {call.path for call in recorder.calls}
    assert {"RawModule", "RawKernel.__call__", "cuda.Device.attributes", "asnumpy"} <= paths
    for call in recorder.calls:
        bind(cupy, call)


@needs_compiler
def test_nothing_comes_back_between_saved_steps(recorder) -> None:
    """A handful of copies a saved step, however many launches lie between."""
    run(CupyDevice(recorder), two_clusters(70), [0.1], [1.0], 200, choice=SLICES)
    order = [call.path for call in recorder.calls]
    marching = [k for k, call in enumerate(recorder.calls) if _name(call) == "finish_step"]
    assert len(marching) == 200
    between = order[marching[0] : marching[-1]]
    assert "asnumpy" not in between
    assert between.count("cuda.Stream.synchronize") <= 20


def _name(call: Call) -> str:
    return call.args[0].name if call.path == "RawKernel.__call__" else ""


PLANTED = [
    Call("as_array", (1,)),
    Call("asarray", (1,), {"device": "gpu"}),
    Call("RawModule", (), {"source": ""}),
    Call("RawModule.get_function", ("self",)),
    Call("RawKernel.__call__", ("self", (1,), (32,))),
    Call("cuda.Device.memory_info"),
    Call("cuda.Stream.synchronise", ("self",)),
    Call("cuda.MemoryPool.free_bytes", ("self", 1)),
    Call("get_default_memory_pool", (0,)),
]


@pytest.mark.parametrize("call", PLANTED, ids=lambda call: call.path)
def test_a_wrong_call_is_found(call: Call) -> None:
    cupy = pytest.importorskip("cupy", reason="the CUDA extra is not installed")
    with pytest.raises((AttributeError, TypeError)):
        bind(cupy, call)


def test_signatures_of_compiled_functions_are_read_from_their_docstrings() -> None:
    line = "RawModule(str code=None, *, tuple options=(), bool jitify=False) -> int"
    assert str(_parse(line)) == "(code=None, *, options=None, jitify=None)"
    assert str(_parse("Pool.free(self)")) == "(self)"
    assert str(_parse("f()")) == "()"


def test_arrays_of_the_stand_in_are_of_no_use_on_the_host(folder) -> None:
    values = Recorder(Emulator(folder)).asarray(np.ones(3))
    with pytest.raises(TypeError, match="arithmetic on a device array"):
        values + 1
