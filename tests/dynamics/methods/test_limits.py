"""Where knobs meet their limits: balls that bind, rates per cell, numbers beyond all bounds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import Status, methods, run_method
from warmflow.dynamics.cells import flatten_knobs

from ..cases import least_squares, two_clusters
from .table import ALL, name

BROKEN = {
    "sigma": methods.SelfTuning(sigma=1e155),
    "growth": methods.ScaleBiO(growth=1e10, period=1),
    "large radius": methods.LVHBA(radius=1e155),
    "small radius": methods.LVHBA(radius=1e-170),
    "tol": methods.ConjugateGradient(tol=1e200),
}


@pytest.mark.parametrize("method", BROKEN.values(), ids=BROKEN.keys())
def test_numbers_beyond_all_bounds_give_a_status(method: methods.Method) -> None:
    run = run_method(two_clusters(), method, 60)
    assert run.status in (Status.nonfinite, Status.ok)
    assert np.isfinite(run.theta).all()
    assert np.isfinite(run.w).all()


@pytest.mark.parametrize("radius", [0.3, 0.1, 0.02])
def test_a_ball_that_binds_holds_theta(radius: float) -> None:
    """The multiplier grows beyond L there: its term must not limit the step."""
    q = two_clusters()
    run = run_method(q, methods.LVHBA(radius=radius), 600)
    assert run.status is Status.ok
    assert_allclose(np.linalg.norm(run.theta[-1]), radius, rtol=1e-2)
    field = methods.LVHBA(radius=radius).direction(q, run.theta[-1], run.w[-1])
    assert np.isfinite(field).all()


@pytest.mark.parametrize("method", ALL, ids=name)
def test_only_rho_may_be_left_out(method: methods.Method) -> None:
    if not hasattr(method, "eta"):
        pytest.skip("has no outer step")
    with pytest.raises((TypeError, ValueError), match="`eta`"):
        type(method)(eta=None)


@pytest.mark.parametrize("method", ALL, ids=name)
def test_directions_have_the_leading_axes_of_both_arguments(method: methods.Method) -> None:
    q = least_squares(n=8, p=2)
    rng = np.random.default_rng(0)
    theta, w = 0.1 * rng.normal(size=(2, 1, 2)), rng.dirichlet(np.ones(8), 3)
    field = method.direction(q, theta, w)
    assert field.shape == (2, 3, 8)
    single = method.direction(q, theta[1, 0], w[2])
    tolerance = 1e-2 if name(method) == "MAID" else 1e-6
    assert_allclose(field[1, 2], single, rtol=tolerance, atol=tolerance * np.abs(single).max())


def test_multipliers_may_stand_still_in_some_cells() -> None:
    q, w = least_squares(), np.full(12, 1 / 12)
    theta = q.theta_star(w)
    both = methods.AugmentedLagrangian(mu=2.0, kappa=np.array([0.0, 1.0])).direction(q, theta, w)
    for k, kappa in enumerate((0.0, 1.0)):
        alone = methods.AugmentedLagrangian(mu=2.0, kappa=kappa).direction(q, theta, w)
        assert_allclose(both[k], alone, rtol=1e-9)
    several = methods.AugmentedLagrangian(mu=np.array([1.0, 2.0])).direction(q, theta, w)
    assert several.shape == (2, 12)


def test_knobs_of_cells_are_arrays_of_their_own() -> None:
    """torch warns of views that cannot be written."""
    flat = flatten_knobs(methods.SOBA(eta=np.array([0.1, 0.2])), (2,))
    assert flat.eta.flags.writeable


def test_an_array_is_no_norm() -> None:
    with pytest.raises(ValueError, match=r"`norm` must be math\.inf, 2 or None"):
        methods.BOREP(norm=np.array([1, 2]))
