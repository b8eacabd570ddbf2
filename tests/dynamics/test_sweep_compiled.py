"""The compiled engine: equal to a plain loop, cell by cell and whatever its neighbours do."""

import json
from decimal import Decimal, getcontext
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import cho_factor, cho_solve

from warmflow.dynamics import LeastSquares, Status, sweep
from warmflow.dynamics.statistics import describe
from warmflow.dynamics.sweeps.compiled import engine, layout, suits
from warmflow.dynamics.sweeps.compiled.exponential import FLOOR, exp2_lanes
from warmflow.dynamics.sweeps.compiled.lanes import WIDTH, Doubles, load_rows, reader, store, words
from warmflow.dynamics.sweeps.workers import num_threads

from .cases import two_clusters
from .plain_loop import compare_ends, plain

THRESHOLDS = (0.0, 1e-3, 1e-12)


def swept(q: LeastSquares, alpha, beta, num_steps: int, **options):
    options = {"keep_weights": True, "thresholds": THRESHOLDS, **options}
    return sweep(q, alpha=alpha, beta=beta, num_steps=num_steps, **options)


SHAPES = [
    # n, p, ridge, cells (a, b): a lane of its own, tiles that do not fill up, no fewer rows than d
    (60, 1, 1e-2, 3, 5),
    (203, 2, 1e-3, 5, 7),
    (1, 2, 1e-2, 1, 1),
    (50, 3, 1e-4, 4, 4),
    (31, 7, 1e-2, 2, 9),
    (90, 17, 1e-1, 2, 3),
]


