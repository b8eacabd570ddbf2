"""Limits of the inner loop: one step, infinitely many, Nesterov's method, Newton's, solves."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, geometries, methods, run_method

from ..cases import case, least_squares, two_clusters
from .table import ALL, KINDS, name, with_knobs

ORDERS = ("simultaneous", "theta_first", "w_first")
INNER = [m for m in ALL if not isinstance(m, methods.InnerLoop)]
BEGIN = [m for m in INNER if not m.ignores_start]
"""Methods whose steps begin at their present points."""
each = pytest.mark.parametrize("method", BEGIN, ids=name)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("method", INNER, ids=name)
def test_one_gradient_step_is_the_method_bit_for_bit(method, order: str) -> None:
    q, theta0 = least_squares(), np.array([0.4, -0.3, 0.2])
    parts = [method]
    if "batch_size" in vars(method):
        parts.append(dataclasses.replace(method, batch_size=5))
    for part in parts:
        own = dataclasses.replace(part, order=order)
        alone = run_method(q, own, 6, theta0=theta0, seed=2)
        for loop in (
            methods.InnerLoop(method=own, num_inner_steps=1),
            methods.InnerLoop(method=own, num_inner_steps=1, optimiser="newton"),
            methods.InnerLoop(method=part, num_inner_steps=1, order=order),
        ):
            got = run_method(q, loop, 6, theta0=theta0, seed=2)
            assert (got.theta == alone.theta).all()
            assert (got.log_w == alone.log_w).all()
            assert got.oracle_counts == alone.oracle_counts


FIRST = "theta_first"
SHARED_LOOPS = [
    (methods.ConjugateGradient(eta=0.3, order=FIRST), {}),
    (methods.ConjugateGradient(eta=0.3, prox=0.2, order=FIRST), {}),
    (methods.Neumann(eta=0.3, order=FIRST), {}),
    (methods.F2SA(eta=0.3, growth=1.0, decay=0.5, order=FIRST), {}),
    (methods.Penalty(eta=0.3, num_inner_steps=1, order=FIRST), {}),
    (methods.BOREP(period=1, num_inner_steps=1, rho_adjoint=0.0, order=FIRST), {}),
    (
        methods.TruncatedReverse(eta=0.3, num_inner_steps=3, num_kept=3, order="simultaneous"),
        {"num_inner_steps": 6},
    ),
]
"""Methods with a loop of their own, and their knobs that stand for three relaxations."""


@pytest.mark.parametrize("method, knobs", SHARED_LOOPS, ids=[name(m) for m, _ in SHARED_LOOPS])
def test_the_loop_is_that_of_methods_that_have_one(method, knobs) -> None:
    q, theta0 = two_clusters(), np.array([0.4, -0.3])
    own = dataclasses.replace(method, **(knobs or {"num_inner_steps": 4}))
    expected = run_method(q, own, 8, theta0=theta0)
    got = run_method(q, methods.InnerLoop(method=method, num_inner_steps=4), 8, theta0=theta0)
    assert (got.theta == expected.theta).all()
    assert (got.log_w == expected.log_w).all()


@pytest.mark.parametrize("order", ORDERS)
def test_the_loop_of_joint_by_hand(order: str) -> None:
    q, rho, eta, T = two_clusters(), 0.05, 0.2, 5
    mirror = geometries.Mirror()
    theta, log_w = np.array([0.4, -0.3]), np.log(np.full(60, 1 / 60))
    loop = methods.InnerLoop(method=methods.Joint(rho=rho, eta=eta, order=order), num_inner_steps=T)
    run = run_method(q, loop, 4, theta0=theta, num_saved=5)
    for k in range(4):
        for _ in range(T - 1):
            theta = theta - rho * q.train_grad(theta, np.exp(log_w))
        new_theta = theta - rho * q.train_grad(theta, np.exp(log_w))
        at = new_theta if order == "theta_first" else theta
        new_log_w = mirror.step(log_w, q.hypergradient(at, np.exp(log_w)), eta)
        if order == "w_first":
            new_theta = theta - rho * q.train_grad(theta, np.exp(new_log_w))
        theta, log_w = new_theta, new_log_w
        assert_allclose(run.theta[k + 1], theta, rtol=1e-12)
        assert_allclose(run.log_w[k + 1], log_w, rtol=1e-12)
    assert run.oracle_counts["train_grad"] == 4 * T
    assert run.oracle_counts["val_grad"] == 4


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "knobs",
    [
        {"resolve_every": 1},
        {"num_inner_steps": 500},
        {"num_inner_steps": 2, "optimiser": "newton"},
        {"num_inner_steps": 400, "optimiser": "momentum", "momentum": 0.8},
    ],
    ids=str,
)
def test_solved_points_give_the_weights_of_exact(knobs, order: str) -> None:
    """In every order: the field is read at rest; theta may lag by one step."""
    q = least_squares(ridge=0.5)
    expected = run_method(q, methods.Exact(eta=0.3), 5, num_saved=6)
    if order == "theta_first" and "resolve_every" not in knobs:
        knobs = {**knobs, "num_inner_steps": knobs["num_inner_steps"] + 1}
    for method in (methods.Joint(eta=0.3), methods.BSVRB(eta=0.3, track_hessian=True)):
        loop = methods.InnerLoop(method=dataclasses.replace(method, order=order), **knobs)
        got = run_method(q, loop, 5, num_saved=6, theta0=np.ones(3))
        assert_allclose(got.w, expected.w, rtol=1e-6)
    solves = got.oracle_counts.get("theta_star", 0)
    assert solves == (5 if "resolve_every" in knobs else 0)


def tight(method: methods.Method) -> methods.Method:
    """Return a method that rests, and does so fast: w first, no growing averages."""
    own = {"BOREP": {"momentum": 0.0, "norm": None, "decay": 0.0}, "LVHBA": {"gamma": 10.0}}
    return dataclasses.replace(method, order="w_first", **own.get(name(method), {}))


@pytest.mark.parametrize("method", [m for m in BEGIN if name(m) != "SelfTuning"], ids=name)
def test_infinitely_many_inner_steps_are_solves(method: methods.Method) -> None:
    """SelfTuning rests up to sigma squared only; its relaxations have a test of their own."""
    q, method = least_squares(ridge=1.0), tight(method)
    theta0 = np.array([0.4, -0.3, 0.2])
    many = methods.InnerLoop(method=method, num_inner_steps=800)
    solved = methods.InnerLoop(method=method, resolve_every=1)
    once = run_method(q, method, 3, theta0=theta0)
    a, b = (run_method(q, loop, 3, theta0=theta0) for loop in (many, solved))
    assert_allclose(a.w, b.w, rtol=1e-5)
    assert_allclose(a.theta[1:], b.theta[1:], rtol=1e-4, atol=1e-5)
    assert np.abs(once.theta[-1] - b.theta[-1]).max() > 1e-6


def quadratic(curvatures: list[float]) -> LeastSquares:
    """Return a problem whose H has the given eigenvalues, at uniform weights, along the axes."""
    n, half = len(curvatures), np.sqrt(len(curvatures) * (np.array(curvatures) - 0.01))
    rng = np.random.default_rng(0)
    return LeastSquares(np.diag(half), rng.normal(size=n), np.eye(n), np.zeros(n), ridge=0.01)


def nesterov(q: LeastSquares, theta, rho: float, m: float, num_steps: int) -> np.ndarray:
    """Return the path of Nesterov's method on G at uniform weights."""
    w = np.full(q.num_samples, 1 / q.num_samples)
    path, before = [theta], theta
    for _ in range(num_steps):
        ahead = theta + m * (theta - before)
        before, theta = theta, ahead - rho * q.train_grad(ahead, w)
        path.append(theta)
    return np.array(path)


