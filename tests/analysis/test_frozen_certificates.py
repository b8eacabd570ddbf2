"""T5 and T5b on part of their studies: they pass, and turn red when code breaks."""

from collections.abc import Callable

import numpy as np
import pytest

from warmflow.analysis.theorems.numerical import facet as facet_module
from warmflow.analysis.theorems.numerical import ridge_programs
from warmflow.analysis.theorems.numerical import sparsity as sparsity_module
from warmflow.analysis.theorems.numerical.ridge_programs import Instance, linear_program, projection
from warmflow.dynamics import LeastSquares, Problem
from warmflow.dynamics.geometries import Mirror

SEEDS = (41, 42, 45, 61, 81)
"""Runs of T5 with and without ridge; grad F of the second lies outside the cone."""


CASES = [case for case in sparsity_module.cases(False) if case.seed in SEEDS]


@pytest.fixture(scope="module")
def instances() -> list[Instance]:
    """Return one problem without ridge and one with."""
    return [x for x in facet_module.instances(True) if x.problem.num_params == 3][::3]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, instances) -> pytest.MonkeyPatch:
    """Make both studies small."""
    monkeypatch.setattr(sparsity_module, "cases", lambda quick: iter(CASES))
    monkeypatch.setattr(facet_module, "instances", lambda quick: instances)
    # Where a mutant's Jacobian contradicts its field, an implicit integrator crawls.
    monkeypatch.setattr(sparsity_module, "CAP", 4000)
    monkeypatch.setattr(ridge_programs, "CAP", 4000)
    return monkeypatch


@pytest.fixture
def smallest(small) -> pytest.MonkeyPatch:
    """Leave out the edge cases too."""
    small.setattr(sparsity_module, "edge_checks", list)
    small.setattr(facet_module, "_boundary_checks", list)
    small.setattr(facet_module, "_polytope", dict)
    return small


def verdicts() -> tuple[bool, bool]:
    """Return whether T5 and T5b pass."""
    return sparsity_module.frozen_support(True).passed, facet_module.facet(True).passed


def test_unbroken_code_passes(small) -> None:
    counted, predicted = sparsity_module.frozen_support(True), facet_module.facet(True)
    assert counted.passed, str(counted)
    assert predicted.passed, str(predicted)
    assert counted.details["data"]["unsettled"] == 1
    assert len(counted.details["data"]["runs"]) == len(SEEDS)
    assert {x["ridge"] for x in predicted.details["data"]["instances"]} == {0.0, 1e-2}


def test_studies_are_as_large_as_they_claim() -> None:
    for quick, size in ((True, 60), (False, 200)):
        cases = list(sparsity_module.cases(quick))
        assert len(cases) >= size
        assert {case.p for case in cases} == set(range(1, 9))
        assert {case.features for case in cases} == {"gaussian", "heavy"}
        assert {case.ridge for case in cases} == {0.0, 1e-3}
        assert max(case.n for case in cases) == 500
        assert {case.n - case.p for case in cases} >= {1}


def negated(method: Callable) -> Callable:
    return lambda *args, **kwargs: -method(*args, **kwargs)


def scaled(method: Callable, factor: float) -> Callable:
    return lambda *args, **kwargs: factor * method(*args, **kwargs)


def uneven(method: Callable, axis: int) -> Callable:
    """Scale every second sample by 1.001."""

    def broken(*args, **kwargs):
        out = method(*args, **kwargs)
        factor = np.where(np.arange(out.shape[axis]) % 2, 1.0, 1.001)
        return out * (factor if axis == -1 else factor[:, None])

    return broken


def double_ridge(self, theta, w):
    H = self.X.T @ (w[..., None] * self.X) + 2 * self.ridge * np.eye(self.num_params)
    lead = np.broadcast_shapes(theta.shape[:-1], w.shape[:-1])
    return np.broadcast_to(H, (*lead, *H.shape[-2:]))


FIELDS = {
    "adjoint negated": [(Problem, "adjoint", negated(Problem.adjoint))],
    "uneven gradients": [
        (LeastSquares, "per_sample_jvp", uneven(LeastSquares.per_sample_jvp, -1)),
        (LeastSquares, "per_sample_grads", uneven(LeastSquares.per_sample_grads, -2)),
    ],
    "residuals shifted": [
        (LeastSquares, "residuals", lambda self, theta: theta @ self.X.T - self.y + 1e-3)
    ],
    "ridge doubled": [(LeastSquares, "hessian", double_ridge)],
}  # fmt: skip


@pytest.mark.parametrize("mutant", FIELDS.values(), ids=FIELDS.keys())
def test_a_wrong_field_turns_both_red(smallest, mutant) -> None:
    for owner, name, broken in mutant:
        smallest.setattr(owner, name, broken)
    assert verdicts() == (False, False)


STEPS = {
    "adjoint x 1.001": (Problem, "adjoint", scaled(Problem.adjoint, 1.001)),
    "no normalisation": (Mirror, "step", lambda self, s, g, eta: s - eta * g),
    "half a step": (Mirror, "step", lambda self, s, g, eta: s - 0.5 * eta * g),
}


@pytest.mark.parametrize("owner, name, broken", STEPS.values(), ids=STEPS.keys())
def test_a_wrong_speed_or_step_turns_the_facet_red(smallest, owner, name, broken) -> None:
    """The limit itself does not depend on the scale of Psi: T5 cannot see it, rates do."""
    smallest.setattr(owner, name, broken)
    certificate = facet_module.facet(True)
    assert not certificate.passed


def test_a_wrong_limit_is_not_called_sparse(smallest) -> None:
    """A flow that stops early keeps too many samples."""
    original = sparsity_module.integrate_frozen

    def hasty(problem, **options):
        return original(problem, **{**options, "rest_tol": 1e9 * options["rest_tol"]})

    smallest.setattr(sparsity_module, "integrate_frozen", hasty)
    certificate = sparsity_module.frozen_support(True)
    assert not certificate.passed
    assert certificate.details["checks"][0]["observed"] > 0


def test_the_two_oracles_agree_as_the_penalty_vanishes() -> None:
    rng = np.random.default_rng(0)
    gamma = rng.standard_normal((12, 3))
    f = rng.uniform(0.5, 1, 12) @ gamma
    multipliers = linear_program(gamma, f)
    assert multipliers is not None
    np.testing.assert_allclose(projection(gamma, f, 1e-8), multipliers, atol=1e-6)
    assert linear_program(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([-1.0, 1.0])) is None
