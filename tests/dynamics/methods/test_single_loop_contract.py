"""What every single-loop, value-function, certified and learned-response method owes the driver."""

import functools

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import Status, geometries, methods, run_method

from ..cases import CASES, Case, least_squares, softmax, two_clusters

METHODS = {
    "penalty": methods.Penalty(growth=1.2, goal=1.0),
    "lagrangian": methods.AugmentedLagrangian(),
    "f2sa": methods.F2SA(eta=0.1, num_inner_steps=2, batch_size=6),
    "f2sa central": methods.F2SA(eta=0.1, central=True, prox=0.5, radius=2.0, num_inner_steps=2),
    "scalebio": methods.ScaleBiO(eta=0.1, batch_size=6, growth=1.5, period=4),
    "lvhba": methods.LVHBA(eta=0.1),
    "lvhba ball": methods.LVHBA(eta=0.1, radius=1.0),
    "maid": methods.MAID(eta=0.5),
    "borep": methods.BOREP(batch_size=6),
    "self tuning": methods.SelfTuning(eta=0.1, num_perturbations=6, batch_size=6),
    "bsvrb": methods.BSVRB(eta=0.1, batch_size=6),
    "bsvrb hessian": methods.BSVRB(eta=0.1, batch_size=6, track_hessian=True),
}
STOCHASTIC = ("f2sa", "scalebio", "borep", "self tuning", "bsvrb", "bsvrb hessian")
every = pytest.mark.parametrize("name", METHODS)


@functools.cache
def torch_or_skip():
    return pytest.importorskip("torch")


@every
@pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
def test_runs_on_every_problem_and_geometry(c: Case, name: str) -> None:
    n = c.problem.num_samples
    for geometry in (
        None,
        geometries.SoftmaxLogits(),
        geometries.Sigmoid(),
        geometries.Projection(),
        geometries.ClippedNormalised(),
        geometries.Groups(np.arange(n) % 3),
    ):
        run = run_method(c.problem, METHODS[name], 4, geometry=geometry, num_saved=5)
        assert run.status is Status.ok, run.message
        assert np.isfinite(run.theta).all()
        assert (run.w >= 0).all()
        assert np.abs(run.w[-1] - run.w[0]).max() > 1e-9, geometry


@every
def test_orders_differ_and_are_named(name: str) -> None:
    method, ends = METHODS[name], []
    for order in ("simultaneous", "theta_first", "w_first"):
        knobs = {**vars(method), "order": order}
        ends.append(run_method(least_squares(), type(method)(**knobs), 10).theta[-1])
    gaps = [np.abs(ends[0] - end).max() for end in ends[1:]]
    if name == "maid":
        assert gaps == [0.0, 0.0]
    else:
        assert min(gaps) > 1e-9
    with pytest.raises(ValueError, match="`order` must be one of"):
        type(method)(order="w first")


@every
def test_cells_are_independent(name: str) -> None:
    """Rates over leading axes, together and alone; a mini-batch is shared by all cells."""
    q, rng, kind = least_squares(n=20), np.random.default_rng(0), type(METHODS[name])
    w0, theta0 = rng.dirichlet(np.full(20, 5.0), size=(2, 1)), rng.normal(size=(3, 3))
    eta = np.array([[0.05], [0.2]])
    rates = {}
    for knob, values in {
        "gamma": [0.5, 2.0, 7.0],
        "sigma": [0.1, 0.3, 0.2],
        "mu": [0.1, 0.5, 0.2],
    }.items():
        if hasattr(METHODS[name], knob):
            rates[knob] = np.array(values)
    knobs = {**vars(METHODS[name]), "eta": eta, **rates}
    together = run_method(q, kind(**knobs), 12, w0=w0, theta0=theta0, num_saved=13)
    assert together.theta.shape == (13, 2, 3, 3)
    for i in range(2):
        for j in range(3):
            own = {**knobs, "eta": eta[i, 0]} | {k: v[j] for k, v in rates.items()}
            alone = run_method(q, kind(**own), 12, w0=w0[i, 0], theta0=theta0[j], num_saved=13)
            # conjugate gradients of MAID stop for all cells together
            rtol, atol = (0.3, 0.05) if name == "maid" else (1e-7, 1e-9)
            assert_allclose(together.theta[:, i, j], alone.theta, rtol=rtol, atol=atol)
            assert_allclose(together.w[:, i, j], alone.w, rtol=rtol, atol=atol)


