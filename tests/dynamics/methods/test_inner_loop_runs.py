"""The inner loop in runs: all methods and optimisers, cells, checkpoints, batches, refusals."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import (
    LeastSquares,
    MultiProblem,
    Status,
    geometries,
    methods,
    nesting,
    run_method,
    sweep,
)
from warmflow.dynamics.cells import cell_knobs, flatten_knobs, take_knobs
from warmflow.dynamics.specifying import specification

from ..cases import Refusals, least_squares, refusals, softmax, two_clusters
from ..interrupted import assert_same, resumed, run
from .table import ALL, has_knob, name, with_knobs

BEGIN = [m for m in ALL if not isinstance(m, methods.InnerLoop) and not m.ignores_start]
each = pytest.mark.parametrize("method", BEGIN, ids=name)
LOOPS = [
    {"num_inner_steps": 3},
    {"num_inner_steps": 3, "optimiser": "momentum", "momentum": 0.5},
    {"num_inner_steps": 3, "optimiser": "newton"},
    {"num_inner_steps": 2, "resolve_every": 2},
]


def on_batches(method: methods.Method) -> list[methods.Method]:
    """Return the method, and the method on mini-batches where it has them."""
    small = [with_knobs(method, batch_size=5)] if has_knob(method, "batch_size") else []
    return [method, *small]


@each
@pytest.mark.parametrize("knobs", LOOPS, ids=str)
def test_every_method_with_every_optimiser(method: methods.Method, knobs) -> None:
    blocks = MultiProblem([least_squares(n=14, p=2, m=6, seed=3), softmax(n=14)])
    for q in (least_squares(), softmax(), blocks):
        for part in on_batches(method):
            ends = {}
            for loop in (part, methods.InnerLoop(method=part, **knobs)):
                kind = method.geometries[0]() if method.geometries else geometries.Mirror()
                done = run_method(q, loop, 3, geometry=kind, seed=1, theta0=np.ones(q.num_params))
                assert done.status is Status.ok, done.message
                assert np.isfinite(done.theta).all()
                assert np.isfinite(done.w).all()
                ends[type(loop)] = done.theta[-1]
            first, second = ends.values()
            assert np.abs(first - second).max() > 1e-8  # the loop does something


@each
@pytest.mark.parametrize("knobs", LOOPS, ids=str)
def test_runs_over_leading_axes_are_single_runs(method: methods.Method, knobs) -> None:
    q, theta0 = two_clusters(), 0.3 * np.random.default_rng(0).normal(size=(3, 2))
    rates = {"rho": np.array([[1e-3], [3e-3]]), "eta": np.array([[0.03], [0.09]])}
    rates = {key: value for key, value in rates.items() if has_knob(method, key)}
    for part in on_batches(method):
        loop = methods.InnerLoop(method=part, **knobs)
        together = run_method(q, with_knobs(loop, **rates), 5, theta0=theta0, seed=1)
        assert together.w.shape == (6, 2, 3, 60)
        for i, j in ((0, 0), (1, 2)):
            single = {key: float(value[i, 0]) for key, value in rates.items()}
            alone = run_method(q, with_knobs(loop, **single), 5, theta0=theta0[j], seed=1)
            assert_allclose(together.theta[:, i, j], alone.theta, rtol=1e-6, atol=1e-8)
            assert_allclose(together.w[:, i, j], alone.w, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("knobs", LOOPS, ids=str)
@pytest.mark.parametrize(
    "method",
    [methods.SOBA(batch_size=5), methods.F2SA(batch_size=5), methods.BSVRB(batch_size=5)],
    ids=name,
)
def test_resumed_runs_are_those_without_interruption(method, knobs, tmp_path: Path) -> None:
    q, loop = least_squares(), methods.InnerLoop(method=method, **knobs)
    many = with_knobs(loop, rho=np.array([0.01, 0.05, 1e6]))
    for part in (loop, many):
        whole = run(q, part)
        for step in (1, 6):
            assert_same(resumed(q, part, step, tmp_path / "run.npz"), whole)


def test_a_checkpoint_of_another_loop_is_refused(tmp_path: Path) -> None:
    q, path = least_squares(), tmp_path / "run.npz"
    loop = methods.InnerLoop(method=methods.Joint(eta=0.1), num_inner_steps=3)
    run(q, loop, checkpoint=path)
    for other in (
        dataclasses.replace(loop, num_inner_steps=4),
        dataclasses.replace(loop, method=methods.Joint(eta=0.2)),
        dataclasses.replace(loop, method=methods.SOBA(eta=0.1)),
    ):
        with pytest.raises(ValueError, match="checkpoint"):
            run(q, other, checkpoint=path, resume=True)
    words = specification(q, loop, geometries.Mirror(), 0, None, np.zeros(12))
    assert words["knob `method`"].startswith("Joint(")
    assert "eta=0.1" in words["knob `method`"]


class Noted(LeastSquares):
    """A problem that notes the training samples of its mini-batches."""

    drawn: list[tuple[int, ...]]

    def batch(self, train=None, val=None):
        self.drawn.append(tuple(train))
        return super().batch(train, val)


def noted() -> Noted:
    q = two_clusters(n=40)
    watched = object.__new__(Noted)
    watched.__dict__.update(vars(q), drawn=[])
    return watched


STOCHASTIC = [m for m in BEGIN if has_knob(m, "batch_size") and name(m) != "LearningToReweight"]
"""LearningToReweight relaxes on all samples: its weights are zero outside their batch."""


@pytest.mark.parametrize("method", STOCHASTIC, ids=name)
def test_every_relaxation_draws_a_batch_of_its_own(method: methods.Method) -> None:
    q, mirror = noted(), (method.geometries or (geometries.Mirror,))[0]()
    part = with_knobs(method, batch_size=6)
    loop = methods.InnerLoop(method=part, num_inner_steps=4)
    state = loop.init(q, mirror, np.ones(2), mirror.start(np.log(np.full(40, 1 / 40))), 3)
    draws = []
    for _ in range(3):
        q.drawn.clear()
        part.step(q, mirror, state.inner)
        own = set(q.drawn)
        q.drawn.clear()
        state = loop.step(q, mirror, state)
        assert own <= set(q.drawn)  # the method's own step keeps its batches
        assert len(set(q.drawn)) == len(own) + 3
        draws += list(set(q.drawn))
    assert len(set(draws)) == len(draws)
    assert state.inner.seed == state.seed == 3


def test_a_sampler_goes_on_from_one_inner_step_to_the_next() -> None:
    q, asked = two_clusters(n=40), []

    def sampler(step: int) -> np.ndarray:
        asked.append(step)
        return np.arange(6) + step

    q.sampler = sampler
    loop = methods.InnerLoop(method=methods.SOBA(batch_size=6), num_inner_steps=3)
    run_method(q, loop, 4)
    assert asked == list(range(12))


@pytest.mark.parametrize("knobs", LOOPS, ids=str)
def test_variance_reduced_averages_stay_exact(knobs) -> None:
    """With all blocks and all data the average of grad G is its last value, for any mixing."""
    q = MultiProblem([least_squares(p=2), least_squares(p=1, seed=4)])
    mirror = geometries.Mirror()
    loop = methods.InnerLoop(method=methods.BSVRB(eta=0.5, mixing=0.3), **knobs)
    state = loop.init(q, mirror, np.ones(3), np.log(np.full(12, 1 / 12)), 0)
    for _ in range(5):
        state = loop.step(q, mirror, state)
        inner = state.inner
        exact = q.train_grad(inner.last_theta, inner.last_w)
        assert_allclose(inner.slope, exact, rtol=1e-10, atol=1e-12)
        v = inner.last_adjoint
        for part, b in zip(q.problems, q.blocks, strict=True):
            at = inner.last_theta[b]
            error = part.hvp(at, inner.last_w, v[b]) - part.val_grad(at)
            assert_allclose(inner.error[b], error, rtol=1e-8, atol=1e-10)


def test_variance_reduced_increments_have_no_bias_in_the_blocks() -> None:
    """Over the drawn blocks the mean of an average after one relaxation is that of all blocks."""
    q = MultiProblem([least_squares(p=1, seed=s) for s in range(3)])
    mirror, a = geometries.Mirror(), 0.4
    method = methods.BSVRB(mixing=a, num_sampled=1)
    start = method.init(q, mirror, np.ones(3), np.log(np.full(12, 1 / 12)), 0)
    theta = np.array([0.5, -1.0, 2.0])  # not where the averages are
    start = dataclasses.replace(start, theta=theta, slope=start.slope + 0.1)
    w = np.full(12, 1 / 12)
    slopes, counts = np.zeros(3), np.zeros(3)
    for seed in range(60):
        moved = method.relax(q, mirror, dataclasses.replace(start, seed=seed))
        changed = moved.slope != start.slope
        assert changed.sum() == 1
        counts += changed
        slopes += np.where(changed, moved.slope, 0.0)
    old, new = q.train_grad(np.ones(3), w), q.train_grad(theta, w)
    factor = 1.0 - a + 2.0 / (1.0 - a)
    expected = (1 - a) * start.slope + a * new + factor * (new - old)
    assert (counts > 8).all()
    assert_allclose(slopes / counts, expected, rtol=1e-10)


def test_knobs_within_a_loop_run_over_cells() -> None:
    rho = np.array([[0.1], [0.2]])
    loop = methods.InnerLoop(method=methods.Joint(rho=rho, eta=np.array([1.0, 2.0, 3.0])))
    assert set(cell_knobs(loop)) == {"rho", "eta"}
    flat = flatten_knobs(loop, (2, 3))
    assert_allclose(flat.method.rho, [0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
    few = take_knobs(flat, np.array([1, 5]))
    assert_allclose(few.method.rho, [0.1, 0.2])
    assert_allclose(few.method.eta, [2.0, 3.0])
    assert (few.num_inner_steps, few.method.tol) == (5, 1e-8)
    both = nesting.with_knobs(loop, {"rho": 0.3, "eta": 0.4})
    assert (both.method.rho, both.method.eta, both.optimiser) == (0.3, 0.4, "gradient")
    centre = methods.ConjugateGradient(theta_ref=[0.0, 1.0], prox=0.1)
    assert cell_knobs(methods.InnerLoop(method=centre)) == {}


def test_a_sweep_reaches_the_rates_within() -> None:
    q = two_clusters()
    loop = methods.InnerLoop(method=methods.Joint(), num_inner_steps=4)
    ds = sweep(q, alpha=[0.02, 0.05], beta=[0.1, 0.4], num_steps=30, method=loop)
    for i, alpha in enumerate((0.02, 0.05)):
        own = dataclasses.replace(loop, method=methods.Joint(rho=alpha, eta=0.4))
        alone = run_method(q, own, 30, num_saved=2)
        assert_allclose(ds["theta"].values[i, 1], alone.theta[-1], rtol=1e-9)


def test_the_loop_asks_for_what_the_method_asks_for() -> None:
    for method in BEGIN:
        loop = methods.InnerLoop(method=method)
        assert loop.requires == method.requires
        assert loop.geometries == method.geometries
    loop = methods.InnerLoop(method=methods.LearningToReweight())
    with pytest.raises(ValueError, match=r"`geometry` must be one of geometries\.Clipped"):
        run_method(least_squares(), loop, 1, geometry=geometries.Mirror())


def newton_of_a_network() -> None:
    from ..torch_bridge.modules import linear_twin

    pytest.importorskip("torch")
    loop = methods.InnerLoop(method=methods.Joint(rho=0.1), optimiser="newton")
    run_method(linear_twin(least_squares()), loop, 1)


L = methods.InnerLoop
REFUSALS: Refusals = {
    "exact": (lambda: L(method=methods.Exact()), ValueError, "Exact: it solves for theta"),
    "maid": (lambda: L(method=methods.MAID()), ValueError, "MAID: it solves for theta"),
    "cold": (
        lambda: L(method=methods.ReverseMode(cold_start=True)),
        ValueError,
        "begins at theta_0",
    ),
    "cold, solved": (
        lambda: L(method=methods.ForwardMode(cold_start=True), num_inner_steps=1, resolve_every=2),
        ValueError,
        "`cold_start`",
    ),
    "exact, momentum": (
        lambda: L(method=methods.Exact(), num_inner_steps=1, optimiser="momentum"),
        ValueError,
        "Use it without a loop",
    ),
    "nested": (lambda: L(method=L()), TypeError, "`method` must be a method .* and no loop"),
    "no method": (lambda: L(method=0.1), TypeError, "`method` must be a method"),
    "class": (lambda: L(method=methods.Joint), TypeError, "`method` must be a method"),
    "steps": (lambda: L(num_inner_steps=0), ValueError, "`num_inner_steps` must be"),
    "optimiser": (lambda: L(optimiser="adam"), ValueError, "`optimiser` must be one of 'gradient'"),
    "momentum": (lambda: L(momentum=1.0), ValueError, "`momentum` must be < 1; got 1.0"),
    "resolve": (lambda: L(resolve_every=0), ValueError, "`resolve_every` must be"),
    "order": (lambda: L(order="last"), ValueError, "`order` must be one of"),
    "not convex": (newton_of_a_network, ValueError, "not known to be convex; got 'newton'"),
}


@refusals(REFUSALS)
def test_what_cannot_be_is_refused_with_the_reason(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
