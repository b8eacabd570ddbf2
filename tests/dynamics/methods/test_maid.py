"""MAID: the certificate holds, h falls at every accepted step, with no more work than needed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import SoftmaxRegression, Status, geometries, methods, run_method

from ..cases import Refusals, case, least_squares, refusals, softmax, two_clusters

MIRROR = geometries.Mirror()
GEOMETRIES = [MIRROR, geometries.SoftmaxLogits(), geometries.Projection()]


def bounds(q: SoftmaxRegression) -> dict[str, float]:
    """Return true bounds for softmax: logits vary by at most sqrt(2)|x| along a unit theta."""
    length, length_val = (np.linalg.norm(X, axis=1).max() for X in (q.X, q.X_val))
    return {
        "lipschitz_val": 0.5 * length_val**2,
        "lipschitz_hessian": 2**-0.5 * length**3,
    }


@pytest.mark.parametrize("tol", [1.0, 1e-2, 1e-5])
@pytest.mark.parametrize("seed", range(4))
def test_the_error_never_exceeds_the_certificate(seed: int, tol: float) -> None:
    q, rng = least_squares(n=20, p=4, ridge=0.05, seed=seed), np.random.default_rng(seed)
    w, theta = rng.dirichlet(np.full(20, 0.3), size=50), rng.normal(size=(50, 4))
    method = methods.MAID(tol_inner=tol, tol_adjoint=tol)
    field, omega = method.certified(q, theta, w)
    error = np.abs(field - q.outer_grad(w)).max(axis=-1)
    # the gradients themselves are known to round-off only
    assert (error <= omega[:, 0] + 1e-11).all()
    centred = field - (w * field).sum(axis=-1, keepdims=True)
    assert (omega[:, 0] <= 0.5 * np.sqrt((w * centred**2).sum(axis=-1))).all()
    assert_allclose(method.direction(q, theta, w), field)


def test_the_certificate_of_softmax_with_true_bounds() -> None:
    q, rng = softmax(), np.random.default_rng(0)
    w, theta = rng.dirichlet(np.ones(14), size=40), rng.normal(size=(40, 9))
    field, omega = methods.MAID(**bounds(q)).certified(q, theta, w)
    error = np.abs(field - q.outer_grad(w)).max(axis=-1)
    assert (error <= omega[:, 0]).all()
    assert error.max() > 1e-9  # it is an inexact field


def test_the_certificate_grows_with_the_bounds() -> None:
    q, c = least_squares(), case(least_squares())
    omegas = []
    for knobs in ({}, {"lipschitz_val": 1e3}, {"lipschitz_hessian": 1e3}):
        method = methods.MAID(tol_inner=1e-6, tol_adjoint=1e-6, **knobs)
        omegas.append(method.certified(q, c.theta, c.w)[1].item())
    assert omegas[1] > omegas[0]
    assert omegas[2] > omegas[0]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("kind", ["least squares", "softmax"])
def test_h_falls_at_every_accepted_step(kind: str, geometry) -> None:
    if kind == "softmax":
        q, knobs, count = softmax(), bounds(softmax()), 25
    else:
        q, knobs, count = two_clusters(), {}, 60
    method = methods.MAID(eta=5.0, **knobs)
    run = run_method(q, method, count, num_saved=count + 1, geometry=geometry)
    assert run.status is Status.ok, run.message
    h, moved = q.outer_loss(run.w), np.abs(np.diff(run.w, axis=0)).max(axis=1) > 0
    assert (np.diff(h)[moved] < 0).all()
    assert moved.sum() > count / 4
    assert h[-1] < h[0]


def test_theta_is_only_as_exact_as_asked() -> None:
    q = softmax()
    run = run_method(q, methods.MAID(kappa=0.01, **bounds(q)), 5)
    distance = np.linalg.norm(run.theta - q.theta_star(run.w), axis=-1)
    assert distance[1:].max() > 1e-9
    tight = run_method(q, methods.MAID(tol_inner=1e-10, tol_adjoint=1e-10, **bounds(q)), 5)
    assert np.linalg.norm(tight.theta - q.theta_star(tight.w), axis=-1).max() < 1e-8
    assert run.oracle_counts["hvp"] < tight.oracle_counts["hvp"]


def test_a_small_step_is_that_of_the_exact_method() -> None:
    q = two_clusters()
    method = methods.MAID(eta=1e-3, tol_inner=1e-12, tol_adjoint=1e-12)
    run = run_method(q, method, 1)
    assert_allclose(run.w[-1], run_method(q, methods.Exact(eta=1e-3), 1).w[-1], rtol=1e-9)


def test_steps_grow_after_success_and_shrink_after_failure() -> None:
    q = two_clusters()
    w = np.full(60, 1 / 60)
    start = (q.theta_star(w), np.log(w), 0)
    easy = methods.MAID(eta=1e-3)
    state = easy.step(q, MIRROR, easy.init(q, MIRROR, *start))
    assert_allclose(state.eta, 1e-3 * 10 / 9)
    wild = methods.MAID(eta=1e9, num_trials=2, backtrack=0.3)
    before = wild.init(q, MIRROR, *start)
    state = wild.step(q, MIRROR, before)
    assert_allclose(state.outer, before.outer)
    assert_allclose(state.eta, 0.3**2 * 1e9)
    assert (state.tol_inner <= 0.5 * before.tol_inner).all()
    assert (state.tol_adjoint <= 0.5 * before.tol_adjoint).all()
    blurred = methods.MAID(eta=1e-7, num_trials=2, kappa=1e-6)
    loose = blurred.init(softmax(), MIRROR, np.ones(9), np.full(14, -np.log(14)), 0)
    state = blurred.step(softmax(), MIRROR, loose)
    assert_allclose(state.eta, 1e-7)  # a tolerance that hides the decrease is no fault of eta
    assert (state.tol_inner < 0.01 * loose.tol_inner).all()
    found = methods.MAID(eta=1e9, num_trials=60, backtrack=0.3)
    state = found.step(q, MIRROR, found.init(q, MIRROR, *start))
    assert np.abs(state.outer - before.outer).max() > 0
    powers = np.log(state.eta / (1e9 * 10 / 9)) / np.log(0.3)
    assert_allclose(powers, np.round(powers), atol=1e-6)


def test_the_demands_are_knobs() -> None:
    """A stricter descent condition accepts smaller steps; finer refinement ends closer above."""
    q = two_clusters()
    w = np.full(60, 1 / 60)

    def first_step(**knobs: float) -> float:
        method = methods.MAID(eta=8.0, num_trials=60, backtrack=0.9, **knobs)
        state = method.init(q, MIRROR, q.theta_star(w), np.log(w), 0)
        return method.step(q, MIRROR, state).eta.item()

    assert first_step(armijo=0.9) < first_step(armijo=0.1)
    c = case(least_squares())
    omegas = [
        methods.MAID(kappa=k).certified(least_squares(), c.theta, c.w)[1].item()
        for k in (0.1, 0.9, 0.999)
    ]
    assert omegas[0] >= omegas[1] > omegas[2]
    coarse = methods.MAID(refinement=1e-9).certified(least_squares(), c.theta, c.w)[1].item()
    assert coarse < omegas[2]


def test_at_a_minimum_it_rests() -> None:
    q = two_clusters(n=20, m=10)
    long = run_method(q, methods.MAID(), 300, num_saved=301)
    h = q.outer_loss(long.w)
    assert (np.diff(h) <= 1e-15).all()
    assert np.isfinite(long.log_w).all()
    exact = q.outer_loss(run_method(q, methods.Exact(eta=0.1), 3000, num_saved=2).w[-1])
    assert h[-1] < exact * 1.05


def with_many_parameters() -> object:
    q = least_squares(n=4, p=501, m=3)
    return run_method(q, methods.MAID(), 1)


@refusals(
    Refusals(
        kappa=(lambda: methods.MAID(kappa=1.0), ValueError, r"`kappa` must lie in \(0, 1\); got 1"),
        armijo=(lambda: methods.MAID(armijo=0.0), ValueError, "`armijo` must lie in"),
        backtrack=(lambda: methods.MAID(backtrack=1.5), ValueError, "`backtrack` must lie in"),
        refinement=(lambda: methods.MAID(refinement=0.0), ValueError, "`refinement` must lie in"),
        tol=(lambda: methods.MAID(tol_inner=0.0), ValueError, "`tol_inner` must be > 0"),
        adjoint=(lambda: methods.MAID(tol_adjoint=-1.0), ValueError, "`tol_adjoint` must be > 0"),
        trials=(lambda: methods.MAID(num_trials=0), ValueError, "`num_trials` must be >= 1"),
        val=(lambda: methods.MAID(lipschitz_val=-1.0), ValueError, "`lipschitz_val` must be >= 0"),
        hessian=(
            lambda: methods.MAID(lipschitz_hessian=-1.0),
            ValueError,
            "`lipschitz_hessian` mu",
        ),
        ridge=(
            lambda: run_method(least_squares(ridge=0.0), methods.MAID(), 1),
            ValueError,
            "must have a positive `ridge`",
        ),
        many=(with_many_parameters, ValueError, "`lipschitz_val` must be given for more than 500"),
    )
)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
