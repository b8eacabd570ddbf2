"""Verdicts on weights and runs whose fate is known, with the evidence behind them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.analysis import diagnose, rate_ratio, run_report
from warmflow.analysis.diagnosis import VERDICTS
from warmflow.dynamics import (
    LeastSquares,
    geometries,
    integrate,
    integrate_exact,
    integrate_frozen,
    methods,
    run_method,
)


def toy(n: int = 200, p: int = 2, seed: int = 0) -> LeastSquares:
    rng = np.random.default_rng(seed)

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        X = rng.normal(size=(size, p))
        return X, X.sum(axis=1) + 0.3 * rng.normal(size=size)

    (X, y), (X_val, y_val) = draw(n), draw(100)
    clean = np.arange(n) < n // 2
    y = np.where(clean, y, y - 2 * X.sum(axis=1))
    return LeastSquares(X, y, X_val, y_val, ridge=1e-2, test=draw(500), clean=clean)


Q = toy()
RNG = np.random.default_rng(0)

ARRAYS = {
    "uniform": (np.full(40, 0.025), "frozen"),
    "nearly uniform": (1 + 1e-4 * RNG.normal(size=40), "frozen"),
    "one sample": (np.eye(40)[7], "collapsed"),
    "three of 200": (np.r_[0.4, 0.3, 0.3, np.zeros(197)], "collapsed"),
    "two unequal": ([0.55, 0.45], "healthy"),
    "one of four leads": ([0.7, 0.1, 0.1, 0.1], "healthy"),
    "one of four": ([0.99, 0.005, 0.005, 0.0], "collapsed"),
    "three of 30": (np.r_[np.ones(3), np.zeros(27)], "collapsed"),
    "four of 60": (np.r_[np.ones(4), np.zeros(56)], "collapsed"),
    "almost no double": ([1e308] * 10, "frozen"),
    "random": (RNG.random(100), "healthy"),
    "half of them": (np.r_[np.ones(50), np.zeros(50)], "healthy"),
    "counts": (RNG.integers(0, 9, size=80), "healthy"),
    "list": ([0.1, 0.3, 0.2, 0.25, 0.15], "healthy"),
    "one sample only": ([1.0], "frozen"),
    "tiny scale": (1e-200 * RNG.random(100), "healthy"),
}


@pytest.mark.parametrize("w, verdict", ARRAYS.values(), ids=ARRAYS.keys())
def test_bare_weights(w, verdict: str) -> None:
    report = diagnose(w)
    assert report.verdict == verdict
    assert verdict in VERDICTS
    assert report.advice
    assert str(report).startswith(f"verdict: {verdict}")


def test_verdicts_do_not_depend_on_the_scale() -> None:
    w = RNG.random(100)
    small, large = diagnose(w / w.sum()), diagnose(1e6 * w)
    assert_allclose(small.evidence["ess"], large.evidence["ess"])
    assert (small.evidence["normalised"], large.evidence["normalised"]) == (False, True)


def test_histories_of_weights() -> None:
    waves = 1 + 0.5 * np.sin(np.arange(80)[:, None] / 2 + np.linspace(0, 6, 30))
    assert diagnose(waves).verdict == "oscillating"
    decaying = 1 + 0.5 * np.exp(-np.arange(80)[:, None] / 8) * (waves - 1)
    assert diagnose(decaying * np.linspace(1, 2, 30)).verdict == "healthy"
    drift = 1 + np.linspace(0, 1, 80)[:, None] * np.linspace(0, 5, 30)
    assert diagnose(drift).verdict == "healthy"
    flips = np.where(np.arange(80)[:, None] % 2, np.linspace(1, 2, 30), np.linspace(2, 1, 30))
    assert diagnose(flips).verdict == "oscillating"


def test_one_sample_all_along_has_collapsed_and_did_not_merely_stay() -> None:
    assert diagnose(np.tile(np.eye(100)[0], (10, 1))).verdict == "collapsed"
    still = np.tile(RNG.random(50), (10, 1))
    assert diagnose(still).verdict == "frozen"


@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_a_sustained_oscillation_of_few_periods_is_seen(phase: float) -> None:
    angle = np.linspace(0, 8 * np.pi, 120)[:, None] + phase
    history = 1 + 0.5 * np.sin(angle) * np.where(np.arange(40) % 2, 1.0, -1.0)
    assert diagnose(history).verdict == "oscillating"


def test_slow_weights_are_healthy_and_fast_ones_collapse() -> None:
    slow = diagnose(integrate(Q, beta=0.1, t_span=(0, 200)))
    fast = diagnose(integrate(Q, beta=100.0, t_span=(0, 50)))
    assert (slow.verdict, fast.verdict) == ("healthy", "collapsed")
    assert_allclose(fast.evidence["R"], rate_ratio(Q, 1.0, 100.0))
    assert "`beta`" in fast.advice
    assert fast.evidence["support"]["0.001"] < 20
    assert fast.evidence["clean_mass"] > 0.5
    target = 100.0 / fast.evidence["R"]
    assert f"{target:.3g}" in fast.advice
    assert diagnose(integrate(Q, beta=target, t_span=(0, 200))).verdict == "healthy"


def test_the_knob_of_an_algorithm_is_eta() -> None:
    run = run_method(Q, methods.Joint(rho=0.05, eta=5.0), 1000)
    report = diagnose(run)
    assert report.verdict == "collapsed"
    assert "`eta`" in report.advice
    assert_allclose(report.evidence["R"], rate_ratio(Q, 0.05, 5.0))


def test_weights_that_did_not_move_are_frozen() -> None:
    report = diagnose(run_method(Q, methods.Joint(rho=0.1, eta=1e-8), 200))
    assert report.verdict == "frozen"
    assert "raise `eta`" in report.advice
    start = np.random.default_rng(0).dirichlet(np.ones(200))
    still = integrate(Q, beta=0.0, t_span=(0, 5), w0=start)
    assert diagnose(still).verdict == "frozen"


def test_a_diverged_run_is_called_so() -> None:
    report = diagnose(run_method(Q, methods.Joint(rho=50.0, eta=0.01), 200))
    assert report.verdict == "diverged"
    assert "`rho`" in report.advice
    assert report.evidence["status"] == "diverged"


def test_steps_that_undo_each_other_oscillate_between_saved_points_too() -> None:
    """Clipped and normalised steps of size 1 flip between two sets of weights, with period 2."""
    q = toy(p=1, seed=3)
    geometry = geometries.ClippedNormalised()
    run = run_method(q, methods.Exact(eta=1.0), 400, geometry=geometry, num_saved=11)
    assert np.abs(run.w[-1] - run.w[-2]).sum() < 1e-9  # saved points are 40 steps apart
    report = diagnose(run)
    assert report.verdict == "oscillating"
    assert report.evidence["step_reversal"] > 0.1
    assert "lower `eta`" in report.advice


def test_weights_that_jump_from_sample_to_sample_have_collapsed() -> None:
    history = np.eye(40)[np.arange(80) % 2]
    report = diagnose(history)
    assert report.verdict == "collapsed"
    assert report.evidence["oscillating"]


def test_flows_without_two_rates_have_no_ratio() -> None:
    exact = diagnose(integrate_exact(Q, t_span=(0, 20)))
    assert exact.verdict == "healthy"
    assert "R" not in exact.evidence
    frozen = diagnose(integrate_frozen(Q, theta=np.array([3.0, -1.0]), t_span=(0, 100)))
    assert frozen.verdict == "collapsed"
    assert "R" not in frozen.evidence


def test_a_long_run_over_many_samples_is_not_expanded() -> None:
    run = integrate(toy(n=20_000), t_span=(0, 3))
    assert diagnose(run).evidence["num_samples"] == 20_000


ERRORS = {
    "nan": ([0.5, np.nan], ValueError, r"`w_or_trajectory` must be finite"),
    "negative": ([1.5, -0.5], ValueError, r"`w_or_trajectory` must be >= 0; got -0\.5"),
    "zero": ([0.0, 0.0], ValueError, r"`w_or_trajectory` must have a positive sum"),
    "empty": ([], ValueError, r"`w_or_trajectory` must not be empty"),
    "scalar": (1.0, ValueError, r"`w_or_trajectory` must have shape"),
    "3-D": (
        np.ones((2, 2, 2)),
        ValueError,
        r"`w_or_trajectory` must have shape \(n,\) or \(k, n\)",
    ),
    "text": ("weights.npy", TypeError, r"`w_or_trajectory` must be a real numeric array"),
    "none": (None, TypeError, r"`w_or_trajectory` must be a real numeric array"),
}


@pytest.mark.parametrize("value, error, match", ERRORS.values(), ids=ERRORS.keys())
def test_what_is_no_set_of_weights_is_refused(value, error, match) -> None:
    with pytest.raises(error, match=match):
        diagnose(value)


def test_runs_with_leading_axes_are_refused() -> None:
    run = run_method(Q, methods.Joint(eta=np.array([0.1, 0.2])), 5)
    for function in (diagnose, run_report):
        with pytest.raises(ValueError, match="must be a single run"):
            function(run)
    with pytest.raises(TypeError, match=r"`run` must be a Trajectory; got int"):
        run_report(3)


def test_the_report_of_a_run_holds_what_must_be_reported() -> None:
    run = integrate(Q, beta=1.0, t_span=(0, 30))
    ds = run_report(run, num_points=7)
    assert ds.sizes["time"] == 7
    assert ds.time[-1] == 30.0
    last = run.w[-1]
    star = Q.theta_star(last)
    assert_allclose(ds.outer_loss[-1], Q.outer_loss(last))
    assert_allclose(ds.theta_error[-1], np.linalg.norm(run.theta[-1] - star), rtol=1e-6)
    assert_allclose(ds.test_loss_star[-1], Q.test_loss(star))
    assert_allclose(ds.condition[-1], np.linalg.cond(Q.hessian(star, last)))
    assert (ds.kkt_residual >= 0).all()
    rows = np.unique(np.linspace(0, len(run) - 1, 7).round().astype(int))
    averaged = run.w[rows].mean(axis=0)
    assert_allclose(ds.test_loss_averaged[-1], Q.test_loss(Q.theta_star(averaged)))


def test_runs_on_torch_are_diagnosed_as_those_on_numpy() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    method = methods.Joint(rho=0.05, eta=5.0)
    there = run_method(Q.to(xp=torch), method, 300)
    here = run_method(Q, method, 300)
    assert diagnose(there).verdict == diagnose(here).verdict
    assert_allclose(diagnose(there).evidence["R"], diagnose(here).evidence["R"], rtol=1e-9)
    assert_allclose(run_report(there, 3).outer_loss[0], run_report(here, 3).outer_loss[0])
