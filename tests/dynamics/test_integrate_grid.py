"""Grids of trajectories against one trajectory at a time, and the method's own laws."""

import json
import math
import multiprocessing
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import expm

from warmflow.dynamics import LeastSquares, Status, integrate, integrate_grid, weights
from warmflow.dynamics.batch import tableau
from warmflow.dynamics.features import TiltedSample, num_features, quadratic_features
from warmflow.dynamics.fused import FusedMoments
from warmflow.dynamics.sweeps.compiled.exponential import exp2
from warmflow.dynamics.tilting import LOG2E

from .cases import softmax, two_clusters


def log_weights(problem: LeastSquares, U: np.ndarray) -> np.ndarray:
    logits = quadratic_features(problem.X, problem.y) @ U
    logits = logits - logits.max()
    return logits - math.log(np.exp(logits).sum())


def test_method_has_order_five_and_is_l_stable() -> None:
    """On z' = J z the step is R(h J): against the exponential, and at infinity."""

    def step(J: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        eye = np.eye(len(J))
        W, k, z = eye / (h * tableau.GAMMA) - J, np.zeros((8, len(J))), np.ones(len(J))
        for i in range(8):
            u = z + tableau.A[i, :i] @ k[:i]
            k[i] = np.linalg.solve(W, J @ u + tableau.C[i, :i] @ k[:i] / h)
        end = z + tableau.A[7] @ k + k[7]
        middle = 0.5 * z + 0.5 * (end + 0.5 * (np.array([1, 0.5, 0.25]) @ tableau.DENSE @ k))
        return end, k[7], middle

    J = np.array([[-0.3, 1.0], [-1.0, 0.2]])
    ends, estimates, middles = [], [], []
    for h in (0.2, 0.1):
        end, estimate, middle = step(J, h)
        ends.append(np.abs(end - expm(h * J) @ np.ones(2)).max())
        estimates.append(np.abs(estimate).max())
        middles.append(np.abs(middle - expm(0.5 * h * J) @ np.ones(2)).max())
    assert math.log2(ends[0] / ends[1]) > 5.8
    assert math.log2(estimates[0] / estimates[1]) > 4.8
    assert math.log2(middles[0] / middles[1]) > 4.7
    assert np.abs(step(np.array([[-1e9]]), 1.0)[0]).max() < 1e-7


def test_error_falls_with_the_tolerance_at_the_rate_of_the_order() -> None:
    """At a fifth-order method the work grows as rtol^(-1/5)."""
    q = two_clusters()
    tolerances = np.array([1e-5, 1e-7, 1e-9, 1e-11])
    runs = [
        integrate_grid(q, alpha=1.0, beta=3.0, t_span=(0, 20), rtol=r, atol=r) for r in tolerances
    ]
    work = [run.num_evaluations.item() for run in runs]
    slope = np.polyfit(np.log(tolerances[1:]), np.log(work[1:]), 1)[0]
    assert -0.23 < slope < -0.15
    reference = integrate_grid(q, alpha=1.0, beta=3.0, t_span=(0, 20), rtol=1e-13, atol=1e-13)
    errors = [np.abs(run.theta - reference.theta).max().item() for run in runs]
    assert errors[0] < 1e-4
    assert all(later < 0.2 * earlier for earlier, later in pairwise(errors))


@pytest.mark.parametrize("beta", [0.1, 3.0, 100.0])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_global_error_is_below_that_of_lsoda(alpha: float, beta: float) -> None:
    """Both at rtol 1e-6, against LSODA at 1e-12, on times inside of steps; stiff cells too."""
    q = two_clusters()
    rates = {"alpha": alpha, "beta": beta, "t_span": (0.0, 10.0)}
    times = np.linspace(0.0, 10.0, 23)
    reference = integrate(q, **rates, rtol=1e-12, atol=1e-13, t_eval=times)
    lsoda = integrate(q, **rates, rtol=1e-6, atol=1e-8, t_eval=times)
    ds = integrate_grid(q, **rates, rtol=1e-6, atol=1e-8, t_eval=times)
    truth = np.array([log_weights(q, U) for U in reference.states[:, 2:]])
    ours = np.array([log_weights(q, U) for U in ds.U[0, 0].values])
    theirs = np.array([log_weights(q, U) for U in lsoda.states[:, 2:]])
    assert np.abs(ours - truth).max() <= 2.0 * np.abs(theirs - truth).max() + 1e-7
    assert np.abs(ds.theta[0, 0].values - reference.theta).max() <= (
        2.0 * np.abs(lsoda.theta - reference.theta).max() + 1e-8
    )


@pytest.mark.parametrize("p, ridge", [(1, 1e-2), (3, 0.0), (6, 1e-3)])
def test_cells_equal_integrate(p: int, ridge: float) -> None:
    q = two_clusters(40, p, 25, ridge=ridge)
    w0 = np.random.default_rng(1).dirichlet(np.full(40, 5.0))
    theta0 = np.linspace(-1.0, 1.0, p)
    options = {"t_span": (1.0, 6.0), "theta0": theta0, "w0": w0}
    ds = integrate_grid(q, alpha=[0.0, 0.5], beta=[0.0, 2.0, 20.0], **options, t_eval=[1, 2.5, 6])
    assert ds.theta.dims == ("alpha", "beta", "time", "param")
    for alpha, beta in [(0.0, 0.0), (0.0, 2.0), (0.5, 0.0), (0.5, 2.0), (0.5, 20.0)]:
        run = integrate(q, alpha=alpha, beta=beta, **options, rtol=1e-11, atol=1e-12,
                        t_eval=[1.0, 2.5, 6.0])  # fmt: skip
        cell = ds.sel(alpha=alpha, beta=beta)
        assert_allclose(cell.theta, run.theta, atol=2e-7, rtol=1e-6)
        assert_allclose(weights(ds, q, alpha=alpha, beta=beta), run.w, atol=2e-7)
    assert (ds.status == Status.ok).all()
    assert_array_equal(ds.theta[0, :, 0], np.broadcast_to(theta0, (3, p)))


def test_rank_deficient_rows_move_in_the_row_space() -> None:
    """Ridge 0, a repeated column: as the full coordinates with their pseudo-inverse."""
    q = two_clusters(30, 2, 20, ridge=0.0)
    X, X_val = (np.column_stack([Z, Z[:, 0]]) for Z in (q.X, q.X_val))
    deficient = LeastSquares(X, q.y, X_val, q.y_val, ridge=0.0)
    assert deficient.row_space is not None
    theta0 = np.array([0.5, -1.0, 0.2])
    options = {"alpha": 0.7, "beta": 2.0, "t_span": (0.0, 4.0), "theta0": theta0}
    ds = integrate_grid(deficient, **options)
    run = integrate(deficient, **options, rtol=1e-11, atol=1e-12, coordinates="full")
    assert_allclose(ds.theta[0, 0, -1], run.theta[-1], atol=1e-7)
    assert_allclose(weights(ds, deficient, alpha=0.7, beta=2.0)[-1], run.w[-1], atol=1e-8)


def test_a_cell_depends_neither_on_its_neighbours_nor_on_the_times() -> None:
    q = two_clusters()
    wide = integrate_grid(q, alpha=[0.1, 0.5, 2.0], beta=np.geomspace(0.1, 50, 7), t_span=(0, 5))
    for beta in wide.beta.values[[0, 3, 6]]:
        alone = integrate_grid(q, alpha=0.5, beta=beta, t_span=(0, 5), t_eval=np.linspace(0, 5, 40))
        cell = wide.sel(alpha=0.5, beta=beta)
        assert_array_equal(alone.theta[0, 0, -1], cell.theta[-1])
        assert_array_equal(alone.U[0, 0, -1], cell.U[-1])
        assert alone.num_evaluations.item() == cell.num_evaluations.item()


def test_number_of_threads_changes_no_bit(monkeypatch) -> None:
    q = two_clusters()
    grid = {"alpha": [0.2, 1.0], "beta": [0.5, 5.0, 50.0], "t_span": (0, 5)}
    many = integrate_grid(q, **grid)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    monkeypatch.setattr("warmflow.dynamics.batch.run.num_workers", lambda: 1)
    one = integrate_grid(q, **grid)
    assert_array_equal(many.U, one.U)


def test_variables_are_those_of_a_sweep() -> None:
    q = two_clusters()
    ds = integrate_grid(q, alpha=[0.3, 1.0], beta=[1.0, 10.0], t_span=(0, 8), t_eval=[2.0, 8.0])
    w = weights(ds, q, alpha=1.0, beta=10.0)
    assert w.shape == (2, q.num_samples)
    cell = ds.sel(alpha=1.0, beta=10.0)
    assert_allclose(cell.ess, 1 / (w**2).sum(axis=1), rtol=1e-10)
    assert_allclose(cell.val_loss, q.val_loss(cell.theta.values), rtol=1e-12)
    assert_allclose(cell.outer_loss, q.val_loss(q.theta_star(w)), rtol=1e-9)
    config = json.loads(ds.attrs["provenance"])["config"]
    assert config["method"] == "Rodas5P"
    assert ds.status.attrs["flag_meanings"].split()[0] == "ok"
    assert ds.last_time.attrs["long_name"]
    with pytest.raises(ValueError, match="must be the one that was swept"):
        weights(ds, two_clusters(seed=5), alpha=1.0, beta=10.0)


def test_ends_are_data() -> None:
    """A cap, a divergence, an underflow and a healthy cell in one grid each; last good states."""
    q = two_clusters()
    capped = integrate_grid(q, alpha=1.0, beta=[0.01, 100.0], t_span=(0, 50), max_evaluations=3000)
    assert list(capped.status[0].values) == [Status.ok, Status.max_evaluations]
    assert 0 < capped.last_time[0, 1] < 50
    assert capped.num_evaluations.max() <= 3000
    partial = integrate_grid(
        q, alpha=1.0, beta=100.0, t_span=(0, capped.last_time[0, 1].item()), rtol=1e-8
    )
    assert_allclose(capped.theta[0, 1, -1], partial.theta[0, 0, -1], atol=1e-6)
    # all weight runs to one sample of two that disagree: H = w x x^T loses rank without a ridge
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1e-9]])
    lone = LeastSquares(X[:2], np.array([1.0, -1.0]), X, np.array([2.0, 2.0, 2.0]), ridge=0.0)
    ds = integrate_grid(lone, alpha=[0.0], beta=[0.0, 1e4], t_span=(0, 1e4), theta0=np.ones(2),
                        max_evaluations=100_000)  # fmt: skip
    assert ds.status[0, 0] == Status.ok
    assert not Status(int(ds.status[0, 1])).success
    assert np.isfinite(ds.theta).all()
    assert np.isfinite(ds.U).all()


