"""Certificates T2, T7, T7b and T7c pass as the code is, and fail when it is broken."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import warmflow.dynamics.methods.joint as joint
from warmflow.analysis.theorems.certificate import Certificate, Check, Evidence, certifies
from warmflow.analysis.theorems.instances import ridge_problem, softmax_problem
from warmflow.analysis.theorems.numerical import (
    discretisation,
    learning_rates,
    orbits,
    oscillators,
)
from warmflow.analysis.theorems.numerical import stability as spectra
from warmflow.analysis.theorems.numerical.linearised import solved_draws
from warmflow.dynamics import LeastSquares, SoftmaxRegression
from warmflow.dynamics.flows import FullJoint
from warmflow.dynamics.geometries import Mirror
from warmflow.dynamics.problems import Problem

Checks = Callable[[], list[Check]]


def certificate(measure: Checks) -> Certificate:
    """Return a certificate of some checks of a statement, also where they raise."""
    return certifies("T0", "part", "part")(lambda quick: Evidence(measure()))(True)


def discretisation_checks() -> list[Check]:
    problems = (ridge_problem(1, 12, 2, 1e-2), softmax_problem(1, 12, 2, 2, 0.1))
    studies = [discretisation.study(problem, "random", 5) for problem in problems]
    return [*discretisation.order_checks(studies), discretisation.simplex_check(studies, 50)]


def oscillator_checks() -> list[Check]:
    points = [next(solved_draws(3, 1, n, p, 1e-2)) for p, n in ((1, 10), (2, 14))]
    return [oscillators.law_check(points), oscillators.scalar_check(points[:1])]


def band_checks() -> list[Check]:
    points = learning_rates.commuting_points(1)[:2]
    return [*learning_rates.limit_checks(points), learning_rates.run_check(points)]


def spectra_checks() -> list[Check]:
    points = spectra.rest_points(1)[4:8]
    solved = [point for point in points if point.kind == "solved"]
    return [
        spectra.jacobian_check(points),
        *spectra.face_checks(points),
        *spectra.flow_checks(solved),
    ]


PARTS: dict[str, Checks] = {
    "T2": discretisation_checks,
    "T7": spectra_checks,
    "T7b": oscillator_checks,
    "T7c": band_checks,
}


@pytest.mark.parametrize("name", PARTS)
def test_unbroken_code_passes(name: str) -> None:
    result = certificate(PARTS[name])
    assert result.passed, str(result)


# ---------------------------------------------------------------------- sabotage
def scaled(owner: type, name: str, factor: float) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a mutation that multiplies what a method returns."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)

        def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
            return factor * original(self, *args, **kwargs)

        patch.setattr(owner, name, broken)

    return apply


def wrong_ridge(patch: pytest.MonkeyPatch) -> None:
    original = LeastSquares.train_grad

    def broken(self: LeastSquares, theta: Any, w: Any) -> Any:
        return original(self, theta, w) + 0.01 * self.ridge * theta

    patch.setattr(LeastSquares, "train_grad", broken)


def never_normalised(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mirror, "step", lambda self, s, g, eta: s - eta * g)


def always_simultaneous(patch: pytest.MonkeyPatch) -> None:
    original = joint.in_order
    patch.setattr(joint, "in_order", lambda order, *rest: original("simultaneous", *rest))


def swapped_orders(patch: pytest.MonkeyPatch) -> None:
    original = joint.in_order
    other = {"simultaneous": "theta_first", "theta_first": "w_first", "w_first": "simultaneous"}
    patch.setattr(joint, "in_order", lambda order, *rest: original(other[order], *rest))


MUTANTS = {
    "sign of the weights' speed": (scaled(FullJoint, "_speed", -1.0), ("T7", "T7b")),
    "speed of the weights": (scaled(FullJoint, "_speed", 1.001), ("T7", "T7b")),
    "adjoint": (scaled(Problem, "adjoint", 1.001), ("T2", "T7", "T7b", "T7c")),
    "sign of the adjoint": (scaled(Problem, "adjoint", -1.0), ("T2", "T7", "T7b", "T7c")),
    "hypergradient": (scaled(Problem, "hypergradient", 1.001), ("T7",)),
    "ridge": (wrong_ridge, ("T2", "T7", "T7b", "T7c")),
    "hvp": (scaled(LeastSquares, "hvp", 1.001), ("T7",)),
    "jvp of ridge": (scaled(LeastSquares, "per_sample_jvp", 1.001), ("T2", "T7", "T7b", "T7c")),
    "jvp of softmax": (scaled(SoftmaxRegression, "per_sample_jvp", 1.001), ("T2",)),
    "Jacobian of the flow": (scaled(FullJoint, "jacobian", 1.001), ("T7",)),
    "normalisation": (never_normalised, ("T2", "T7c")),
    "theta first done simultaneously": (always_simultaneous, ("T7c",)),
    "orders swapped": (swapped_orders, ("T7c",)),
}


@pytest.mark.parametrize(
    "mutant, name", [(mutant, name) for mutant, (_, names) in MUTANTS.items() for name in names]
)
def test_broken_code_fails(mutant: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant][0](monkeypatch)
    with np.errstate(all="ignore"):
        result = certificate(PARTS[name])
    assert not result.passed, str(result)


# ---------------------------------------------------------------------- the rest of the studies
def test_zero_eigenvalues_of_degenerate_data_are_counted() -> None:
    check = spectra.count_check(1)
    assert check.passed, check
    traces = spectra.invasion_check([p for p in spectra.rest_points(1) if p.kind == "trapped"])
    assert traces.passed, traces


def test_runs_on_both_sides_of_a_hopf_ratio() -> None:
    unstable = oscillators.unstable_draws(2, 1)
    assert oscillators.rate_check(unstable).passed
    below, above = (orbits.growth_rate(unstable[0][0], f * unstable[0][1])[0] for f in (0.5, 2.0))
    assert below.real < 0 < above.real


def test_a_census_with_too_many_unstable_scalars_fails() -> None:
    row = {"unstable": 0, "drawn": 9, "interval": [0.0, 0.3], "forced": 0, "missed": 0}
    wrong = {"unstable": 1, "drawn": 9, "interval": [0.1, 0.3], "forced": 1, "missed": 1}
    large = {**row, "drawn": 100}
    for census in ({1: wrong, 5: wrong}, {1: row, 5: row}, {1: large, 5: {**wrong, **large}}):
        assert not all(check.passed for check in oscillators.census_checks(census))
    missed = oscillators.hopf_checks(oscillators.unstable_draws(2, 1), {5: wrong})
    assert [check.passed for check in missed] == [True, True, False]


def test_orbits_that_never_settle_show_nothing() -> None:
    kept = {"status": "max_evaluations", "slope": 0.0, "growth": -1.0, "moved": 1.0}
    checks = oscillators.orbit_checks([{"control": kept, "leaving": kept}])
    assert not any(check.passed for check in checks)


def test_exact_runs_above_their_limit_move_to_flatter_points() -> None:
    rows = [learning_rates.jump(1, factor, 300) for factor in (1.8, 2.5)]
    assert all(check.passed for check in learning_rates.jump_checks(rows))
    assert rows[1]["ess"][1] < rows[1]["ess"][0]
    still = [{**rows[0], "eta_kappa": 2.5}, rows[0]]
    assert not all(check.passed for check in learning_rates.jump_checks(still))


def test_commuting_matrices_are_needed() -> None:
    assert learning_rates.commuting_is_needed(1).passed
