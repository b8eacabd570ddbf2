"""T6, T6b', T10, T12: they hold on a sound package, and turn red on a broken one."""

from collections.abc import Callable

import numpy as np
import pytest

from warmflow.analysis.rest_points import stationary_point_on_face
from warmflow.analysis.theorems import statement
from warmflow.analysis.theorems.certificate import Check
from warmflow.analysis.theorems.instances import ridge_problem, two_clusters
from warmflow.analysis.theorems.numerical import depth, dichotomy, entropy, importance, saddles
from warmflow.analysis.theorems.numerical.reference import RidgeFlows
from warmflow.dynamics import LeastSquares, integrate
from warmflow.dynamics.problems import Problem

Mutant = Callable[[pytest.MonkeyPatch], None]


def failing(checks: list[Check]) -> list[str]:
    return [check.what for check in checks if not check.passed]


# ---------------------------------------------------------------------- small versions
def small_orbits() -> list[Check]:
    """Seed 4 ends solved, seed 1 trapped."""
    orbits = []
    for seed, ratio in ((4, 0.1), (1, 10.0)):
        rng = np.random.default_rng(seed)
        problem = ridge_problem(seed, n=8, p=2, ridge=1e-2)
        theta0 = rng.standard_normal(2)
        orbits.append(dichotomy.orbit(problem, ratio, rng.dirichlet(np.ones(8)), theta0))
    return dichotomy._orbit_checks(orbits)


def small_saddles() -> list[Check]:
    row = dichotomy._measure(*saddles.built_point(0, 3, 2, 0.1))
    return [
        Check("difference", row["difference_error"], "<=", 1e-5),
        Check("jacobian", row["jacobian_error"], "<=", 1e-8),
    ]


def small_depth() -> list[Check]:
    seeds = (1, 4, 5, 11)
    rows = [depth._outcome(ridge_problem(s, n=8, p=2, ridge=1e-2), "full") for s in seeds]
    return depth._checks(rows)


def small_descent() -> list[Check]:
    return entropy._lyapunov(two_clusters(1, n=10, p=2, ridge=1e-2, m=20))


def small_selection() -> list[Check]:
    return entropy._selection_checks([entropy._selection(1, 3)])


SMALL = {
    "orbits": small_orbits, "saddles": small_saddles, "depth": small_depth,
    "descent": small_descent, "selection": small_selection, "population": importance._population,
    "others": lambda: importance._other_solutions()[1],
    "frozen": lambda: entropy._frozen(2),
}  # fmt: skip


# ---------------------------------------------------------------------- mutants
def flipped_hypergradient(patch: pytest.MonkeyPatch) -> None:
    adjoint = Problem.adjoint
    patch.setattr(Problem, "adjoint", lambda self, *a, **k: -adjoint(self, *a, **k))


def theta_star_off(patch: pytest.MonkeyPatch) -> None:
    theta_star = LeastSquares.theta_star
    patch.setattr(
        LeastSquares, "theta_star", lambda self, *a, **k: 1.01 * theta_star(self, *a, **k)
    )


def wrong_ridge(patch: pytest.MonkeyPatch) -> None:
    train_grad = LeastSquares.train_grad

    def mutant(self: LeastSquares, theta: np.ndarray, w: np.ndarray) -> np.ndarray:
        return train_grad(self, theta, w) + 0.05 * self.ridge * theta

    patch.setattr(LeastSquares, "train_grad", mutant)


def scaled_jvp(patch: pytest.MonkeyPatch) -> None:
    jvp = LeastSquares.per_sample_jvp
    patch.setattr(LeastSquares, "per_sample_jvp", lambda self, *a: 1.001 * jvp(self, *a))


def unevenly_scaled_jvp(patch: pytest.MonkeyPatch) -> None:
    jvp = LeastSquares.per_sample_jvp

    def mutant(self: LeastSquares, theta: np.ndarray, v: np.ndarray) -> np.ndarray:
        return jvp(self, theta, v) * np.linspace(1.0, 1.02, self.num_samples)

    patch.setattr(LeastSquares, "per_sample_jvp", mutant)