def test_theta_beyond_every_bound_has_diverged() -> None:
    q = two_clusters()
    ds = integrate_grid(q, alpha=1e-9, beta=1e-9, theta0=np.full(2, 2e12), t_span=(0, 1.0))
    assert ds.status.item() == Status.diverged
    assert ds.last_time.item() == 0.0


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_an_interrupt_stops_all_cells() -> None:
    """A grid of many minutes ends soon after Ctrl-C, in the midst of its tasks."""
    q, rates = two_clusters(2000), np.geomspace(0.1, 10, 200)
    integrate_grid(q, alpha=1.0, beta=1.0, t_span=(0, 1))  # compiled before the clock starts
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    began = time.perf_counter()
    # a shell that runs the tests in the background makes them ignore SIGINT
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            integrate_grid(q, alpha=rates, beta=rates, t_span=(0, 100), rtol=1e-12, atol=1e-13)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert time.perf_counter() - began < 10.0


def test_an_error_of_progress_is_passed_on() -> None:
    def fail(share: float) -> None:
        raise OSError("no terminal")

    with pytest.raises(OSError, match="no terminal"):
        integrate_grid(two_clusters(), alpha=1.0, beta=[1.0, 2.0], t_span=(0, 1), progress=fail)


def test_zero_features_without_a_ridge_do_not_move() -> None:
    q = LeastSquares(np.zeros((4, 2)), np.ones(4), np.ones((3, 2)), np.ones(3), ridge=0.0)
    ds = integrate_grid(q, alpha=[1.0], beta=[2.0, 3.0], theta0=[0.5, -1.0], t_eval=[1.0, 2.0])
    assert (ds.status == Status.ok).all()
    assert_array_equal(ds.theta[0, 1], [[0.5, -1.0], [0.5, -1.0]])
    assert_allclose(weights(ds, q, alpha=1.0, beta=3.0), 0.25)


