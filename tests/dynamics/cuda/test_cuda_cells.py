"""The CUDA kernels, run by fibers: equal to a plain loop, cell by cell, in any order of threads."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from warmflow.dynamics import LeastSquares, Status, sweep
from warmflow.dynamics.features import quadratic_features
from warmflow.dynamics.sweeps.cuda import Choice, run_cuda
from warmflow.dynamics.sweeps.cuda.launches import Launcher
from warmflow.dynamics.sweeps.cuda.memory import put_cells, put_shared

from ..cases import two_clusters
from ..plain_loop import STRICT, plain, spread
from .emulator import Emulator, needs_compiler
from .runs import BLOCK, SLICES, WARP, assert_same, plan_of, run

pytestmark = needs_compiler


def cut(q: LeastSquares, n: int, dtype: str = "float64") -> LeastSquares:
    """Return the problem with n samples, of some dtype."""
    clean = None if q.clean is None else q.clean[:n]
    kept = LeastSquares(q.X[:n], q.y[:n], q.X_val, q.y_val, ridge=q.ridge, clean=clean)
    return kept.to(dtype=dtype)


SHAPES = [
    # n, p, ridge, cells (a, b), form: fewer rows than lanes, than d, no multiple of the threads
    (60, 1, 1e-2, 2, 5, WARP),
    (101, 2, 1e-3, 3, 4, WARP),
    (1, 2, 1e-2, 1, 2, WARP),
    (50, 3, 1e-4, 2, 4, BLOCK),
    (70, 4, 1e-2, 2, 2, SLICES),
    (45, 5, 1e-2, 1, 4, WARP),
    (40, 6, 1e-2, 1, 3, WARP),
    (31, 7, 1e-2, 1, 4, BLOCK),
    (64, 8, 1e-1, 1, 2, SLICES),
]


@pytest.mark.parametrize("n, p, ridge, a, b, choice", SHAPES)
def test_every_cell_equals_the_plain_loop(n, p, ridge, a, b, choice, folder) -> None:
    """At the end, where loops that are as good as the plain one agree to 1e-10."""
    q = cut(two_clusters(max(n, 2), p, 20, ridge=ridge), n)
    alpha = np.geomspace(0.02, 3.0, a) / q.constants()[1]
    beta = np.geomspace(1e-2, 10.0, b)
    ours = run(Emulator(folder), q, alpha, beta, 120, choice=choice)
    theta0 = q.initial_theta(np.full(n, 1 / n))
    compared = 0
    for k, (i, j) in enumerate(np.ndindex(a, b)):
        path = plain(q, alpha[i], beta[j], 120, theta0)
        assert (ours["status"][k] == Status.ok) == (path is not None)
        if path is None or spread(q, alpha[i], beta[j], 120, theta0, path)[-1] > STRICT:
            continue
        found = np.concatenate([ours["theta"][k, 0], ours["w"][k, 0]])
        assert_allclose(found, path[-1], rtol=0, atol=STRICT)
        compared += 1
    assert compared >= max(1, a * b // 2)


@pytest.mark.parametrize("p", [1, 3, 8])
def test_single_precision_follows_double(p: int, folder) -> None:
    """To a few hundred units of its round-off: what 20 steps and the conditioning make of one."""
    q = two_clusters(50, p, 20, ridge=0.1)
    rates = {"alpha": [0.1 / q.constants()[1]], "beta": [1e-3, 0.1], "num_steps": 20}
    single = run(Emulator(folder), q.to(dtype="float32"), **rates, choice=BLOCK)
    ds = sweep(q, **rates, backend="numpy", keep_weights=True)
    assert single["theta"].dtype == single["w"].dtype == single["U"].dtype == np.float32
    scale = np.abs(ds.theta.values).max()
    assert_allclose(single["theta"][:, 0], ds.theta.values[0], rtol=0, atol=3e-5 * scale)
    assert_allclose(single["w"][:, 0], ds.w.values[0], rtol=0, atol=3e-5)


@pytest.mark.parametrize("choice", [WARP, BLOCK, SLICES], ids=["warp", "block", "slices"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_backwards_is_forwards_bit_for_bit(choice, dtype: str, folder) -> None:
    q = cut(two_clusters(70, 3), 70, dtype)
    rates = {"alpha": [0.05, 50.0], "beta": [0.1, 8.0], "num_steps": 40, "save_steps": (0, 7, 40)}
    forwards = run(Emulator(folder), q, **rates, choice=choice)
    backwards = run(Emulator(folder, backwards=True), q, **rates, choice=choice)
    assert_same(forwards, backwards)
    assert (forwards["status"] != Status.ok).any()


def test_backwards_is_forwards_where_lanes_hold_two_coordinates(folder) -> None:
    q = two_clusters(50, 8)
    rates = {"alpha": [0.02], "beta": [0.1, 8.0], "num_steps": 15, "choice": BLOCK}
    forwards = run(Emulator(folder), q, **rates)
    assert_same(forwards, run(Emulator(folder, backwards=True), q, **rates))


@pytest.mark.parametrize("n, slices", [(5, 4), (1, 3), (64, 2)])
def test_slices_may_be_empty(n: int, slices: int, folder) -> None:
    q = cut(two_clusters(64, 2), n)
    rates = {"alpha": [0.05], "beta": [0.01, 8.0], "num_steps": 20, "save_steps": (0, 20)}
    ours = run(Emulator(folder), q, **rates, choice=Choice("slices", 32, slices, ""))
    whole = run(Emulator(folder), q, **rates, choice=WARP)
    for name, values in whole.items():
        assert_allclose(ours[name], values, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("choice", [WARP, BLOCK, SLICES], ids=["warp", "block", "slices"])
def test_a_cell_does_not_depend_on_its_neighbours(choice, folder) -> None:
    """Bit for bit: alone, among diverging and jumping cells, in chunks, in single steps."""
    q = two_clusters(70, 2)
    alpha, beta = [0.05, 0.2], [0.01, 4.0]
    narrow = Emulator(folder, free_bytes=3000)
    crowd = run(narrow, q, [*alpha, 50.0], [*beta, 1e4], 60, choice=choice, save_steps=(9, 60))
    for i, j in np.ndindex(2, 2):
        at = {"choice": choice, "save_steps": (9, 60)}
        alone = run(Emulator(folder), q, [alpha[i]], [beta[j]], 60, **at)
        assert_same(alone, crowd, slice(3 * i + j, 3 * i + j + 1))
    sizes = {grid[0] for kernel, grid, _ in narrow.launches if kernel != "weights"}
    assert max(sizes) < 9


def test_the_forms_agree(folder) -> None:
    """To the rounding of sums in another order, before it has grown."""
    q = two_clusters(130, 3, ridge=0.1)
    rates = {"alpha": [0.05], "beta": [0.01, 1.0], "num_steps": 30}
    tables = [run(Emulator(folder), q, **rates, choice=c) for c in (WARP, BLOCK, SLICES)]
    for other in tables[1:]:
        for name, values in tables[0].items():
            assert_allclose(other[name], values, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("choice", [WARP, SLICES], ids=["warp", "slices"])
def test_statuses_and_last_steps_equal_those_of_numpy(choice, folder) -> None:
    q = two_clusters()
    rates = {"alpha": [0.1, 2.0, 30.0, 1e200], "beta": [0.1, 5.0, 1e200], "num_steps": 100}
    ours, theirs = (
        run(Emulator(folder), q, **rates, choice=choice),
        sweep(q, **rates, backend="numpy", keep_weights=True),
    )
    assert_array_equal(ours["status"], theirs.status.values.ravel())
    assert_array_equal(ours["last_step"], theirs.last_step.values.ravel())
    failed = ours["status"] != Status.ok
    assert set(ours["status"]) == {Status.ok, Status.diverged}
    kept = theirs.theta.values.reshape(-1, 2)[failed]
    assert_allclose(ours["theta"][failed, 0], kept, rtol=1e-6)


def test_a_singular_cell_is_marked(folder) -> None:
    """Two equal samples of integers carry all weight: the second pivot is exactly zero."""
    X = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    q = LeastSquares(X, [1.0, -1.0, 2.0], np.eye(2), [0.0, 3.0], ridge=0.0)
    rates = {"alpha": [0.01], "beta": [1e-3, 1e5], "num_steps": 50, "theta0": [1.0, -2.0]}
    ours = run(Emulator(folder), q, **rates)
    theirs = sweep(q, **rates, backend="numpy")
    assert_array_equal(ours["status"], theirs.status.values[0])
    assert_array_equal(ours["last_step"], theirs.last_step.values[0])
    assert ours["status"][1] == Status.underflow
    assert np.isnan(ours["outer_loss"][1, 0])


@pytest.mark.parametrize(
    "theta0, beta", [([1e13, 1e13], 1.0), ([1.7e308, 1.0], 1.0), (None, 1e308)]
)
def test_cells_that_die_at_once_keep_their_start(theta0, beta: float, folder) -> None:
    q = two_clusters()
    start = {"theta0": theta0} if theta0 else {}
    ours = run(Emulator(folder), q, [0.01, 0.02], [0.01, beta], 5, **start)
    theirs = sweep(q, alpha=[0.01, 0.02], beta=[0.01, beta], num_steps=5, backend="numpy", **start)
    assert_array_equal(ours["status"], theirs.status.values.ravel())
    dead = ours["status"] != Status.ok
    assert dead.reshape(2, 2)[:, 1].all()
    assert_array_equal(ours["last_step"][dead], 0)
    assert_allclose(ours["ess"][dead], 60.0)
    assert (ours["support"][dead] == 60).all()


@pytest.mark.parametrize("rho, eta", [(0.0, 0.5), (0.05, 0.0), (0.0, 0.0)])
def test_rates_of_zero_stand_still(rho: float, eta: float, folder) -> None:
    q = two_clusters(40, 2)
    ours = run(Emulator(folder), q, [rho], [eta], 25)
    path = plain(q, rho, eta, 25, q.initial_theta(np.full(40, 1 / 40)))
    assert ours["status"][0] == Status.ok
    assert_allclose(ours["theta"][0, 0], path[-1, :2], rtol=0, atol=1e-12)
    assert_allclose(ours["w"][0, 0], path[-1, 2:], rtol=0, atol=1e-12)


def test_jumps_of_thousands_of_logits(folder) -> None:
    q, theta0 = two_clusters(), np.array([50.0, -50.0])
    ours = run(Emulator(folder), q, [0.01], [1e-3, 1e4, 1e8], 5, theta0=theta0)
    assert (ours["status"] == Status.ok).all()
    for j, eta in enumerate((1e-3, 1e4, 1e8)):
        path = plain(q, 0.01, eta, 5, theta0)
        assert_allclose(ours["w"][j, 0], path[-1, 2:], rtol=0, atol=1e-9)


def test_weights_start_anywhere(folder) -> None:
    """Far from uniform, with samples of weight 1e-200; later the first cell is sensitive."""
    q = two_clusters(50, 2)
    w0 = np.geomspace(1e-200, 1.0, 50)
    w0 /= w0.sum()
    rates = {"alpha": [0.05], "beta": [0.5, 5.0], "num_steps": 10, "w0": w0}
    ours = run(Emulator(folder), q, **rates, save_steps=(0, 1, 10))
    theirs = sweep(q, **rates, save_steps=[0, 1, 10], backend="numpy", keep_weights=True)
    assert_allclose(ours["w"][:, 0], np.stack([w0, w0]), rtol=1e-12)
    assert_allclose(ours["w"], theirs.w.values[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("p", [1, 3, 8])
def test_a_logit_keeps_the_digits_that_a_plain_sum_loses(p: int, folder) -> None:
    """Neighbouring samples, U of 1e6: logits of 1e6 that differ by about one.

    Against rational arithmetic; a plain sum is off by some 1e6 units of round-off.
    """
    rng = np.random.default_rng(p)
    X = rng.normal(size=p) + 1e-6 * rng.normal(size=(20, p))
    q = LeastSquares(X, 1.0 + 1e-6 * rng.normal(size=20), np.eye(p), np.ones(p), ridge=0.1)
    U = rng.normal(size=(2, p * (p + 3) // 2)) * [[1e6], [1e-11]]
    exact = exact_weights(q, U)
    sharp = weights_at(Emulator(folder), q, U)
    assert np.abs(sharp - exact).max() < 1e-15
    plain_sum = quadratic_features(q.X, q.y) @ U.sum(axis=0)
    rough = np.exp(plain_sum - plain_sum.max())
    assert np.abs(rough / rough.sum() - exact).max() > 1e-13


@pytest.mark.parametrize("p", [1, 3])
def test_logits_of_far_samples_cancel_to_the_last_digit(p: int, folder) -> None:
    """U of 1e6 across the line between two samples: what is left of their logits is in U's tail."""
    rng = np.random.default_rng(p)
    q = LeastSquares(rng.normal(size=(2, p)), [1.0, 2.0], np.eye(p), np.ones(p), ridge=0.1)
    line = np.diff(quadratic_features(q.X, q.y), axis=0)[0]
    high = rng.normal(size=line.size)
    high = 1e6 * (high - (high @ line) / (line @ line) * line)
    U = np.stack([high, 1e-11 * rng.normal(size=line.size)])
    assert np.abs(weights_at(Emulator(folder), q, U) - exact_weights(q, U)).max() < 1e-15
    assert np.abs(exact_weights(q, U * [[1], [0]]) - exact_weights(q, U)).max() > 1e-12


