"""Bad input is refused at the door: the argument in backticks, the rule, the value."""

from collections.abc import Callable

import numpy as np
import pytest

from warmflow.dynamics import (
    LeastSquares,
    Problem,
    geometries,
    integrate,
    integrate_exact,
    integrate_frozen,
    methods,
    run_method,
    sweep,
    weights,
)

from .cases import least_squares, refusals, softmax

X, Y = np.ones((4, 2)), np.arange(4.0)
LABELS = np.array([0, 1, 0, 1])
Q, S = least_squares(), softmax()
BAD_W = np.full(12, 0.1)
ZERO_W = np.r_[0.0, np.full(11, 1 / 11)]
NAN = np.array([[1.0, np.nan]] * 4)
OBJECT = np.array([[1, None]] * 4, dtype=object)


def flow_arguments(integrator: Callable[..., object], **needed: object):
    """Return the wrong calls that all three integrators must refuse."""
    run = lambda **kwargs: lambda: integrator(Q, **{**needed, **kwargs})  # noqa: E731
    return {
        "problem": (
            lambda: integrator(3, **needed),
            TypeError,
            r"`problem` must be a Problem; got int",
        ),
        "float32": (
            lambda: integrator(Q.to(dtype="float32"), **needed),
            ValueError,
            r"`problem` must be float64",
        ),
        "beta": (run(beta=-1), ValueError, r"`beta` must be >= 0; got -1\.0"),
        "beta inf": (run(beta=np.inf), ValueError, r"`beta` must be finite"),
        "t_span": (run(t_span=(1, 1)), ValueError, r"`t_span` must increase; got \(1\.0, 1\.0\)"),
        "t_span one": (run(t_span=5.0), ValueError, r"`t_span` must be a pair of times"),
        "rtol": (run(rtol=0.0), ValueError, r"`rtol` must be > 0"),
        "rtol small": (run(rtol=1e-17), ValueError, r"`rtol` must lie in \[1e-13, 1\)"),
        "atol": (run(atol=-1e-3), ValueError, r"`atol` must be > 0"),
        "t_eval order": (run(t_eval=[1.0, 0.5]), ValueError, r"`t_eval` must increase strictly"),
        "t_eval range": (run(t_eval=[0.0, 99.0]), ValueError, r"`t_eval` must lie in `t_span`"),
        "num_saved": (run(num_saved=1), ValueError, r"`num_saved` must be >= 2; got 1"),
        "num_saved float": (run(num_saved=3.5), TypeError, r"`num_saved` must be an integer"),
        "max_evaluations": (run(max_evaluations=0), ValueError, r"`max_evaluations` must be >= 1"),
        "rest_tol": (run(rest_tol=0.0), ValueError, r"`rest_tol` must be > 0"),
        "coordinates": (
            run(coordinates="polar"),
            ValueError,
            r"`coordinates` must be one of 'auto', 'full', 'reduced'; got 'polar'",
        ),
        "w0 sum": (run(w0=BAD_W), ValueError, r"`w0` must sum to 1; got a sum of 1\.2"),
        "w0 zero": (run(w0=ZERO_W), ValueError, r"`w0` must be > 0 everywhere"),
        "w0 shape": (
            run(w0=np.ones(3) / 3),
            ValueError,
            r"`w0` must have shape \(12,\); got \(3,\)",
        ),
    }


