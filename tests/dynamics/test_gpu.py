"""On a CUDA device: everything that elsewhere is proven in pieces, against the reference."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from warmflow.dynamics import MultiProblem, backend, methods, run_method, sweep, weights

from .cases import least_squares, softmax, two_clusters
from .plain_loop import compare_ends

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cupy():
    """Return CuPy where a device passed the probe."""
    try:
        return backend.probe_cupy()[0]
    except backend.Unavailable as fault:
        pytest.skip(str(fault))


@pytest.mark.parametrize(
    "n, p, ridge", [(60, 1, 1e-2), (203, 2, 1e-3), (50, 3, 1e-4), (90, 17, 0.1)]
)
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "array API"])
def test_every_cell_equals_the_plain_loop(cupy, monkeypatch, n, p, ridge, kernels) -> None:
    if not kernels:
        monkeypatch.setattr("warmflow.dynamics.sweeps.cuda.suits", lambda problem: False)
    q = two_clusters(n, p, 20, ridge=ridge)
    alpha, beta = np.geomspace(0.02, 3.0, 4) / q.constants()[1], np.geomspace(1e-3, 10.0, 6)
    rates = {"alpha": alpha, "beta": beta, "num_steps": 200, "keep_weights": True}
    ds = sweep(q, **rates, backend="cupy")
    assert compare_ends(ds, q, alpha, beta, 200) >= 8


PROBLEMS = {
    "least squares": two_clusters(),
    "many samples": two_clusters(n=40_000, p=5),
    "wide": least_squares(n=5, p=8, ridge=0.3),
    "no ridge": two_clusters(ridge=0.0),
    "no rank": least_squares(n=4, p=6, ridge=0.0),
    "p = 300": two_clusters(n=40, p=300, ridge=1.0),
    "softmax": softmax(),
    "softmax by conjugate gradients": softmax(n=40, f=25, C=3, m=30, ridge=1e-2),
    "multi": MultiProblem([least_squares(n=14, p=2, m=6, seed=3), softmax(n=14)]),
}
RATES = {"alpha": [0.02, 0.1], "beta": [0.01, 0.1], "num_steps": 12, "save_steps": [0, 5, 12]}


@pytest.mark.parametrize("q", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_every_variable_equals_the_reference(cupy, q) -> None:
    expected = sweep(q, **RATES, keep_weights=True, backend="numpy")
    for got in (
        sweep(q, **RATES, keep_weights=True, backend="cupy"),
        sweep(q.to(xp=cupy), **RATES, keep_weights=True),
    ):
        assert set(got) == set(expected)
        for variable in set(expected) - ({"U"} if q.ridge == 0 else set()):
            atol = 1e-9 if variable == "outer_loss" else 1e-11
            assert_allclose(
                got[variable], expected[variable], rtol=1e-8, atol=atol, err_msg=variable
            )
        assert "cuda" in json.loads(got.attrs["provenance"])["engine"].lower()


def test_cells_that_fail_are_those_of_the_reference(cupy) -> None:
    for q in (two_clusters(), softmax()):
        rates = {"alpha": [0.1, 30.0, 1e200], "beta": [0.1, 1e200], "num_steps": 100}
        ours, theirs = sweep(q, **rates, backend="cupy"), sweep(q, **rates, backend="numpy")
        assert_array_equal(ours.status, theirs.status)
        assert_array_equal(ours.last_step, theirs.last_step)


def test_float32_is_near_double_precision(cupy) -> None:
    q = two_clusters()
    single = sweep(q, **RATES, keep_weights=True, backend="cupy", dtype="float32")
    double = sweep(q, **RATES, keep_weights=True, backend="numpy")
    assert single.w.dtype == np.float32
    assert_allclose(single.w, double.w, rtol=1e-3)


def test_weights_are_rebuilt(cupy) -> None:
    q = two_clusters()
    kept = sweep(q, **RATES, keep_weights=True, backend="cupy")
    lean = sweep(q, **RATES, backend="cupy")
    found = weights(lean, q, alpha=0.1, beta=0.1)
    assert_allclose(found, kept.w[1, 1], rtol=1e-9)


@pytest.mark.parametrize("make", [least_squares, softmax])
def test_oracles_and_methods_equal_numpy(cupy, make) -> None:
    q = make()
    moved, rng = q.to(xp=cupy), np.random.default_rng(0)
    theta, w = rng.normal(size=(4, 1, q.num_params)), rng.dirichlet(np.ones(q.num_samples), 5)
    for name in ("train_grad", "hypergradient"):
        got = getattr(moved, name)(cupy.asarray(theta), cupy.asarray(w))
        assert isinstance(got, cupy.ndarray)
        assert_allclose(got.get(), getattr(q, name)(theta, w), rtol=1e-9, atol=1e-12)
    assert_allclose(moved.theta_star(cupy.asarray(w)).get(), q.theta_star(w), rtol=1e-8, atol=1e-10)
    for method in (methods.Joint(eta=0.2), methods.Exact(eta=0.2), methods.SOBA(batch_size=5)):
        ours, theirs = (
            run_method(problem, method, 15, theta0=theta, num_saved=4) for problem in (moved, q)
        )
        assert_allclose(ours.w, theirs.w, rtol=1e-7, atol=1e-11)
        assert ours.oracle_counts == theirs.oracle_counts


def test_auto_takes_the_device_and_says_so(cupy) -> None:
    ds = sweep(two_clusters(), **RATES)
    record = json.loads(ds.attrs["provenance"])
    assert record["device"].startswith("cuda:")
    assert record["device"] in record["engine"]


def test_torch_on_the_device_equals_numpy() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    for q in (two_clusters(), softmax(n=40, f=25, C=3, m=30, ridge=1e-2)):
        got = sweep(q, **RATES, keep_weights=True, backend="torch")
        assert "cuda" in json.loads(got.attrs["provenance"])["engine"]
        assert_allclose(got.w, sweep(q, **RATES, keep_weights=True, backend="numpy").w, rtol=1e-8)