@pytest.mark.parametrize("p", [1, 3])
def test_coordinates_are_summed_in_twice_the_digits(p: int, folder) -> None:
    """One sample and rho = 0: every step adds the same to U, so that 777 steps add 777 times it.

    With split logits from the start, whose only weight is exactly 1.
    """
    q = cut(two_clusters(4, p), 1)
    device = Emulator(folder, patch=lambda s: s.replace("real NEAR = 16;", "real NEAR = -1;"))
    plan = plan_of(q, [0.0], [0.7], 1, theta0=np.sqrt(np.arange(2.0, 2.0 + p)))
    cells = put_cells(q, plan, slice(0, 1), 1, device)
    launcher = Launcher(q, device, WARP, put_shared(q, plan, device))
    launcher.march(cells, 1, 0, 1)
    first = exact_sums(cells.U)
    theta, v = [Fraction(x) for x in plan.theta0], [-u for u in first[-p:]]
    products = [theta[a] * v[b] + (theta[b] * v[a] if b > a else 0) for a, b in pairs(p)]
    for once, product in zip(first[:-p], products, strict=True):
        assert abs(once / product - 1) < Fraction(1, 10**28)
    launcher.march(cells, 1, 1, 776)
    for once, often in zip(first, exact_sums(cells.U), strict=True):
        assert once != 0
        assert abs(often / (777 * once) - 1) < Fraction(1, 10**28)