def test_momentum_is_nesterovs_method_across_outer_steps() -> None:
    q, theta0 = quadratic([1.0, 0.3, 0.05]), np.array([1.0, -2.0, 3.0])
    for T in (1, 4):
        loop = methods.InnerLoop(
            method=methods.Joint(rho=0.9, eta=0.0),
            num_inner_steps=T,
            optimiser="momentum",
            momentum=0.7,
        )
        got = run_method(q, loop, 6, theta0=theta0, num_saved=7).theta
        assert_allclose(got, nesterov(q, theta0, 0.9, 0.7, 6 * T)[::T], rtol=1e-12)


def test_the_best_momentum_contracts_by_the_root_of_the_condition_number() -> None:
    """A double root r = 1 - 1/sqrt(kappa) of the slowest mode: its error is r^k (a + b k)."""
    kappa, T = 100.0, 10
    q, theta0 = quadratic([1.0, 0.4, 1.0 / kappa]), np.array([1.0, 1.0, 1.0])
    best = (np.sqrt(kappa) - 1.0) / (np.sqrt(kappa) + 1.0)
    ends = {}
    for optimiser in ("gradient", "momentum"):
        loop = methods.InnerLoop(
            method=methods.Joint(rho=1.0, eta=0.0),
            num_inner_steps=T,
            optimiser=optimiser,
            momentum=best,
        )
        run = run_method(q, loop, 12, theta0=theta0, num_saved=13)
        ends[optimiser] = (run.theta - q.theta_star(np.full(3, 1 / 3)))[:, 2]
    k = T * np.arange(13)
    scaled = ends["momentum"] / (1.0 - 1.0 / np.sqrt(kappa)) ** k
    assert_allclose(np.diff(scaled, 2), 0.0, atol=1e-6 * np.abs(scaled).max())
    assert_allclose(ends["gradient"], ends["gradient"][0] * (1.0 - 1.0 / kappa) ** k, rtol=1e-9)
    assert abs(ends["momentum"][-1]) < 1e-3 * abs(ends["gradient"][-1])


