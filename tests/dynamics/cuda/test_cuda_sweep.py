"""``sweep(..., backend="cupy")`` as a whole, with the emulator in the place of a GPU."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from warmflow.dynamics import backend, sweep, weights
from warmflow.dynamics.sweeps import engines

from ..cases import softmax, two_clusters
from .emulator import Emulator, needs_compiler
from .recorder import Recorder
from .runs import plan_of

pytestmark = needs_compiler
RATES = {"alpha": [0.02, 0.1, 30.0], "beta": [0.01, 0.1], "num_steps": 40, "save_steps": [0, 7, 40]}


@pytest.fixture
def gpu(folder: Path, monkeypatch) -> Recorder:
    """Put the emulator where the probe finds a device."""
    recorder = Recorder(Emulator(folder))
    monkeypatch.setattr(
        "warmflow.dynamics.backend.probe_cupy", lambda: (recorder, "cuda:0 (emulator)")
    )
    monkeypatch.setattr("warmflow.dynamics.sweeps.engines.probe_cupy", backend.probe_cupy)
    return recorder


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n, p", [(60, 2), (5, 4), (9000, 3)])
def test_the_dataset_is_that_of_the_reference(gpu: Recorder, n: int, p: int, dtype: str) -> None:
    q = two_clusters(n, p, ridge=0.1)
    rates = RATES if n < 1000 else {**RATES, "num_steps": 3, "save_steps": [0, 3]}
    options = {**rates, "dtype": dtype, "keep_weights": True}
    expected, got = (sweep(q, **options, backend=name) for name in ("numpy", "cupy"))
    assert set(got) == set(expected)
    assert got.sizes == expected.sizes
    assert_array_equal(got.status, expected.status)
    assert_array_equal(got.last_step, expected.last_step)
    ok = (expected.status == 0).values
    tolerance = 1e-9 if dtype == "float64" else 1e-3
    for variable in set(expected) - {"status", "last_step"}:
        ours, theirs = got[variable].values[ok], expected[variable].values[ok]
        scale = np.abs(theirs).max()
        assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=variable)
        assert got[variable].dtype == expected[variable].dtype, variable
    record = json.loads(got.attrs["provenance"])
    assert record["engine"] in (
        "cuda march on cuda:0 (emulator)",
        "cuda slices on cuda:0 (emulator)",
    )
    assert record["device"] == "cuda:0 (emulator)"
    assert any(call.path == "RawModule" for call in gpu.calls)


def test_weights_are_rebuilt_from_what_the_kernels_stored(gpu: Recorder) -> None:
    q = two_clusters()
    kept = sweep(q, **RATES, backend="cupy", keep_weights=True)
    lean = sweep(q, **RATES, backend="cupy")
    assert_allclose(weights(lean, q, alpha=0.1, beta=0.1), kept.w[1, 1], rtol=1e-9)


def test_what_the_kernels_do_not_take_is_left_to_the_array_api(gpu: Recorder) -> None:
    plan = plan_of(two_clusters(), [0.1], [0.1], 2)
    for q in (softmax(), two_clusters(ridge=0.0), two_clusters(n=100, p=9)):
        work = engines.Work(q, plan, False, (1e-3,), None)
        assert engines.run_kernels(work, backend.Backend("cupy", gpu)) is None
    assert not gpu.calls