@every
def test_a_broken_cell_does_not_disturb_the_others(name: str) -> None:
    q, method = two_clusters(n=20, m=10), METHODS[name]
    if name == "maid":
        pytest.skip("MAID refuses steps that are too long, so no rate breaks it")
    knobs = {**vars(method), "rho": np.array([0.001, 1e6])}
    if "ball" in name or "central" in name:
        knobs["radius"] = None  # a projection keeps any step finite
    run = run_method(q, type(method)(**knobs), 60)
    alone = run_method(q, type(method)(**{**knobs, "rho": 0.001}), 60)
    assert run.status[0] == Status.ok
    assert run.status[1] != Status.ok, run.message
    assert np.isfinite(run.theta).all()
    assert np.isfinite(run.w).all()
    assert_allclose(run.theta[-1, 0], alone.theta[-1], rtol=1e-8)


@every
def test_seeds(name: str) -> None:
    a, b, c = (run_method(least_squares(), METHODS[name], 8, seed=s) for s in (3, 3, 4))
    assert (a.theta == b.theta).all()
    assert (a.log_w == b.log_w).all()
    assert (np.abs(a.log_w[-1] - c.log_w[-1]).max() > 1e-9) == (name in STOCHASTIC)


@every
@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_other_array_libraries(name: str, library: str) -> None:
    xp = array_api_strict if library == "array_api_strict" else torch_or_skip()
    for q in (least_squares(), softmax()):
        theta0 = np.linspace(-1, 1, q.num_params)
        expected = run_method(q, METHODS[name], 6, theta0=theta0)
        got = run_method(q.to(xp=xp), METHODS[name], 6, theta0=theta0)
        assert got.status is Status.ok, got.message
        assert_allclose(got.theta, expected.theta, rtol=1e-6, atol=1e-9)
        assert_allclose(got.w, expected.w, rtol=1e-6, atol=1e-9)
        w = np.full(q.num_samples, 1 / q.num_samples)
        moved = METHODS[name].direction(q.to(xp=xp), xp.asarray(theta0), xp.asarray(w))
        expected = METHODS[name].direction(q, theta0, w)
        assert_allclose(np.asarray(moved), expected, rtol=1e-5, atol=1e-7)


@every
def test_single_precision_stays_single(name: str) -> None:
    q = least_squares().to(dtype="float32")
    method, geometry = METHODS[name], geometries.Mirror()
    w = np.full(12, 1 / 12, dtype=np.float32)
    state = method.init(q, geometry, np.zeros(3, dtype=np.float32), np.log(w), 0)
    for _ in range(3):
        state = method.step(q, geometry, state)
    for key, value in vars(state).items():
        if isinstance(value, np.ndarray):
            assert value.dtype == np.float32, key


@every
def test_direction_takes_leading_axes(name: str) -> None:
    q, rng = least_squares(), np.random.default_rng(3)
    theta, w = rng.normal(size=(2, 1, 3)), rng.dirichlet(np.ones(12), size=3)
    got = METHODS[name].direction(q, theta, w)
    assert got.shape == (2, 3, 12)
    for i in range(2):
        for j in range(3):
            alone = METHODS[name].direction(q, theta[i, 0], w[j])
            # the certificate of MAID stops conjugate gradients for all cells together
            tol = 0.5 if name == "maid" else 1e-6
            assert_allclose(got[i, j], alone, rtol=tol, atol=tol)


@pytest.mark.parametrize("kind", [methods.F2SA, methods.ScaleBiO, methods.LVHBA, methods.BOREP])
def test_bad_knobs_give_a_status(kind) -> None:
    run = run_method(two_clusters(), kind(rho=50.0), 3000)
    assert run.status in (Status.diverged, Status.nonfinite)
    assert "`rho`" in run.message
    assert np.isfinite(run.theta).all()
    assert np.isfinite(run.w).all()
