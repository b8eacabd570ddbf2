"""Sweeps on a GPU: our kernels, the array API on CuPy and on torch, beside the CPU.

One interleaved run per shape; ratios are to the compiled engine on all cores of the same machine.
``make bench-gpu`` writes ``results/gpu.json``.
"""

import json
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import peers
import pytest
from bench_softmax import problem as softmax_problem
from bench_sweeps import NAMED
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, Problem, backend, provenance, sweep

pytestmark = pytest.mark.gpu
RESULTS = Path(__file__).parent / "results" / "gpu.json"
ROUNDS = 3
softmax = softmax_problem

Contestants = dict[str, Callable[[], object]]


@pytest.fixture(scope="module")
def device() -> str:
    """Return the device in words where it passed the probe."""
    try:
        return backend.probe_cupy()[1]
    except backend.Unavailable as fault:
        pytest.skip(str(fault))


@pytest.fixture(scope="module")
def table(device: str) -> Iterator[dict]:
    """Collect rows; written at the end, also when some row failed."""
    rows: dict[str, dict] = {}
    yield rows
    record = provenance.record({"rounds": ROUNDS, "shapes": NAMED}, device=device)
    RESULTS.write_text(json.dumps({"rows": rows, "provenance": record}, indent=1) + "\n")


def contestants(problem: Problem, rates: dict) -> Contestants:
    """Return the same sweep by every backend that is here."""

    def on_cpu() -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend, "probe_cupy", _absent)
            return sweep(problem, **rates, backend="auto")

    def without_kernels() -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warmflow.dynamics.sweeps.engines.run_kernels", lambda *_: None)
            return sweep(problem, **rates, backend="cupy")

    found: Contestants = {
        "cpu": on_cpu,
        "cupy": lambda: sweep(problem, **rates, backend="cupy"),
        "array API on cupy": without_kernels,
        "cupy float32": lambda: sweep(problem, **rates, backend="cupy", dtype="float32"),
    }
    if find_spec("torch") is not None:
        found["torch"] = lambda: sweep(problem, **rates, backend="torch")
    return found


def _absent() -> None:
    raise backend.Unavailable("left out on purpose")


def race(runs: Contestants) -> dict[str, float]:
    """Return the best seconds of each, one after the other in every round, compiled before."""
    ends = {name: run() for name, run in runs.items()}
    for name, end in ends.items():
        tolerance = 1e-2 if "32" in name else 1e-7
        assert_allclose(end.theta, ends["cpu"].theta, rtol=tolerance, atol=tolerance, err_msg=name)
    best = dict.fromkeys(runs, np.inf)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


@pytest.mark.parametrize("name", NAMED)
def test_least_squares(name: str, table: dict) -> None:
    q = peers.make(NAMED[name])
    problem = LeastSquares(q["X"], q["y"], q["X_val"], q["y_val"], ridge=q["lam"])
    rates = {"alpha": q["alpha"], "beta": q["beta"], "num_steps": q["steps"]}
    seconds = race(contestants(problem, {**rates, "theta0": q["theta"]}))
    table[name] = {"seconds": seconds, "ratio": seconds["cpu"] / seconds["cupy"]}


def test_softmax(softmax: Problem, table: dict) -> None:
    theta0 = softmax.initial_theta(np.full(2000, 1 / 2000))
    alpha = np.geomspace(0.1, 1.0, 4) / softmax.constants()[1]
    rates = {"alpha": alpha, "beta": np.geomspace(1e-4, 1e-1, 8), "num_steps": 20}
    seconds = race(contestants(softmax, {**rates, "theta0": theta0}))
    table["softmax"] = {"seconds": seconds, "ratio": seconds["cpu"] / seconds["cupy"]}
