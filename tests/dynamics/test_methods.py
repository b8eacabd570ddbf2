"""Methods and their driver: updates against dense algebra, orders, counts, honest ends."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import (
    LeastSquares,
    Status,
    geometries,
    integrate,
    integrate_exact,
    methods,
    run_method,
)

from .cases import CASES, Case, case, least_squares, softmax, two_clusters

ALL = [methods.Joint(eta=0.3), methods.Exact(eta=0.3), methods.SOBA(eta=0.3)]
GEOMETRIES = [
    geometries.Mirror(),
    geometries.SoftmaxLogits(),
    geometries.Sigmoid(),
    geometries.Projection(),
    geometries.ClippedNormalised(),
]


def names(value: object) -> str:
    return type(value).__name__


def dense_psi(q: LeastSquares, theta: np.ndarray, w: np.ndarray) -> np.ndarray:
    H = q.X.T @ np.diag(w) @ q.X + q.ridge * np.eye(q.num_params)
    v = np.linalg.solve(H, q.X_val.T @ (q.X_val @ theta - q.y_val) / q.num_val)
    return -(q.X @ theta - q.y) * (q.X @ v)


@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
def test_one_step_of_joint_in_each_order(order: str) -> None:
    q, rho, eta = least_squares(), 0.05, 0.7
    c = case(q)
    theta, w = c.theta, c.w

    def grad(theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        return q.X.T @ (w * (q.X @ theta - q.y)) + q.ridge * theta

    def mirror(theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        new = w * np.exp(-eta * dense_psi(q, theta, w))
        return new / new.sum()

    if order == "theta_first":
        theta_new = theta - rho * grad(theta, w)
        w_new = mirror(theta_new, w)
    elif order == "w_first":
        w_new = mirror(theta, w)
        theta_new = theta - rho * grad(theta, w_new)
    else:
        theta_new, w_new = theta - rho * grad(theta, w), mirror(theta, w)
    run = run_method(q, methods.Joint(rho=rho, eta=eta, order=order), 1, theta0=theta, w0=w)
    assert_allclose(run.theta[-1], theta_new, rtol=1e-12)
    assert_allclose(run.w[-1], w_new, rtol=1e-10)


def test_one_step_of_soba_moves_the_adjoint_too() -> None:
    q, c = least_squares(), case(least_squares())
    method = methods.SOBA(rho=0.05, eta=0.7, rho_adjoint=0.02)
    run = run_method(q, method, 2, theta0=c.theta, w0=c.w, num_saved=3)
    theta, w = c.theta, c.w
    v = q.adjoint(theta, w)
    for k in range(2):
        H = q.hessian(theta, w)
        v_new = v - 0.02 * (H @ v - q.val_grad(theta))
        w_new = w * np.exp(0.7 * q.per_sample_jvp(theta, v))
        theta, v, w = theta - 0.05 * q.train_grad(theta, w), v_new, w_new / w_new.sum()
        assert_allclose(run.theta[k + 1], theta, rtol=1e-11)
        assert_allclose(run.w[k + 1], w, rtol=1e-10)


def test_the_adjoint_of_soba_tends_to_the_solution_at_frozen_theta_and_w() -> None:
    q, c = softmax(), case(softmax())
    method = methods.SOBA(rho=0.0, eta=0.0, rho_adjoint=0.2)
    geometry = geometries.Mirror()
    state = method.init(q, geometry, c.theta, np.log(c.w), 0)
    state = type(state)(**{**vars(state), "adjoint": np.zeros(9)})
    for _ in range(800):
        state = method.step(q, geometry, state)
    assert_allclose(state.adjoint, q.adjoint(c.theta, c.w), rtol=1e-5, atol=1e-8)


def test_joint_is_euler_of_order_one_on_the_flow() -> None:
    """T2: the error at t = 2 halves with dt."""
    q = two_clusters()
    flow = integrate(q, alpha=0.5, beta=1.0, t_span=(0, 2), t_eval=[0, 2], rtol=1e-11, atol=1e-13)
    errors = []
    for dt in (0.01, 0.005, 0.0025):
        run = run_method(q, methods.Joint(rho=0.5 * dt, eta=dt), round(2 / dt))
        errors.append(np.abs(run.w[-1] - flow.w[-1]).sum())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert_allclose(orders, 1.0, atol=0.05)  # first order, with a second-order remainder


def test_exact_method_is_euler_on_the_exact_flow_and_descends() -> None:
    q = two_clusters()
    flow = integrate_exact(q, beta=1.0, t_span=(0, 2), t_eval=[0, 2])
    coarse, run = (run_method(q, methods.Exact(eta=2 / k), k) for k in (1000, 2000))
    errors = [np.abs(r.w[-1] - flow.w[-1]).sum() for r in (coarse, run)]
    assert_allclose(errors[0] / errors[1], 2.0, atol=0.05)
    assert (np.diff(q.outer_loss(run.w)) < 0).all()
    assert_allclose(run.theta, q.theta_star(run.w), rtol=1e-10)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=names)
@pytest.mark.parametrize("method", ALL, ids=names)
@pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
def test_every_method_runs_on_every_problem_and_geometry(c: Case, method, geometry) -> None:
    run = run_method(c.problem, method, 20, geometry=geometry, num_saved=5)
    assert run.status is Status.ok, run.message
    assert run.t.tolist() == [0, 5, 10, 15, 20]
    assert run.theta.shape == (5, c.problem.num_params)
    assert (run.w >= 0).all()
    if not isinstance(geometry, geometries.Sigmoid):
        assert_allclose(run.w.sum(axis=-1), 1.0, rtol=1e-10)
    assert np.abs(run.w[-1] - run.w[0]).max() > 1e-6
    assert c.problem.val_loss(run.theta[-1]).shape == ()


@pytest.mark.parametrize("method", ALL, ids=names)
def test_direction_is_the_hypergradient_in_the_limit(method) -> None:
    q, c = least_squares(), case(least_squares())
    point = q.theta_star(c.w) if isinstance(method, methods.Exact) else c.theta
    assert_allclose(method.direction(q, c.theta, c.w), dense_psi(q, point, c.w), rtol=1e-9)


def test_runs_over_leading_axes_are_independent() -> None:
    q, rng = two_clusters(), np.random.default_rng(0)
    rho, eta = np.array([0.1, 0.2, 0.05]), np.array([0.3, 0.01, 1.0])
    w0, theta0 = rng.dirichlet(np.ones(60), size=3), rng.normal(size=(3, 2))
    together = run_method(q, methods.Joint(rho=rho, eta=eta), 50, w0=w0, theta0=theta0)
    assert together.theta.shape == (51, 3, 2)
    assert together.w.shape == (51, 3, 60)
    for k in range(3):
        method = methods.Joint(rho=rho[k], eta=eta[k])
        alone = run_method(q, method, 50, w0=w0[k], theta0=theta0[k])
        assert_allclose(together.theta[:, k], alone.theta, rtol=1e-9, atol=1e-12)
        assert_allclose(together.w[:, k], alone.w, rtol=1e-8, atol=1e-12)


def test_oracles_are_counted_by_class() -> None:
    run = run_method(least_squares(), methods.SOBA(), 10)
    assert run.oracle_counts["hvp"] == 10
    assert run.oracle_counts["train_grad"] == 10
    assert run.oracle_counts["per_sample_jvp"] == 10
    assert run.oracle_counts["val_grad"] == 10 + 1  # one for the first adjoint
    blocks = run_method(CASES["multi"].problem, methods.SOBA(), 10)
    assert blocks.oracle_counts["train_grad"] == 20  # two blocks
    exact = run_method(softmax(), methods.Exact(), 3)
    assert exact.oracle_counts["theta_star"] == 4
    assert exact.oracle_counts["hvp"] > 4  # the Newton steps inside


def test_same_seed_same_numbers_and_other_seed_others() -> None:
    q = two_clusters()
    method = methods.SOBA(rho=0.05, eta=0.05, batch_size=16)
    a, b, c = (run_method(q, method, 50, seed=seed) for seed in (3, 3, 4))
    assert (a.theta == b.theta).all()
    assert (a.w == b.w).all()
    assert np.abs(a.w[-1] - c.w[-1]).max() > 1e-6


def test_a_batch_of_everything_is_the_full_method() -> None:
    q = two_clusters()
    full = run_method(q, methods.SOBA(rho=0.1, eta=0.1), 30)
    batch = run_method(q, methods.SOBA(rho=0.1, eta=0.1, batch_size=1000), 30)
    assert_allclose(batch.w, full.w, rtol=1e-9)


def test_the_stochastic_step_is_unbiased() -> None:
    """The mean over seeds of one mini-batch step equals the full step, within 5 standard errors."""
    q = least_squares(n=12)
    kwargs = {"theta0": np.ones(3), "num_saved": 2}
    full = run_method(q, methods.SOBA(rho=1e-3, eta=1e-6), 1, **kwargs)
    method = methods.SOBA(rho=1e-3, eta=1e-6, batch_size=4)
    runs = [run_method(q, method, 1, seed=seed, **kwargs) for seed in range(600)]
    for name in ("theta", "log_w"):
        moves = np.array([getattr(run, name)[1] - getattr(run, name)[0] for run in runs])
        expected = getattr(full, name)[1] - getattr(full, name)[0]
        error = np.abs(moves.mean(axis=0) - expected)
        # the normalisation of log w adds terms of order eta^2 = 1e-12 times Psi^2
        assert (error <= 5 * moves.std(axis=0) / np.sqrt(600) + 1e-9).all()


def test_bad_rates_give_a_status_not_a_nan() -> None:
    run = run_method(two_clusters(), methods.Joint(rho=50.0, eta=0.1), 500)
    assert run.status is Status.diverged
    assert "`rho`" in run.message
    assert 0 < run.t[-1] < 500
    assert np.isfinite(run.theta).all()
    assert np.isfinite(run.w).all()


def test_the_rest_of_the_run_is_kept_when_it_breaks() -> None:
    run = run_method(two_clusters(), methods.Joint(rho=3.0, eta=0.0), 4000, num_saved=400)
    assert run.status is Status.diverged
    assert len(run) > 2
    assert (np.diff(run.t) > 0).all()


def test_default_inner_step_is_one_over_L() -> None:
    q = two_clusters()
    L = q.constants()[1]
    a = run_method(q, methods.Joint(eta=0.1), 20)
    b = run_method(q, methods.Joint(rho=1 / L, eta=0.1), 20)
    assert_allclose(a.theta, b.theta, rtol=1e-13)


def test_the_tail_holds_the_last_consecutive_steps() -> None:
    q = two_clusters()
    sparse = run_method(q, methods.Joint(eta=0.1), 40, num_saved=2)
    dense = run_method(q, methods.Joint(eta=0.1), 40, num_saved=41)
    assert_allclose(sparse.tail, dense.log_w[-4:], rtol=1e-13)


def test_at_slow_weights_the_methods_agree() -> None:
    """At eta/rho = 0.01 joint, soba and exact end at the same h to three digits."""
    q = two_clusters(n=60, p=3, m=40)
    ends = [
        run_method(q, methods.Joint(rho=0.3, eta=0.003), 8000),
        run_method(q, methods.SOBA(rho=0.3, eta=0.003), 8000),
        run_method(q, methods.Exact(eta=0.003), 8000),
    ]
    h = [q.outer_loss(run.w[-1]) for run in ends]
    assert_allclose(h, h[-1], rtol=2e-3)
    assert h[-1] < 0.2 * q.outer_loss(np.full(60, 1 / 60))


def test_fast_weights_are_sparser_than_slow_ones() -> None:
    q = two_clusters(n=200, p=2, m=100)
    slow = run_method(q, methods.Joint(rho=0.1, eta=0.01), 4000)
    fast = run_method(q, methods.Joint(rho=0.01, eta=1.0), 4000)
    ess = [1 / (run.w[-1] ** 2).sum() for run in (slow, fast)]
    assert ess[0] > 20 > 10 > ess[1]


def test_trajectories_become_datasets() -> None:
    run = run_method(two_clusters(), methods.Joint(eta=0.1), 20, num_saved=5)
    ds = run.to_xarray()
    assert ds.sizes == {"step": 5, "param": 2, "threshold": 3, "sample": 60}
    assert_allclose(ds.ess, 1 / (run.w**2).sum(axis=-1))
    assert_allclose(ds.clean_mass, run.w[:, :30].sum(axis=-1))
    assert ds.status.attrs["flag_meanings"].split()[int(ds.status)] == "ok"
    for key in ("version", "config_hash", "root_seed", "libraries", "wall_seconds"):
        assert key in ds.attrs["provenance"]
    assert "w" not in run.to_xarray(weights=False)
