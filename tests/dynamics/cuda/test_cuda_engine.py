"""The engine around the kernels: which form, what it records, memory, launches, progress."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from warmflow.dynamics import LeastSquares, sweep
from warmflow.dynamics.features import quadratic_features
from warmflow.dynamics.statistics import describe
from warmflow.dynamics.sweeps.compiled import run as run_compiled
from warmflow.dynamics.sweeps.cuda import choose, pace, run_cuda, suits
from warmflow.dynamics.sweeps.cuda.choice import TABLE
from warmflow.dynamics.sweeps.cuda.memory import bytes_per_cell, feature_scale, put_cells
from warmflow.dynamics.sweeps.cuda.pace import GROWTH, SECONDS, Pace
from warmflow.dynamics.sweeps.cuda.source import FILES, options_for, read_source

from ..cases import least_squares, softmax, two_clusters
from .emulator import Emulator, needs_compiler
from .runs import SLICES, THRESHOLDS, WARP, assert_same, plan_of, run


# ---------------------------------------------------------------- what is recorded
@needs_compiler
@pytest.mark.parametrize("choice", [WARP, SLICES], ids=["warp", "slices"])
@pytest.mark.parametrize("thresholds", [(0.5,), THRESHOLDS, (0.0, 0.9, 1e-3, 1e-6, 1e-9, 1e-12)])
def test_variables_are_those_of_describe(choice, thresholds, folder) -> None:
    """Also with more thresholds than one launch counts."""
    q = two_clusters(61, 2)
    rates = {"alpha": [0.01, 0.1], "beta": [1e-3, 10.0], "num_steps": 40}
    at = {"save_steps": (0, 20, 40), "thresholds": thresholds, "choice": choice}
    ours = run(Emulator(folder), q, **rates, **at)
    expected = describe(q, ours["theta"], ours["w"], thresholds, outer_loss=True)
    assert expected.keys() | {"theta", "w", "U", "status", "last_step"} == ours.keys()
    for name, values in expected.items():
        assert_allclose(ours[name], values, rtol=1e-10, atol=1e-12, err_msg=name)
    log_w = quadratic_features(q.X, q.y) @ ours["U"][..., None]
    w = np.exp(log_w[..., 0] - log_w[..., 0].max(axis=-1, keepdims=True))
    assert_allclose(ours["w"], w / w.sum(axis=-1, keepdims=True), rtol=0, atol=1e-9)


@needs_compiler
@pytest.mark.parametrize("problem", [least_squares(n=12, p=3), least_squares(n=8, p=3)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_table_is_that_of_the_compiled_engine(problem, dtype: str, folder) -> None:
    """Same names, shapes and kinds; with and without a clean mask, with fewer samples than d."""
    bare = LeastSquares(problem.X, problem.y, problem.X_val, problem.y_val, ridge=problem.ridge)
    for q in (problem, bare):
        plan = plan_of(q, [0.01, 0.1], [0.1], 5, save_steps=(2, 5))
        theirs = run_compiled(q, plan, True, THRESHOLDS, None)
        ours = run(Emulator(folder), q.to(dtype=dtype), [0.01, 0.1], [0.1], 5, save_steps=(2, 5))
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            wanted = np.dtype(dtype) if values.dtype == np.float64 else values.dtype
            assert ours[name].dtype == wanted, name
            tolerance = 1e-9 if dtype == "float64" else 1e-3
            assert_allclose(ours[name], values, rtol=tolerance, atol=tolerance, err_msg=name)


@needs_compiler
def test_weights_are_kept_only_when_asked_for(folder) -> None:
    ours = run(Emulator(folder), two_clusters(40), [0.1], [0.1], 2, keep_weights=False)
    assert "w" not in ours


# ---------------------------------------------------------------- memory, launches, progress
@needs_compiler
def test_weights_come_in_pieces_that_fit(folder) -> None:
    q = two_clusters(100)
    small = Emulator(folder, free_bytes=20 * bytes_per_cell(q, 1))
    ours = run(small, q, [0.1], np.geomspace(0.01, 1, 9), 3)
    pieces = [grid[0] for kernel, grid, _ in small.launches if kernel == "weights"]
    assert sum(pieces) == 9
    assert 1 < max(pieces) < 9
    assert_same(ours, run(Emulator(folder), q, [0.1], np.geomspace(0.01, 1, 9), 3))


@needs_compiler
def test_bytes_per_cell_are_those_of_the_arrays(folder) -> None:
    q = two_clusters(50, 3)
    plan = plan_of(q, [0.1], [0.1, 1.0, 2.0], 1)
    for slices in (1, 5):
        cells = put_cells(q, plan, slice(0, 3), slices, Emulator(folder))
        assert sum(values.nbytes for values in cells) == 3 * bytes_per_cell(q, slices)


@needs_compiler
@pytest.mark.parametrize("choice", [WARP, SLICES], ids=["warp", "slices"])
def test_steps_are_cut_into_launches_without_a_trace(choice, folder, monkeypatch) -> None:
    q = two_clusters(70)
    rates = {"alpha": [0.1, 50.0], "beta": [0.1, 6.0], "num_steps": 30, "choice": choice}
    whole = run(Emulator(folder), q, **rates)
    monkeypatch.setattr(pace, "FIRST_FLOPS", 1.0)
    monkeypatch.setattr(Pace, "learn", lambda self, *_: setattr(self, "steps", 2))
    cut = Emulator(folder)
    shares = []
    assert_same(whole, run(cut, q, **rates, progress=shares.append))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) == 17  # one step, then two at a time, and the end


@needs_compiler
def test_an_interrupt_comes_through_between_launches(folder, monkeypatch) -> None:
    def refuse(share: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pace, "FIRST_FLOPS", 1.0)
    device = Emulator(folder)
    with pytest.raises(KeyboardInterrupt):
        run(device, two_clusters(), [0.1], [0.1], 10**9, save_steps=(10**9,), progress=refuse)
    assert len(device.launches) == 1


def test_pace_goes_towards_its_seconds() -> None:
    """On a device of any speed, from below and from above, never under one step."""
    for seconds_per_step in (1e-6, 1e-3, 10.0):
        ours = Pace(1e6)
        for _ in range(40):
            taken = ours.steps
            ours.learn(taken, taken * seconds_per_step)
            assert 1 <= ours.steps <= max(1, GROWTH * taken)
        assert_allclose(ours.steps, max(1.0, SECONDS / seconds_per_step), rtol=0.02)


def test_a_short_launch_does_not_slow_the_next_and_a_long_one_does() -> None:
    ours = Pace(1e9)
    ours.steps = 100
    ours.learn(1, 1e-9)
    assert ours.steps == 100
    ours.learn(100, 10 * SECONDS)
    assert ours.steps == 10


# ---------------------------------------------------------------- choice
def test_what_the_kernels_take() -> None:
    q = two_clusters(60, 8)
    assert suits(q)
    assert suits(two_clusters(60, 8, ridge=0.1).to(dtype="float32"))
    assert not suits(two_clusters(60, 9))
    assert not suits(softmax())
    assert not suits(LeastSquares(q.X, q.y, q.X_val, q.y_val, ridge=0.0))
    assert not suits(two_clusters(60, 8, ridge=1e-9).to(dtype="float32"))
    big = LeastSquares(1e9 * q.X, q.y, q.X_val, q.y_val, ridge=1e18)
    assert suits(big)
    assert not suits(big.to(dtype="float32"))
    assert choose(two_clusters(60, 9), 10, 100) is None


@pytest.mark.parametrize(
    "n, cells, form, threads",
    [
        (200, 4096, "march", 32),
        (200, 1, "march", 32),
        (5000, 10, "march", 256),
        (5000, 1000, "march", 256),
        (5000, 1320, "march", 128),
        (100_000, 10_000, "march", 32),
        (100_000, 64, "slices", 256),
    ],
)
def test_the_table_read_from_the_top(n: int, cells: int, form: str, threads: int) -> None:
    q = LeastSquares(np.ones((n, 1)), np.ones(n), [[1.0]], [1.0], ridge=0.1)
    choice = choose(q, cells, 132)
    assert (choice.form, choice.threads) == (form, threads)
    assert choice.why
    assert (choice.slices > 1) == (form == "slices")
    assert TABLE[-1].max_samples == np.inf
    assert TABLE[-1].min_cells_per_processor == 0


def test_slices_fill_the_device_and_their_threads() -> None:
    q = LeastSquares(np.ones((100_000, 1)), np.ones(100_000), [[1.0]], [1.0], ridge=0.1)
    few, many = choose(q, 1, 132), choose(q, 64, 132)
    assert 100_000 / few.slices >= 8 * few.threads
    assert many.slices * 64 >= 4 * 132


@needs_compiler
def test_the_engine_chooses_by_itself_and_refuses_what_it_cannot_take(folder) -> None:
    device = Emulator(folder)
    run(device, two_clusters(40), [0.1], [0.1], 2, choice=None)
    assert device.launches[0][0] == "march"
    flat = LeastSquares(np.ones((9, 2)), np.arange(9.0), np.eye(2), [0.0, 1.0], ridge=0.0)
    with pytest.raises(ValueError, match=r"`problem` must suit the CUDA kernels"):
        run_cuda(flat, plan_of(flat, [0.1], [0.1], 2), False, (0.5,), None, device)


# ---------------------------------------------------------------- packing
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_features_are_bounded_and_cut_at_powers_of_two(dtype: str) -> None:
    q = two_clusters(300, 3).to(dtype=dtype)
    q.X[:, 1] = 0.0
    bound, quantum = feature_scale(q)
    sizes = np.abs(quadratic_features(q.X, q.y)).max(axis=0)
    assert (bound >= sizes).all()
    assert (bound <= sizes * 1.001).all()
    assert_array_equal(np.frexp(quantum)[0], 0.5)
    some = sizes > 0
    bits = 22 if dtype == "float64" else 9
    assert (quantum[some] * 2.0**bits >= bound[some]).all()
    assert (quantum[some] * 2.0**bits < 2 * bound[some]).all()


def test_the_source_is_whole_and_the_options_are_those_of_the_package() -> None:
    source = read_source()
    assert [source.count(f'extern "C" __global__ void __launch_bounds__{k}') for k in "("] == [6]
    assert len(FILES) == 3
    options = options_for(two_clusters(10, 2).to(dtype="float32"))
    assert {"-DP=2", "-DREAL=float", "-DBOUND=1000000000000.0", "--fmad=false"} <= {*options}


@needs_compiler
def test_the_same_cells_as_sweep(folder) -> None:
    """Against the public entry point, with its own theta0 and grid."""
    q = two_clusters(90, 3, ridge=0.1)
    rates = {"alpha": [0.02, 0.1], "beta": [0.01, 0.2, 1.0], "num_steps": 60}
    ds = sweep(q, **rates, keep_weights=True, thresholds=THRESHOLDS, save_steps=[30, 60])
    ours = run(Emulator(folder), q, **rates, save_steps=(30, 60))
    for name, values in ours.items():
        expected = ds[name].values.reshape(values.shape)
        assert_allclose(values, expected, rtol=1e-8, atol=1e-10, err_msg=name)