def test_points_that_a_method_carries_have_momentum_too() -> None:
    """SOBA at rest in theta: v is Nesterov's method on its own quadratic."""
    q, m, rho = least_squares(ridge=0.5), 0.6, 0.1
    w = np.full(12, 1 / 12)
    theta = q.theta_star(w)
    method = methods.SOBA(rho=rho, eta=0.0)
    loop = methods.InnerLoop(method=method, num_inner_steps=3, optimiser="momentum", momentum=m)
    state = loop.init(q, geometries.Mirror(), theta, np.log(w), 0)
    v = before = np.ones(3)
    state = dataclasses.replace(
        state, inner=dataclasses.replace(state.inner, adjoint=v), before=(theta, v)
    )
    for _ in range(2):
        state = loop.step(q, geometries.Mirror(), state)
    for _ in range(6):
        ahead = v + m * (v - before)
        before, v = v, ahead - rho * (q.hvp(theta, w, ahead) - q.val_grad(theta))
    assert_allclose(state.inner.adjoint, v, rtol=1e-8)
    assert_allclose(state.before[1], before, rtol=1e-8)


def test_a_solve_every_third_step() -> None:
    q, rho, eta = two_clusters(), 0.02, 1.0
    method = methods.Joint(rho=rho, eta=eta)
    loop = methods.InnerLoop(method=method, num_inner_steps=1, resolve_every=3)
    run = run_method(q, loop, 7, theta0=np.array([2.0, 2.0]), num_saved=8)
    mirror, theta, log_w = geometries.Mirror(), np.array([2.0, 2.0]), np.log(np.full(60, 1 / 60))
    for k in range(7):
        if k % 3 == 0:
            theta = q.theta_star(np.exp(log_w))
        state = method.init(q, mirror, theta, log_w, 0)
        state = method.step(q, mirror, state)
        theta, log_w = state.theta, state.outer
        assert_allclose(run.theta[k + 1], theta, rtol=1e-10)
        assert_allclose(run.log_w[k + 1], log_w, rtol=1e-10)
    assert run.oracle_counts["theta_star"] == 3


@each
def test_a_solve_that_never_comes_again_changes_the_start_alone(method) -> None:
    """With K above the number of steps, only the first step begins at solved points."""
    q, method = least_squares(), dataclasses.replace(method, order="w_first")
    loop = methods.InnerLoop(method=method, num_inner_steps=1, resolve_every=100)
    geometry = method.geometries[0]() if method.geometries else geometries.Mirror()
    c = case(q)
    state = method.init(q, geometry, c.theta, geometry.start(np.log(np.full(12, 1 / 12))), 0)
    state = method.settle(q, geometry, state)
    for _ in range(3):
        state = method.step(q, geometry, state)
    got = run_method(q, loop, 3, theta0=c.theta).theta[-1]
    assert_allclose(got, state.theta, rtol=1e-12)


def test_the_direction_is_that_of_the_method() -> None:
    q = least_squares()
    c = case(q)
    for method in BEGIN:
        loop = methods.InnerLoop(method=method)
        assert (loop.direction(q, c.theta, c.w) == method.direction(q, c.theta, c.w)).all()
    assert KINDS["InnerLoop"]().method == methods.Joint()
    assert with_knobs(methods.InnerLoop(), eta=3.0).method.eta == 3.0
