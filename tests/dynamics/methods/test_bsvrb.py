"""BSVRB: exact with everything drawn, unbiased increments, less variance with a part."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, MultiProblem, Status, geometries, methods, run_method

from ..cases import CASES, Case, Refusals, case, least_squares, refusals, softmax, two_clusters

MIRROR = geometries.Mirror()
every = pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())


def domains(num_blocks: int = 5) -> MultiProblem:
    """Return problems with one training set and validation sets of their own."""
    q, rng = two_clusters(n=40), np.random.default_rng(5)
    parts = []
    for k in range(num_blocks):
        X = rng.normal(size=(15, 2)) * (1 + 0.3 * k)
        y = X @ np.ones(2) + 0.1 * rng.normal(size=15)
        parts.append(LeastSquares(q.X, q.y, X, y, ridge=0.05))
    return MultiProblem(parts)


@every
@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
@pytest.mark.parametrize("mixing", [0.1, 1.0])
def test_with_all_blocks_and_data_it_is_soba(c: Case, order: str, mixing: float) -> None:
    knobs = {"rho": 0.05, "eta": 0.2, "rho_adjoint": 0.03, "order": order}
    start = {"theta0": c.theta, "w0": c.w}
    a = run_method(c.problem, methods.BSVRB(mixing=mixing, **knobs), 30, **start)
    b = run_method(c.problem, methods.SOBA(**knobs), 30, **start)
    assert_allclose(a.theta, b.theta, rtol=1e-8, atol=1e-10)
    assert_allclose(a.log_w, b.log_w, rtol=1e-8, atol=1e-9)


@every
@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
@pytest.mark.parametrize("mixing", [0.1, 1.0])
def test_with_tracked_hessians_it_is_joint(c: Case, order: str, mixing: float) -> None:
    knobs = {"rho": 0.05, "eta": 0.2, "order": order}
    start = {"theta0": c.theta, "w0": c.w}
    method = methods.BSVRB(mixing=mixing, track_hessian=True, **knobs)
    a = run_method(c.problem, method, 20, **start)
    b = run_method(c.problem, methods.Joint(tol=1e-12, **knobs), 20, **start)
    assert_allclose(a.theta, b.theta, rtol=1e-7, atol=1e-9)
    assert_allclose(a.log_w, b.log_w, rtol=1e-7, atol=1e-8)


def test_a_batch_of_everything_is_everything() -> None:
    q = domains()
    for track in (False, True):
        knobs = {"eta": 0.2, "num_sampled": 5, "track_hessian": track}
        a = run_method(q, methods.BSVRB(batch_size=1000, **knobs), 20)
        b = run_method(q, methods.BSVRB(**knobs), 20)
        assert_allclose(a.w, b.w, rtol=1e-9)


def moved_state(method, q, seed: int):
    """Return a state whose averages were taken at another point than the present one."""
    c, rng = case(q), np.random.default_rng(9)
    state = method.init(q, MIRROR, c.theta, np.log(c.w), seed)
    there = {
        "theta": c.theta + 0.2 * rng.normal(size=c.theta.size),
        "adjoint": state.adjoint + 0.2 * rng.normal(size=c.theta.size),
        "outer": np.log(rng.dirichlet(np.full(c.w.size, 3.0))),
    }
    return type(state)(**{**vars(state), **there})


@pytest.mark.parametrize("num_sampled", [1, 2, 3])
def test_the_estimator_of_sampled_blocks(num_sampled: int) -> None:
    """s+ = (1 - a) s + a g + c (g - g_old) for sampled blocks, the others rest."""
    q, a, rho = domains(3), 0.4, 0.05
    method = methods.BSVRB(mixing=a, num_sampled=num_sampled, rho=rho, rho_adjoint=0.02, eta=0.0)
    c = (3 - num_sampled) / (num_sampled * (1 - a)) + 1 - a
    seen = set()
    for seed in range(8):
        state = moved_state(method, q, seed)
        new, w, w_old = method.step(q, MIRROR, state), np.exp(state.outer), state.last_w
        drawn = []
        for k, (part, b) in enumerate(zip(q.problems, q.blocks, strict=True)):
            theta, old = state.theta[b], state.last_theta[b]
            g, g_old = part.train_grad(theta, w), part.train_grad(old, w_old)
            v, v_old = state.adjoint[b], state.last_adjoint[b]
            r = part.hvp(theta, w, v) - part.val_grad(theta)
            r_old = part.hvp(old, w_old, v_old) - part.val_grad(old)
            if (new.theta[b] == theta).all():
                for name in ("slope", "error", "adjoint"):
                    assert (getattr(new, name)[b] == getattr(state, name)[b]).all()
                continue
            drawn.append(k)
            s = (1 - a) * state.slope[b] + a * g + c * (g - g_old)
            e = (1 - a) * state.error[b] + a * r + c * (r - r_old)
            assert_allclose(new.slope[b], s, rtol=1e-10)
            assert_allclose(new.theta[b], theta - rho * s, rtol=1e-10)
            assert_allclose(new.adjoint[b], v - 0.02 * e, rtol=1e-10)
        assert len(drawn) == num_sampled
        fields = []
        for theta, v in (
            (state.theta, state.adjoint),
            (state.seen_theta, state.seen_adjoint),
        ):
            jvps = [q.problems[k].per_sample_jvp(theta[q.blocks[k]], v[q.blocks[k]]) for k in drawn]
            fields.append(-np.mean(jvps, axis=0))
        expected = (1 - a) * state.field + a * fields[0] + (1 - a) * (fields[0] - fields[1])
        assert_allclose(new.field, expected, rtol=1e-9, atol=1e-12)
        seen.add(tuple(drawn))
    assert len(seen) == (1 if num_sampled == 3 else 3)


@pytest.mark.parametrize("track_hessian", [False, True])
def test_the_averages_are_unbiased_in_the_mini_batch(track_hessian: bool) -> None:
    """The mean over seeds equals the average with full gradients, within 5 standard errors."""
    q = least_squares(n=12)
    knobs = {"mixing": 0.3, "eta": 0.0, "track_hessian": track_hessian}
    full = methods.BSVRB(**knobs)
    expected = full.step(q, MIRROR, moved_state(full, q, 0))
    method = methods.BSVRB(batch_size=4, **knobs)
    states = [method.step(q, MIRROR, moved_state(method, q, seed)) for seed in range(500)]
    for name in ("slope", "error", "hessian") if track_hessian else ("slope", "error", "field"):
        values = np.array([getattr(state, name) for state in states])
        error = np.abs(values.mean(axis=0) - getattr(expected, name))
        assert (error <= 5 * values.std(axis=0) / np.sqrt(500) + 1e-12).all(), name
        assert values.std() > 0


def test_the_variance_is_below_that_of_plain_mini_batches() -> None:
    """At mixing 0.1 the field scatters with a/(2 - a) = 0.05 of the variance of one batch.

    Theta and the adjoint are followed with less scatter too, so the bound is 0.2.
    """
    q = two_clusters(n=40)
    method = methods.BSVRB(mixing=0.1, batch_size=8, rho=0.01, eta=1e-3)
    errors, plain = [], []
    for seed in range(30):
        w = np.full(40, 1 / 40)
        state = method.init(q, MIRROR, q.theta_star(w), np.log(w), seed)
        for _ in range(40):
            state = method.step(q, MIRROR, state)
        point = state.seen_theta, state.seen_adjoint
        exact = -q.per_sample_jvp(*point)
        errors.append(state.field - exact)
        rows = np.random.default_rng(seed).choice(40, 8, replace=False)
        batch = np.zeros(40)
        batch[rows] = exact[rows] * 5
        plain.append(batch - exact)
    assert np.mean(np.square(errors)) < 0.2 * np.mean(np.square(plain))


@pytest.mark.parametrize("track_hessian", [False, True])
def test_many_domains_a_few_at_a_time(track_hessian: bool) -> None:
    q = domains(6)
    knobs = {"num_sampled": 2, "batch_size": 15, "rho": 0.05, "eta": 0.01}
    method = methods.BSVRB(track_hessian=track_hessian, **knobs)
    run = run_method(q, method, 1500)
    assert run.status is Status.ok, run.message
    h = q.outer_loss(run.w[[0, -1]])
    assert h[1] < 0.1 * h[0]
    assert run.w[-1][:20].sum() > 0.7


def test_an_indefinite_average_of_hessians_is_raised_to_the_ridge() -> None:
    """One sample at a time: averages of rank one are solved, and stay finite."""
    q = domains(3)
    method = methods.BSVRB(batch_size=1, track_hessian=True, mixing=0.9, num_sampled=2, rho=1e-3)
    state = moved_state(method, q, 0)
    matrix = np.diag([2.0, -1.0])
    state = type(state)(**{**vars(state), "hessian": np.tile(matrix.ravel(), 3)})
    still = methods.BSVRB(track_hessian=True, mixing=1e-12, num_sampled=3, eta=0.0)
    same = {"last_theta": state.theta, "seen_theta": state.theta}
    same |= {"seen_w": np.exp(state.outer), "last_w": np.exp(state.outer)}
    new = still.step(q, MIRROR, type(state)(**{**vars(state), **same}))
    for part, b in zip(q.problems, q.blocks, strict=True):
        expected = state.error[b] / np.array([2.0, part.ridge])
        assert_allclose(new.adjoint[b], expected, rtol=1e-6)
    assert run_method(q, method, 50).status is Status.ok


def test_default_number_of_sampled_blocks_is_four() -> None:
    q = domains(6)
    counts = run_method(q, methods.BSVRB(), 10).oracle_counts
    assert counts["train_grad"] == 6 + 10 * 4 * 2
    assert counts["per_sample_jvp"] == 6 + 10 * 4 * 2
    single = run_method(softmax(), methods.BSVRB(num_sampled=7), 10).oracle_counts
    assert single["train_grad"] == 1 + 10 * 2


def test_direction_is_the_mean_hypergradient() -> None:
    q, c = domains(3), case(domains(3))
    parts = [p.hypergradient(c.theta[b], c.w) for p, b in zip(q.problems, q.blocks, strict=True)]
    assert_allclose(methods.BSVRB().direction(q, c.theta, c.w), np.mean(parts, axis=0), rtol=1e-10)


def sampled_without_memory() -> object:
    return run_method(domains(3), methods.BSVRB(mixing=1.0, num_sampled=1), 1)


@refusals(
    Refusals(
        zero=(lambda: methods.BSVRB(mixing=0.0), ValueError, "`mixing` must be > 0; got 0.0"),
        mixing=(lambda: methods.BSVRB(mixing=1.5), ValueError, "`mixing` must be at most 1"),
        sampled=(lambda: methods.BSVRB(num_sampled=0), ValueError, "`num_sampled` must be >= 1"),
        batch=(lambda: methods.BSVRB(batch_size=0), ValueError, "`batch_size` must be >= 1"),
        flag=(lambda: methods.BSVRB(track_hessian=1), TypeError, "`track_hessian` must be True"),
        memory=(sampled_without_memory, ValueError, "`mixing` must be below 1 where 1 of 3 blocks"),
    )
)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