@refusals(flow_arguments(integrate))
def test_integrate(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


@refusals(flow_arguments(integrate_exact))
def test_integrate_exact(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


@refusals(flow_arguments(integrate_frozen, theta=np.zeros(3)))
def test_integrate_frozen(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


MORE = {
    "alpha": (lambda: integrate(Q, alpha=-2.0), ValueError, r"`alpha` must be >= 0; got -2\.0"),
    "theta0": (
        lambda: integrate(Q, theta0=[1.0]),
        ValueError,
        r"`theta0` must have shape \(3,\); got \(1,\)",
    ),
    "theta0 nan": (
        lambda: integrate(Q, theta0=[1.0, np.nan, 0.0]),
        ValueError,
        r"`theta0` must be finite",
    ),
    "theta": (
        lambda: integrate_frozen(Q, theta=[1.0]),
        ValueError,
        r"`theta` must have shape \(3,\)",
    ),
    "reduced": (
        lambda: integrate(S, coordinates="reduced"),
        ValueError,
        r"`coordinates` must be 'auto' or 'full' for SoftmaxRegression",
    ),
    "no theta_star": (
        lambda: integrate_exact(softmax(ridge=0.0)),
        ValueError,
        r"lacks theta_star, which integrate_exact requires",
    ),
    "run problem": (
        lambda: run_method(3, methods.Joint()),
        TypeError,
        r"`problem` must be a Problem",
    ),
    "run method": (lambda: run_method(Q, "joint"), TypeError, r"`method` must be a method"),
    "run class": (lambda: run_method(Q, methods.Joint), TypeError, r"`method` .*got Joint"),
    "run geometry": (
        lambda: run_method(Q, methods.Joint(), geometry="mirror"),
        TypeError,
        r"`geometry` must be a geometry",
    ),
    "run steps": (
        lambda: run_method(Q, methods.Joint(), 0),
        ValueError,
        r"`num_steps` must be >= 1; got 0",
    ),
    "run seed": (
        lambda: run_method(Q, methods.Joint(), 1, seed=-1),
        ValueError,
        r"`seed` must be >= 0",
    ),
    "run w0": (
        lambda: run_method(Q, methods.Joint(), 1, w0=BAD_W),
        ValueError,
        r"`w0` must sum to 1",
    ),
    "run theta0": (
        lambda: run_method(Q, methods.Joint(), 1, theta0=[1.0]),
        ValueError,
        r"`theta0` must have shape \(\.\.\., 3\)",
    ),
    "run needs": (
        lambda: run_method(softmax(ridge=0.0), methods.Exact(), 1),
        ValueError,
        r"lacks theta_star, which Exact requires",
    ),
    "order": (lambda: methods.Joint(order="last"), ValueError, r"`order` must be one of"),
    "rho": (lambda: methods.Joint(rho=-0.1), ValueError, r"`rho` must be >= 0; got -0\.1"),
    "eta": (lambda: methods.Exact(eta=np.nan), ValueError, r"`eta` must be finite"),
    "eta array": (
        lambda: methods.SOBA(eta=np.array([0.1, -1.0])),
        ValueError,
        r"`eta` must be >= 0; got -1\.0",
    ),
    "tol": (lambda: methods.Joint(tol=0.0), ValueError, r"`tol` must be > 0"),
    "batch_size": (lambda: methods.SOBA(batch_size=0), ValueError, r"`batch_size` must be >= 1"),
    "sigmoid": (lambda: geometries.Sigmoid(cap=0.0), ValueError, r"`cap` must be > 0"),
}


MORE |= {
    "steps huge": (
        lambda: run_method(Q, methods.Joint(), 10**400),
        ValueError,
        r"`num_steps` must be at most",
    ),
    "t_span set": (lambda: integrate(Q, t_span={0, 1}), ValueError, r"`t_span` must be a pair"),
    "t_span 0-d": (lambda: integrate(Q, t_span=np.array(1.0)), ValueError, r"`t_span` must be"),
    "run ragged": (
        lambda: run_method(Q, methods.Joint(), 1, theta0=[[1.0], [1.0, 2.0]]),
        ValueError,
        r"`theta0` must be a rectangular array",
    ),
    "run leading": (
        lambda: run_method(Q, methods.Joint(eta=np.array([0.1, 0.2])), 1, theta0=np.ones((3, 3))),
        ValueError,
        r"leading axes must broadcast together; got `theta0` \(3,\), `eta` \(2,\)",
    ),
    "dataset thresholds": (
        lambda: run_method(Q, methods.Joint(), 1).to_xarray(thresholds=(2.0,)),
        ValueError,
        r"`thresholds` must lie in",
    ),
}


@refusals(MORE)
def test_entry_points(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


def swept(**kwargs: object) -> Callable[[], object]:
    return lambda: sweep(Q, **{"alpha": [0.1], "beta": [0.1], "num_steps": 2, **kwargs})


SWEEPS = {
    "problem": (
        lambda: sweep(None, alpha=[1.0], beta=[1.0]),
        TypeError,
        r"`problem` must be a Problem",
    ),
    "alpha": (swept(alpha=[-0.1]), ValueError, r"`alpha` must be >= 0; got -0\.1"),
    "alpha empty": (swept(alpha=[]), ValueError, r"`alpha` must not be empty"),
    "alpha 2-D": (swept(alpha=[[0.1]]), ValueError, r"`alpha` must have shape"),
    "beta nan": (swept(beta=[np.nan]), ValueError, r"`beta` must be finite"),
    "beta twice": (swept(beta=[1.0, 1.0]), ValueError, r"`beta` must hold distinct rates"),
    "dt": (swept(dt=0.0), ValueError, r"`dt` must be > 0; got 0\.0"),
    "num_steps": (swept(num_steps=0), ValueError, r"`num_steps` must be >= 1"),
    "theta0": (swept(theta0=[0.0]), ValueError, r"`theta0` must have shape \(3,\)"),
    "w0": (swept(w0=BAD_W), ValueError, r"`w0` must sum to 1"),
    "backend": (
        swept(backend="fortran"),
        ValueError,
        r"`backend` must be one of 'auto', 'numpy', 'cupy', 'torch'",
    ),
    "dtype": (swept(dtype="float16"), ValueError, r"`dtype` must be one of 'float64', 'float32'"),
    "save_steps": (
        swept(save_steps=[3]),
        ValueError,
        r"`save_steps` must hold steps in 0 \.\.\. 2; got 3",
    ),
    "save_steps none": (swept(save_steps=[]), ValueError, r"`save_steps` must hold steps"),
    "save_steps zero": (swept(save_steps=0), ValueError, r"`save_steps` must be >= 1"),
    "save_steps float": (swept(save_steps=0.5), TypeError, r"`save_steps` must be an integer"),
    "thresholds": (swept(thresholds=[1.5]), ValueError, r"`thresholds` must lie in \[0, 1\)"),
    "thresholds none": (swept(thresholds=[]), ValueError, r"`thresholds` must not be empty"),
    "alpha bool": (swept(alpha=True), TypeError, r"`alpha` must be a real number|`alpha`"),
    "alpha ragged": (swept(alpha=[[1], [1, 2]]), ValueError, r"`alpha` must be a rectangular"),
    "dt complex": (swept(dt=np.complex128(1)), TypeError, r"`dt` must be a real number"),
    "keep_weights": (swept(keep_weights="yes"), TypeError, r"`keep_weights` must be True or False"),
    "max_bytes unused": (swept(max_bytes=0), ValueError, r"`max_bytes` must be > 0"),
    "max_bytes": (swept(keep_weights=True, max_bytes=-1), ValueError, r"`max_bytes` must be > 0"),
}


@refusals(SWEEPS)
def test_sweep(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


def test_rebuilding_weights() -> None:
    ds = sweep(Q, alpha=[0.1], beta=[0.1, 0.2], num_steps=2)
    place = {"alpha": 0.1, "beta": 0.1}
    with pytest.raises(ValueError, match=r"`beta` must be one of the 2 values of the sweep"):
        weights(ds, Q, alpha=0.1, beta=0.3)
    with pytest.raises(ValueError, match=r"`step` must be None"):
        weights(ds, Q, **place, step=1)
    with pytest.raises(ValueError, match=r"`problem` must be the one that was swept"):
        weights(ds, least_squares(p=2), **place)
    with pytest.raises(ValueError, match=r"`problem` must be the one that was swept"):
        weights(ds, least_squares(seed=1), **place)
    with pytest.raises(TypeError, match=r"`ds` must be a Dataset from sweep; got NoneType"):
        weights(None, Q, **place)
    with pytest.raises(TypeError, match=r"`problem` must be a Problem; got int"):
        weights(ds, 3, **place)
    with pytest.raises(ValueError, match=r"holds neither w nor U"):
        weights(ds.drop_vars("U"), Q, **place)


def test_nothing_is_computed_before_the_check(monkeypatch) -> None:
    """Wrong rates are refused before the (possibly long) solve for the starting point."""

    def boom(self: Problem, w0: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr(LeastSquares, "initial_theta", boom)
    for call in (
        lambda: integrate(Q, t_span=(1, 0)),
        lambda: integrate(Q, coordinates="x"),
        lambda: run_method(Q, methods.Joint(), 0),
        lambda: sweep(Q, alpha=[0.1], beta=[0.1], dt=-1),
        lambda: sweep(Q, alpha=[0.1], beta=[0.1], backend="fortran"),
        lambda: sweep(Q, alpha=[0.1], beta=[0.1], thresholds=[2]),
    ):
        with pytest.raises(ValueError, match="`"):
            call()