def test_saved_times_hold_both_ends_and_none_of_them() -> None:
    q = two_clusters()
    rates = {"alpha": 0.5, "beta": 2.0, "t_span": (1.0, 3.0)}
    whole = integrate_grid(q, **rates, t_eval=[1.0, 1.5, 3.0])
    inner = integrate_grid(q, **rates, t_eval=[1.5], max_evaluations=None)
    assert_array_equal(whole.theta[0, 0, 1], inner.theta[0, 0, 0])
    assert_array_equal(whole.theta[0, 0, 2], integrate_grid(q, **rates).theta[0, 0, 0])
    assert inner.last_time.item() == 3.0


def test_progress_grows_to_one() -> None:
    shares: list[float] = []
    q = two_clusters()
    integrate_grid(q, alpha=[0.5, 1.0], beta=[0.5, 1.0], t_span=(0, 1), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"alpha": [1.0, 1.0]}, "`alpha` must hold distinct rates"),
        ({"beta": -1.0}, "`beta` must be >= 0"),
        ({"t_span": (1.0, 0.0)}, "`t_span` must increase"),
        ({"rtol": 2.0}, "`rtol` must lie in"),
        ({"t_eval": [0.0, 99.0]}, "`t_eval` must lie in"),
        ({"t_eval": []}, "`t_eval` must not be empty"),
        ({"t_eval": [0.5, 0.5]}, "`t_eval` must increase strictly"),
        ({"atol": 0.0}, "`atol` must be > 0"),
        ({"max_evaluations": 0}, "`max_evaluations`"),
        ({"theta0": np.zeros(3)}, "`theta0`"),
        ({"w0": np.zeros(60)}, "`w0`"),
        ({"thresholds": [2.0]}, "`thresholds`"),
    ],
)
def test_errors_name_the_argument(change, message) -> None:
    arguments = {"alpha": 1.0, "beta": 1.0, "t_span": (0.0, 1.0)} | change
    with pytest.raises(ValueError, match=message):
        integrate_grid(two_clusters(), **arguments)