@pytest.mark.parametrize("n, p, ridge, a, b", SHAPES)
@pytest.mark.parametrize("stored", [True, False])
def test_every_cell_equals_the_plain_loop(n, p, ridge, a, b, stored, monkeypatch) -> None:
    """At the end, where loops that are as good as the plain one agree to 1e-10."""
    if not stored:
        monkeypatch.setattr(layout, "FEATURE_BYTES", 0)
    q = two_clusters(max(n, 2), p, 20, ridge=ridge)
    q = LeastSquares(q.X[:n], q.y[:n], q.X_val, q.y_val, ridge=ridge)
    assert suits(q)
    alpha = np.geomspace(0.02, 3.0, a) / q.constants()[1]
    beta = np.geomspace(1e-3, 10.0, b)
    ds = swept(q, alpha, beta, 200, backend="auto")
    assert compare_ends(ds, q, alpha, beta, 200) >= max(1, a * b // 3)


def test_variables_are_those_of_describe() -> None:
    q = two_clusters(61, 3)
    ds = swept(q, [0.01, 0.1], np.geomspace(1e-3, 10, 9), 60, save_steps=20)
    theta, w = ds.theta.values, ds.w.values
    for name, values in describe(q, theta, w, THRESHOLDS, outer_loss=True).items():
        assert_allclose(ds[name].values, values, rtol=1e-10, atol=1e-12, err_msg=name)
    assert ds.step.values.tolist() == [0, 20, 40, 60]


def test_statuses_and_last_steps_equal_those_of_numpy() -> None:
    q = two_clusters()
    grids = {"alpha": [0.1, 2.0, 30.0, 1e200], "beta": [0.1, 5.0, 1e200], "num_steps": 100}
    ours, theirs = sweep(q, **grids), sweep(q, **grids, backend="numpy")
    assert_array_equal(ours.status, theirs.status)
    assert_array_equal(ours.last_step, theirs.last_step)
    assert np.isfinite(ours.theta).all()
    failed = ours.status.values != Status.ok
    assert failed.any()
    assert_allclose(ours.theta.values[failed], theirs.theta.values[failed], rtol=1e-6)


def test_a_singular_cell_is_marked_and_left_to_the_plain_engine() -> None:
    X = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    q = LeastSquares(X, [1.0, -1.0, 2.0], np.eye(2), [0.0, 3.0], ridge=0.0)
    rates = {"alpha": [0.01], "beta": [1e-3, 1e5], "num_steps": 50, "theta0": [1.0, -2.0]}
    ours, theirs = sweep(q, **rates), sweep(q, **rates, backend="numpy")
    assert_array_equal(ours.status, theirs.status)
    assert ours.status[0, 1] != Status.ok
    assert not suits(q)


@pytest.mark.parametrize("p", [2, 6])
def test_a_cell_does_not_depend_on_its_neighbours(p: int, monkeypatch) -> None:
    """Bit for bit: alone, among diverging and jumping cells, in wider blocks, on more threads."""
    q = two_clusters(70, p)
    alpha, beta = np.array([0.05, 0.2]), np.array([0.01, 0.3, 4.0])
    alone = [swept(q, [a], [b], 80) for a in alpha for b in beta]
    crowd = swept(q, [*alpha, 50.0], [*beta, 1e4, *np.geomspace(1.1, 20, 9)], 80)
    monkeypatch.setattr(engine, "choose_width", lambda *_: 24)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    wide = swept(q, [*alpha, 40.0], [*beta, *np.geomspace(20, 1e6, 11)], 80)
    for k, single in enumerate(alone):
        for name in ("theta", "w", "U", "ess", "entropy", "support"):
            for other in (crowd, wide):
                found = other[name].values[k // 3, k % 3]
                assert_array_equal(found, single[name].values[0, 0], err_msg=name)


def test_jumps_of_thousands_of_logits() -> None:
    q = two_clusters()
    theta0 = np.array([50.0, -50.0])
    ds = swept(q, [0.01], [1e-3, 1e4, 1e8], 5, theta0=theta0)
    assert (ds.status == Status.ok).all()
    for j, eta in enumerate(ds.beta.values):
        path = plain(q, 0.01, eta, 5, theta0)
        assert_allclose(ds.w[0, j], path[-1, 2:], atol=1e-9)


@pytest.mark.parametrize("p", [2, 3, 5])
def test_a_collapsed_cell_moves_as_its_one_sample_would_alone(p: int) -> None:
    """Bit for bit: its moments are those of that sample, whatever became of its log-weight.

    From the second step of each stay on: in the first, the sums may still be relative to the
    sample that led before.
    """
    q = two_clusters(40, p, ridge=1e-3)
    rates = {"alpha": [0.3 / q.constants()[1]], "beta": [0.8, 2.0, 5.0, 12.0]}
    ds = swept(q, **rates, num_steps=400, save_steps=1)
    samples = set()
    for j in range(4):
        cell = ds.isel(alpha=0, beta=j)
        for k, first, last in stays(cell.w.values, cell.ess.values):
            one = LeastSquares(q.X[[k]], q.y[[k]], q.X_val, q.y_val, ridge=q.ridge)
            start = {"theta0": cell.theta[first + 1].values, "num_steps": last - first - 1}
            alone = swept(one, rates["alpha"], [float(cell.beta)], **start)
            assert_array_equal(alone.theta[0, 0], cell.theta[last])
            samples.add(k)
    assert len(samples) >= 2


def stays(w: np.ndarray, ess: np.ndarray):
    """Yield ``(sample, first, last)``, five saved steps or more with all weight on one sample."""
    alone = np.where(ess == 1.0, w.argmax(axis=1), -1)
    edges = [0, *np.flatnonzero(np.diff(alone)) + 1, len(alone)]
    for first, end in pairwise(edges):
        if alone[first] >= 0 and end - first >= 5:
            yield int(alone[first]), first, end - 1


@pytest.mark.parametrize("p", [2, 3, 5])
def test_adjoints_of_collapsed_cells_are_rounded_as_by_lapack(p: int) -> None:
    """Much closer to ``numpy.linalg.solve`` than Cholesky is, which has the same right to its own.

    One step from weights on one sample: U holds minus eta times the adjoint.
    """
    ours, cholesky, n = [], [], 60
    w0 = np.full(n, 1e-300)
    w0[7] = 1.0
    for seed in range(20):
        q = two_clusters(n, p, ridge=1e-4, seed=seed)
        theta0 = np.linspace(1.0, 2.0, p)
        ds = swept(q, [0.0], [1.0], 1, w0=w0, theta0=theta0)
        H = np.outer(q.X[7], q.X[7]) + q.ridge * np.eye(p)
        g = theta0 @ q.val_hessian - q.val_target
        v = np.linalg.solve(H, g)
        size = np.abs(v).max()
        ours.append(np.abs(ds.U[0, 0, -p:].values + v).max() / size)
        cholesky.append(np.abs(cho_solve(cho_factor(H), g) - v).max() / size)
    assert np.median(ours) < 0.7 * np.median(cholesky)


def test_powers_of_two() -> None:
    """To 1.1 units in the last place over the whole range, exact at integers, clipped outside."""

    read = reader(_Pair)

    @numba.njit
    def powers(memory, size):
        pair = read(memory)
        for k in range(0, size, WIDTH * WIDTH):
            store(pair.y, k, exp2_lanes(load_rows(pair.x, k)))

    rng = np.random.default_rng(0)
    near, far = rng.uniform(-1.5, 1.5, 512), rng.uniform(FLOOR, 1023, 512)
    whole = np.arange(-64.0, 64.0)
    edges = np.concatenate([[-np.inf, -1e300, FLOOR, 1023, 1e4, np.inf], np.zeros(58)])
    x = np.concatenate([near, far, whole, edges])
    y = np.empty_like(x)
    powers(words(_Pair(x, y)), x.size)
    getcontext().prec = 40
    exact = [Decimal(2) ** Decimal(float(v)) for v in x[:1024]]
    errors = [
        float(abs(Decimal(float(v)) - e) / Decimal(float(np.spacing(float(e)))))
        for v, e in zip(y[:1024], exact, strict=True)
    ]
    assert max(errors) < 1.1
    assert_array_equal(y[1024:1152], 2.0**whole)
    assert_array_equal(y[1152:1158], [2.0**FLOOR] * 3 + [2.0**1023] * 3)


class _Pair(NamedTuple):
    x: Doubles
    y: Doubles


def test_the_provenance_names_the_engine_that_ran() -> None:
    def engine_of(q, **options) -> str:
        ds = sweep(q, alpha=[0.1], beta=[0.1], num_steps=2, **options)
        return json.loads(ds.attrs["provenance"])["config"]["backend"]

    q = two_clusters()
    flat = LeastSquares(np.ones((9, 2)), np.arange(9.0), q.X_val, q.y_val, ridge=0.0)
    assert engine_of(q) == "compiled"
    assert engine_of(q, backend="numpy") == "numpy"
    assert engine_of(q, dtype="float32") == "numpy"
    assert engine_of(flat) == "numpy"


def test_an_error_in_progress_stops_the_threads() -> None:
    def refuse(share: float) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        sweep(two_clusters(), alpha=[0.1], beta=[0.1], num_steps=10**7, progress=refuse)


@pytest.mark.parametrize(
    "theta0, beta", [([1e13, 1e13], 1.0), ([1.7e308, 1.0], 1.0), (None, 1e308)]
)
def test_cells_that_die_at_once_keep_their_start(theta0, beta: float) -> None:
    """Also where theta0 or eta is so large that its products overflow."""
    q = two_clusters()
    ds = sweep(q, alpha=[0.01, 0.02], beta=[0.01, beta], num_steps=5, theta0=theta0)
    dead = ds.status.values != Status.ok
    assert dead[:, 1].all()
    assert_allclose(ds.ess.values[dead], 60.0)
    assert (ds.support.values[dead] == 60).all()


def test_a_faint_ridge_is_left_to_the_plain_engine() -> None:
    q = two_clusters(4, 13, ridge=1e-4)
    assert suits(q)
    assert not suits(LeastSquares(1e6 * q.X, q.y, q.X_val, q.y_val, ridge=1e-4))


def test_threads_and_blocks_keep_to_the_memory() -> None:
    bound = engine.MEMORY_NUMBERS
    for n, threads in ((10**6, 2), (10**6, 12), (10**5, 64)):
        assert engine.choose_width(n, 4096, threads) * threads * n <= bound
    assert engine.choose_width(10**6, 4096, 1) == engine.MAX_WIDTH
    assert engine.choose_width(10**6, 3, 1) == WIDTH


@pytest.mark.parametrize("value, expected", [("3", 3), ("1", 1)])
def test_threads_are_those_that_were_asked_for(value: str, expected: int, monkeypatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", value)
    assert num_threads() == expected
