"""One more inner step, and inner points at rest: what every method does at fixed weights."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import LeastSquares, MultiProblem, Problem, geometries, methods
from warmflow.dynamics.geometries import Geometry

from ..cases import case, least_squares, softmax
from .table import ALL, name

PLAIN = {
    "BOREP": {"momentum": 0.0, "norm": None},
    "SelfTuning": {"sigma": 1e-4, "num_perturbations": 24},  # at rest up to sigma squared
    "MAID": {"tol_inner": 1e-10, "tol_adjoint": 1e-10},
}
"""Knobs with which a step moves the weights along the field itself."""
OWN = [m for m in ALL if not isinstance(m, methods.InnerLoop)]
VARIANTS = [dataclasses.replace(m, order="w_first", **PLAIN.get(name(m), {})) for m in OWN] + [
    methods.F2SA(central=True, order="w_first"),
    methods.LVHBA(radius=0.4, order="w_first"),
    methods.F2SA(radius=0.4, sigma=0.1, order="w_first"),
    methods.ConjugateGradient(prox=0.3, theta_ref=[0.5] * 3, order="w_first"),
    methods.AugmentedLagrangian(kappa=0.0, order="w_first"),
    methods.BSVRB(track_hessian=True, order="w_first"),
    methods.F2SA(growth=10.0, order="w_first"),
    methods.LVHBA(exponent=0.4, order="w_first"),
    methods.ScaleBiO(growth=2.0, period=5, order="w_first"),
]
each = pytest.mark.parametrize("method", VARIANTS, ids=name)


class Watched:
    """A geometry that remembers the fields along which weights moved."""

    fields: list[np.ndarray]

    def step(self, s, g, eta):
        self.fields.append(g)
        return super().step(s, g, eta)

    def pull(self, s, g):
        self.fields.append(g)
        return super().pull(s, g)


def watched(method: methods.Method) -> Geometry:
    """Return the first geometry of a method, watched."""
    kind = method.geometries[0] if method.geometries else geometries.Mirror
    geometry = type(kind.__name__, (Watched, kind), {})()
    geometry.__dict__["fields"] = []
    return geometry


def problems(method: methods.Method) -> list[Problem]:
    found = [least_squares(), softmax(f=1), softmax()]
    if "theta_ref" in vars(method) and method.theta_ref is not None:
        return found[:2]
    return [*found, MultiProblem([least_squares(p=2), least_squares(p=1, seed=4)])]


def start(method: methods.Method, q: Problem, geometry: Geometry):
    """Return a state off rest at weights that are not uniform."""
    c = case(q)
    w = 0.2 * c.w + 0.8 / q.num_samples
    state = method.init(q, geometry, 0.3 * c.theta, geometry.start(np.log(w)), 0)
    return dataclasses.replace(state, theta=0.3 * c.theta)


def moved(method: methods.Method, a, b) -> float:
    """Return the largest change of the inner points, relative to their size."""
    parts = [(getattr(a, key), getattr(b, key)) for key in method.points]
    return max(float(np.abs(x - y).max() / (1.0 + np.abs(y).max())) for x, y in parts)


@each
def test_the_field_of_a_settled_state_is_the_direction(method: methods.Method) -> None:
    """``settle`` and ``step`` on one side, ``direction`` on the other."""
    for q in problems(method):
        geometry = watched(method)
        state = method.settle(q, geometry, start(method, q, geometry))
        w = geometry.weights(state.outer)
        method.step(q, geometry, state)
        expected = method.direction(q, state.theta, w)
        tol = 1e-5 * np.abs(expected).max()  # losses are subtracted and divided by sigma
        assert_allclose(geometry.fields[0], expected, rtol=1e-5, atol=tol)


@each
def test_settled_points_are_at_rest(method: methods.Method) -> None:
    for q in problems(method):
        geometry = watched(method)
        # a step at which knobs that fall have fallen
        state = dataclasses.replace(start(method, q, geometry), step=7)
        rest = method.settle(q, geometry, state)
        assert (rest.outer == state.outer).all()
        assert rest.step == state.step
        assert moved(method, method.relax(q, geometry, rest), rest) < 1e-7
        if not method.ignores_start:
            assert moved(method, method.relax(q, geometry, state), state) > 1e-4


@each
def test_one_newton_step_solves_a_quadratic_and_some_solve_the_rest(method) -> None:
    for q in problems(method):
        geometry = watched(method)
        state = start(method, q, geometry)
        rest, near = method.settle(q, geometry, state), state
        solves = getattr(method, "radius", None) is not None  # a step is a whole solve
        for _ in range(1 if solves or isinstance(q, LeastSquares) else 12):
            near = method.settle(q, geometry, near, num_steps=1)
        # a Newton step solves its system to 1e-8
        assert moved(method, near, rest) < 1e-6, type(q)


SLOW = ("SelfTuning", "Exact", "MAID")
"""At sigma = 1e-4 the response learns at a rate of 1e-8; the others have nothing to relax."""


@pytest.mark.parametrize("method", [m for m in VARIANTS if name(m) not in SLOW], ids=name)
def test_relaxations_go_to_rest(method: methods.Method) -> None:
    q = least_squares(ridge=1.0)
    geometry = watched(method)
    state = start(method, q, geometry)
    rest = method.settle(q, geometry, state)
    begun = moved(method, state, rest)
    for _ in range(1000):
        state = method.relax(q, geometry, state)
    assert moved(method, state, rest) < 1e-5 * begun
    assert (state.outer == rest.outer).all()


def test_the_response_goes_to_rest_up_to_sigma_squared() -> None:
    q, errors = least_squares(ridge=1.0), []
    for sigma in (0.4, 0.2):
        method = methods.SelfTuning(sigma=sigma, num_perturbations=24)
        geometry = watched(method)
        state = start(method, q, geometry)
        rest = method.settle(q, geometry, state)
        for _ in range(3000):
            state = method.relax(q, geometry, state)
        errors.append(moved(method, state, rest))
    assert errors[0] < 0.2
    assert_allclose(errors[0] / errors[1], 4.0, rtol=0.2)


@pytest.mark.parametrize("method", VARIANTS, ids=name)
def test_leading_axes(method: methods.Method) -> None:
    q, rng = least_squares(), np.random.default_rng(2)
    w, theta = rng.dirichlet(np.full(12, 30.0), size=4), rng.normal(size=(4, 3))

    def settled(theta, w):
        geometry = watched(method)
        state = method.init(q, geometry, theta, geometry.start(np.log(w)), 0)
        return method.settle(q, geometry, method.relax(q, geometry, state))

    together = settled(theta, w)
    for k in range(4):
        alone = settled(theta[k], w[k])
        for key in method.points:
            assert_allclose(getattr(together, key)[k], getattr(alone, key), rtol=1e-6, atol=1e-8)