def test_other_problems_are_refused() -> None:
    with pytest.raises(TypeError, match="must be LeastSquares"):
        integrate_grid(softmax(), alpha=1.0, beta=1.0)
    with pytest.raises(ValueError, match="at most 30 parameters"):
        integrate_grid(two_clusters(60, 31), alpha=1.0, beta=1.0)


ROWS = [(1, 1), (31, 2), (511, 8), (512, 2), (513, 3), (4095, 2), (4096, 1), (4097, 3), (40_000, 2)]


@pytest.mark.parametrize("size", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("n, p", ROWS)
def test_fused_moments_equal_exact_ones(n: int, p: int, size: float) -> None:
    """Blocks that are full, broken off and padded; logits of a given size; some tiny weights.

    Against long doubles. Rounding of the logits, ``size`` of them, is an error of the weights.
    """
    rng = np.random.default_rng(n)
    phi = quadratic_features(rng.normal(size=(n, p)), rng.normal(size=n))
    log_w0 = np.where(rng.random(n) < 0.3, -600.0, 0.0) + rng.normal(size=n)
    U = rng.normal(size=num_features(p))
    U *= size / np.abs(phi @ U).max()
    logits = phi.astype(np.longdouble) @ U.astype(np.longdouble) + log_w0
    w = np.exp(logits - logits.max())
    w /= w.sum()
    law = FusedMoments(phi, log_w0)
    mean, cov = law.moments_and_covariance(U)
    centred = phi - w @ phi
    exact = (centred.T * w) @ centred
    spread = np.sqrt(np.diag(exact)).astype(float) + 1e-150
    tolerance = 1e-13 + 1e-15 * size
    assert_allclose(mean / (w @ np.abs(phi)), (w @ phi) / (w @ np.abs(phi)), rtol=0, atol=tolerance)
    assert_allclose(cov / spread[:, None], exact / spread[:, None], rtol=0,
                    atol=20 * tolerance * spread.max())  # fmt: skip
    assert_array_equal(law.moments(U), mean)
    if n >= 4096:
        assert_array_equal(TiltedSample(phi, log_w0).moments_and_covariance(U)[1], cov)


def test_covariance_of_collapsed_weights_is_more_than_round_off() -> None:
    """All but 1e-20 of the weight on one sample: relative to the spreads, which are as small."""
    rng = np.random.default_rng(0)
    phi = quadratic_features(rng.normal(size=(600, 3)) + 1.0, rng.normal(size=600))
    log_w0 = np.where(np.arange(600) == 7, 0.0, math.log(1e-20))
    _, cov = FusedMoments(phi, log_w0).moments_and_covariance(np.zeros(9))
    w = np.exp(log_w0.astype(np.longdouble))
    w /= w.sum()
    centred = phi - phi[7] - w @ (phi - phi[7])
    exact = (centred.T * w) @ centred
    spread = np.sqrt(np.diag(exact))
    error = (cov - exact) / np.outer(spread, spread)
    assert np.abs(error).max() < 1e-9


def test_fused_moments_take_blocks_without_weight() -> None:
    phi = np.random.default_rng(0).normal(size=(2000, 5))
    log_w0 = np.where(np.arange(2000) < 1000, -np.inf, 0.0)
    found = FusedMoments(phi, log_w0).moments(np.zeros(5))
    assert_allclose(found, phi[1000:].mean(axis=0), rtol=1e-12)


def test_fused_moments_in_threads_and_after_a_fork() -> None:
    """Many callers at once get the bits that one gets; so does a forked process."""
    rng = np.random.default_rng(0)
    law = FusedMoments(rng.normal(size=(40_000, 9)), np.zeros(40_000))
    Us = list(rng.normal(size=(40, 9)))
    alone = [law.moments(U) for U in Us]
    with ThreadPoolExecutor(4) as pool:
        assert_array_equal(list(pool.map(law.moments, Us)), alone)
    if "fork" not in multiprocessing.get_all_start_methods():
        return
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(law.moments(Us[0])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and forks: what is tested
        child.start()
    assert receiver.poll(60)
    assert_array_equal(receiver.recv(), alone[0])
    child.join()


def test_moments_of_threads_are_those_of_one(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    law = FusedMoments(rng.normal(size=(70_000, 5)), np.zeros(70_000))
    found = []
    for workers in (1, 2, 3):
        monkeypatch.setattr("warmflow.dynamics.fused.num_workers", lambda n=workers: n)
        found.append(law.moments_and_covariance(np.ones(5)))
    for mean, cov in found[1:]:
        assert_array_equal(mean, found[0][0])
        assert_array_equal(cov, found[0][1])


def test_fused_moments_show_what_is_not_finite() -> None:
    law = FusedMoments(np.ones((600, 5)), np.zeros(600))
    assert np.isnan(law.moments(np.array([np.nan, 0, 0, 0, 0]))).all()


def test_exponential_is_exact_to_two_units() -> None:
    x = np.random.default_rng(0).uniform(-1020, 1020, 3000)
    ours = np.array([exp2(value) for value in x])
    assert_allclose(ours, np.exp2(x), rtol=4.5e-16)
    assert exp2(-2000.0) == 0.0
    assert exp2(0.0) == 1.0
    assert math.isnan(exp2(math.nan))
    assert_allclose(exp2(-3.0 * LOG2E), math.exp(-3.0), rtol=1e-15)