def stopped_early(patch: pytest.MonkeyPatch) -> None:
    solve = LeastSquares.solve
    patch.setattr(LeastSquares, "solve", lambda self, H, b: solve(self, H, b) + 1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_sound_package_passes(name: str) -> None:
    assert failing(SMALL[name]()) == []


@pytest.mark.parametrize(
    "mutant, name",
    [
        (flipped_hypergradient, "orbits"),
        (flipped_hypergradient, "depth"),
        (flipped_hypergradient, "frozen"),
        (flipped_hypergradient, "descent"),
        (theta_star_off, "others"),
        (theta_star_off, "saddles"),
        (theta_star_off, "depth"),
        (theta_star_off, "descent"),
        (theta_star_off, "population"),
        (wrong_ridge, "orbits"),
        (wrong_ridge, "saddles"),
        (wrong_ridge, "selection"),
        (scaled_jvp, "saddles"),
        (scaled_jvp, "descent"),
        (unevenly_scaled_jvp, "orbits"),
        (unevenly_scaled_jvp, "frozen"),
        (stopped_early, "orbits"),
        (stopped_early, "depth"),
        (stopped_early, "descent"),
        (stopped_early, "population"),
    ],
)
def test_broken_package_turns_red(
    mutant: Mutant, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    try:
        found = failing(SMALL[name]())
    except (RuntimeError, FloatingPointError, np.linalg.LinAlgError):
        return  # a measurement that raises is a failed certificate
    assert found != []


# ---------------------------------------------------------------------- certificates
def test_quick_certificate_holds() -> None:
    certificate = statement("T10")(quick=True)
    assert certificate.passed, str(certificate)
    assert certificate.to_dict()["details"]["data"]


def test_best_target_model_is_the_closed_form() -> None:
    x = np.random.default_rng(0).standard_normal((400_000, 2)) + importance.MU
    z, y = importance.with_intercept(x), importance.mean_response(x, 0.0)
    np.testing.assert_allclose(
        np.linalg.lstsq(z, y, rcond=None)[0], importance.optimum(0.0), atol=0.01
    )


# ---------------------------------------------------------------------- corrected statements
def test_without_ridge_a_repeated_row_breaks_the_count() -> None:
    problem = dichotomy.repeated_rows()
    run = integrate(problem, beta=1.0, t_span=(0.0, 1e5), rest_tol=1e-8, num_saved=2)
    w = np.exp(run.log_weights(-1))
    assert w.min() > 0.01
    np.testing.assert_allclose(run.theta[-1], [0.3, 1.0], atol=1e-6)
    assert np.linalg.norm(problem.val_grad(run.theta[-1])) > 0.1


@pytest.mark.parametrize("size, p", [(3, 2), (4, 3), (5, 3), (7, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_saddles_have_both_signs_as_often_as_the_fibre_is_wide(
    size: int, p: int, seed: int
) -> None:
    negative, _, positive = saddles.inertia(saddles.built_point(seed, size, p, 0.3)[1])
    assert min(negative, positive) >= size - p


@pytest.mark.parametrize("size, p", [(4, 2), (6, 3), (9, 3)])
def test_more_than_2p_minus_1_nonzeros_are_degenerate(size: int, p: int) -> None:
    problem, point = saddles.built_point(0, size, p, 0.3)
    assert point.converged
    assert saddles.inertia(point)[1] >= size - (2 * p - 1)
    assert not saddles.persists(problem, point)


def test_parity_of_the_index_makes_the_joint_flow_unstable() -> None:
    problem, point = saddles.built_point(3, 3, 2, 0.1)
    signs = set()
    for ratio in (1e-3, 1.0, 1e3):
        flow = saddles._flow(problem, point, ratio)
        tangent = np.zeros((flow.initial.size, 4))
        tangent[:2, :2] = np.eye(2)
        tangent[2:, 2:] = np.linalg.svd(point.w[None])[2][1:].T
        reduced = np.linalg.lstsq(tangent, flow.jacobian(flow.initial) @ tangent, rcond=None)[0]
        signs.add(np.sign(np.linalg.det(reduced)))
    assert signs == {-1.0}


def test_plain_adjoint_of_a_trap_agrees_with_newton() -> None:
    problem = ridge_problem(1, n=8, p=2, ridge=1e-2)
    run = integrate(problem, beta=1.0, t_span=(0.0, 1e5), rest_tol=1e-8, num_saved=2)
    w = np.exp(run.log_weights(-1))
    point = stationary_point_on_face(problem, np.flatnonzero(w > 1e-4), w)
    assert point.attracting
    a = RidgeFlows(problem).ascent(point.theta, point.w)
    assert a.max() - point.w @ a < 1e-10
