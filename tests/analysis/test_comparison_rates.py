"""R of methods, against rate_ratio, closed forms and invariances."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.analysis import outer_curvature, rate_ratio, smallest_curvature
from warmflow.analysis.comparison import (
    eta_of_curvature,
    eta_of_ratio,
    inner_rate,
    ratio_of_method,
    standard_entries,
)
from warmflow.analysis.regime import spread_of
from warmflow.dynamics import LeastSquares, methods

from ..dynamics.cases import least_squares, softmax, two_clusters

RHO, T = 0.05, 7


@pytest.mark.parametrize("q", [least_squares(), two_clusters(), softmax()], ids=repr)
def test_of_joint_it_is_the_rate_ratio(q) -> None:
    method = methods.Joint(rho=RHO, eta=0.3)
    assert_allclose(ratio_of_method(q, method), rate_ratio(q, RHO, 0.3), rtol=1e-6)


def uniform(q) -> np.ndarray:
    return np.full(q.num_samples, 1 / q.num_samples)


@pytest.mark.parametrize("q", [least_squares(), softmax()], ids=repr)
@pytest.mark.parametrize(
    "kind",
    [methods.ConjugateGradient, methods.Neumann, methods.ReverseMode, methods.TruncatedReverse],
)
def test_of_inner_steps_it_has_a_closed_form(q, kind) -> None:
    w = uniform(q)
    curvature = smallest_curvature(q, q.theta_star(w), w)
    expected = 1 - (1 - RHO * curvature) ** T
    assert_allclose(inner_rate(q, kind(rho=RHO, num_inner_steps=T)), expected, rtol=1e-6)


def test_what_solves_for_theta_leaves_no_error() -> None:
    assert inner_rate(least_squares(), methods.Exact()) == 1.0
    assert inner_rate(least_squares(), methods.MAID()) == 1.0


def test_of_a_period_it_is_the_mean_lifetime() -> None:
    """BOREP does N inner steps at every I-th step: lifetimes by a sum over many steps."""
    q = least_squares()
    w = uniform(q)
    keep = (1 - RHO * smallest_curvature(q, q.theta_star(w), w)) ** 5
    method = methods.BOREP(rho=RHO, num_inner_steps=5, period=3)
    lifetimes = []
    for phase in range(3):  # the error is made before a step with number = phase (mod 3)
        error, total = 1.0, 0.0
        for k in range(phase, phase + 6000):
            total += error
            error *= keep if k % 3 == 0 else 1.0
        lifetimes.append(total)
    assert_allclose(inner_rate(q, method), 1 / np.mean(lifetimes), rtol=1e-6)


@pytest.mark.parametrize(("momentum", "rho"), [(0.5, RHO), (0.9, RHO), (0.9, RHO / 50)])
@pytest.mark.parametrize("kind", [methods.Joint, methods.SOBA])
def test_momentum_shortens_the_lifetime_of_an_error(kind, momentum: float, rho: float) -> None:
    """Against the recursion of one error under Nesterov steps, summed to its end."""
    q = least_squares()
    w = uniform(q)
    keep = 1 - rho * smallest_curvature(q, q.theta_star(w), w)
    before, error, total = 1.0, 1.0, 0.0
    for _ in range(100_000):
        total += abs(error)
        before, error = error, keep * (error + momentum * (error - before))
    method = kind(rho=rho)
    loop = methods.InnerLoop(
        method=method, num_inner_steps=1, optimiser="momentum", momentum=momentum
    )
    # loose: the sum of a swinging error is cut by whole memories
    assert_allclose(inner_rate(q, loop), 1 / total, rtol=1e-2)
    assert inner_rate(q, loop) > 1.3 * inner_rate(q, method)


@pytest.mark.parametrize("name", [n for n, e in standard_entries().items() if e.is_scaled])
def test_eta_gives_back_its_ratio_for_every_method(name: str) -> None:
    q, method = two_clusters(), standard_entries([name])[name].method
    eta = eta_of_ratio(q, method, [0.01, 3.0])
    assert_allclose(eta[1], 300 * eta[0], rtol=1e-12)
    again = type(method)(eta=float(eta[1]))
    assert_allclose(ratio_of_method(q, again), 3.0, rtol=1e-9)


def scaled_validation(q: LeastSquares, c: float) -> LeastSquares:
    """Return the problem with F multiplied by c squared."""
    return LeastSquares(q.X, q.y, c * q.X_val, c * q.y_val, ridge=q.ridge)


@pytest.mark.parametrize("method", [methods.Joint(), methods.OneStep(), methods.Exact()])
def test_scaling_the_outer_loss_scales_eta_inversely(method) -> None:
    """The field of an exact solve is linear in F; that of one step nearly so, at theta_star."""
    q, c = least_squares(), 3.0
    a, b = (eta_of_ratio(p, method, 1.0) for p in (q, scaled_validation(q, c)))
    assert_allclose(a, c**2 * b, rtol=1e-9)


def test_scaling_the_outer_loss_leaves_a_normalised_method_alone() -> None:
    q = least_squares()
    a, b = (eta_of_ratio(p, methods.BOREP(), 1.0) for p in (q, scaled_validation(q, 3.0)))
    assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("name", ["joint", "exact", "f2sa", "cg", "reverse", "penalty", "borep"])
def test_duplicating_all_samples_changes_nothing(name: str) -> None:
    """Uniform weights: G, Psi of each copy and its standard deviation stay what they are."""
    q = least_squares()
    twice = LeastSquares(np.vstack([q.X, q.X]), np.hstack([q.y, q.y]), q.X_val, q.y_val, q.ridge)
    [method] = [entry.method for entry in standard_entries([name]).values()]
    a, b = (eta_of_ratio(p, method, 1.0) for p in (q, twice))
    assert_allclose(a, b, rtol=1e-6)


def test_refusals() -> None:
    q = least_squares()
    with pytest.raises(ValueError, match="does not decay"):
        inner_rate(q, methods.Joint(rho=0.0))
    flat = LeastSquares(np.ones((4, 1)), np.ones(4), np.ones((2, 1)), np.zeros(2), ridge=0.1)
    with pytest.raises(ValueError, match="is constant at the start"):
        eta_of_ratio(flat, methods.Joint(), 1.0)


@pytest.mark.parametrize("kind", [methods.Joint, methods.OneStep, methods.F2SA, methods.Exact])
def test_steps_in_units_of_the_curvature_move_all_methods_as_fast(kind) -> None:
    """c / kappa_max for the exact field; a weaker field takes a longer step."""
    q = two_clusters()
    w = uniform(q)
    theta = q.theta_star(w)
    eta = eta_of_curvature(q, kind(), [0.1, 1.0])
    moved = eta * spread_of(kind().direction(q, theta, w), w)
    exact = spread_of(q.hypergradient(theta, w), w) / outer_curvature(q, w, theta)
    assert_allclose(moved, [0.1 * exact, exact], rtol=1e-6)


def test_a_step_in_units_of_the_curvature_needs_no_inner_steps() -> None:
    q, frozen = two_clusters(), methods.Joint(rho=0.0)
    assert_allclose(eta_of_curvature(q, frozen, 1.0), 1 / outer_curvature(q), rtol=1e-6)
    with pytest.raises(ValueError, match="does not decay under Joint"):
        eta_of_ratio(q, frozen, 1.0)