def pairs(p: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(p) for b in range(a, p)]


def exact_sums(U: np.ndarray) -> list[Fraction]:
    return [Fraction(high) + Fraction(low) for high, low in U[0].T]


@pytest.mark.parametrize("scale, tolerance", [(1e-20, 1e-15), (1e20, 1e-15), (1e-150, 1e-9)])
def test_features_may_have_any_size(scale: float, tolerance: float, folder) -> None:
    """With 1e-150 the power of two to cut U at is beyond all numbers: a plain sum takes over."""
    rng = np.random.default_rng(0)
    X = scale * (rng.normal(size=2) + 1e-6 * rng.normal(size=(20, 2)))
    q = LeastSquares(X, scale * np.ones(20), np.eye(2), np.ones(2), ridge=0.1 * scale)
    U = rng.normal(size=(2, 5)) / scale**2 * [[1e6], [1e-11]]
    assert np.abs(weights_at(Emulator(folder), q, U) - exact_weights(q, U)).max() < tolerance


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_start_beyond_all_numbers_is_kept(dtype: str, folder) -> None:
    q = two_clusters(40).to(dtype=dtype)
    plan = plan_of(q, [0.01], [0.1], 3)
    plan = dataclasses.replace(plan, theta0=np.array([1e300, 1.0]))
    ours = run_cuda(q, plan, False, (0.5,), None, Emulator(folder), WARP)
    assert ours["status"][0] in (Status.nonfinite, Status.diverged)
    assert ours["last_step"][0] == 0
    assert_allclose(ours["ess"][0, 0], 40.0, rtol=1e-5)


def exact_weights(q: LeastSquares, U: np.ndarray) -> np.ndarray:
    """Return softmax(Phi U), its logits without any rounding."""
    p = q.num_params
    u = [Fraction(high) + Fraction(low) for high, low in U.T]
    logits = []
    for row, y in zip(q.X, q.y, strict=True):
        x = [Fraction(value) for value in row]
        phi = [x[a] * x[b] for a, b in pairs(p)] + [Fraction(y) * z for z in x]
        logits.append(sum(a * b for a, b in zip(phi, u, strict=True)))
    w = np.exp([float(logit - max(logits)) for logit in logits])
    return w / w.sum()


def weights_at(device: Emulator, q: LeastSquares, U: np.ndarray) -> np.ndarray:
    """Return the weights that the kernels give to one cell at U = high + low."""
    plan = plan_of(q, [0.0], [0.0], 1)
    cells = put_cells(q, plan, slice(0, 1), 1, device)
    launcher = Launcher(q, device, WARP, put_shared(q, plan, device))
    return launcher.describe(cells._replace(U=device.put(U[None])), 1, (0.5,), True)["w"][0]
