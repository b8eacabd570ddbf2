"""Every method with every wrapper that the table of valid combinations calls valid."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import Status, geometries, methods, run_method
from warmflow.dynamics.geometries import Averaged, Floored, Groups, Mixed, Parametric, Penalised

from ..cases import CASES, Refusals, central_difference, least_squares, refusals, two_clusters
from .table import ALL, KINDS, name

A = np.random.default_rng(0).normal(size=(14, 3))
LABELS = np.arange(14) % 4
ALWAYS = {
    "mixed": lambda core, n: Mixed(0.2, core),
    "averaged": lambda core, n: Averaged(0.5, core),
    "averaged mixed": lambda core, n: Averaged(0.5, Mixed(0.2, core)),
}
FLOORS = {
    "floored": lambda core, n: Floored(0.2, core),
    "averaged floored": lambda core, n: Averaged(0.5, Floored(0.2, core)),
}
PENALTIES = {
    "l2 of mixed": lambda core, n: Penalised(l2=0.1, inner=Mixed(0.2, core)),
    "entropy of mixed": lambda core, n: Penalised(entropy=0.1, inner=Mixed(0.2, core)),
    "averaged l2": lambda core, n: Averaged(0.5, Penalised(l2=0.1, inner=core)),
}
GROUPS = {
    "mixed groups": lambda core, n: Mixed(0.2, Groups(LABELS[:n], core)),
    "groups of mixed": lambda core, n: Groups(LABELS[:n], Mixed(0.2, core)),
    "averaged groups": lambda core, n: Averaged(0.5, Groups(LABELS[:n], core)),
}
FEATURES = {
    "parametric": lambda core, n: Parametric(A[:n]),
    "mixed parametric": lambda core, n: Mixed(0.2, Parametric(A[:n])),
    "averaged parametric": lambda core, n: Averaged(0.5, Parametric(A[:n])),
    "groups of parametric": lambda core, n: Groups(LABELS[:n], Parametric(A[:4])),
    "penalised parametric": lambda core, n: Penalised(0.1, 0.1, Parametric(A[:n])),
}


def combinations() -> dict[str, tuple[methods.Method, geometries.Geometry]]:
    """Return the valid combinations of docs/mitigations.md, with n = 14 samples."""
    found = {}
    for method in ALL:
        core = method.geometries[0]() if method.geometries else geometries.Mirror()
        recipes = dict(ALWAYS)
        if name(method) == "MetaWeightNet":
            core = geometries.SoftmaxLogits()
            recipes |= PENALTIES
        elif name(method) == "LearningToReweight":
            recipes |= FLOORS | GROUPS
        else:
            recipes |= FLOORS | PENALTIES | GROUPS | FEATURES
        if name(method) == "MAID":
            recipes = {key: make for key, make in recipes.items() if "averaged" not in key}
        for key, make in recipes.items():
            found[f"{name(method)}, {key}"] = method, make(core, 14)
        if name(method) == "MetaWeightNet":
            found["raw, mixed"] = method, Mixed(0.2, geometries.Sigmoid())
    return found


COMBINATIONS = combinations()
PROBLEMS = {"least_squares": least_squares(n=14), "softmax": CASES["softmax"].problem}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
@pytest.mark.parametrize("method, geometry", COMBINATIONS.values(), ids=COMBINATIONS.keys())
def test_valid_combinations_run_alone_and_over_leading_axes(method, geometry, problem) -> None:
    theta0 = 0.2 * np.random.default_rng(1).normal(size=(2, problem.num_params))
    together = run_method(problem, method, 3, geometry=geometry, theta0=theta0)
    assert together.w.shape == (4, 2, 14)
    for k in range(2):
        alone = run_method(problem, method, 3, geometry=geometry, theta0=theta0[k])
        assert alone.status is Status.ok, alone.message
        # MAID solves to the tolerance of the most demanding cell
        rtol = 1e-2 if name(method) == "MAID" else 1e-7
        assert_allclose(together.w[:, k], alone.w, rtol=rtol, atol=1e-11)
        assert (alone.w >= lowest(geometry) * (1 - 1e-12)).all()
        if name(method) != "MAID":  # it may refuse its first steps
            assert np.abs(alone.w[-1] - alone.w[0]).max() > 0
        if not isinstance(geometry.core, geometries.Sigmoid):
            assert_allclose(alone.w.sum(axis=-1), 1.0, rtol=1e-10)


def lowest(geometry: geometries.Geometry) -> float:
    """Return the weight that every sample keeps."""
    kinds = [type(layer) for layer in geometry.layers]
    shares = [getattr(layer, "share", getattr(layer, "floor", 0.0)) for layer in geometry.layers]
    sizes = [
        np.bincount(LABELS).max() * 4 if Groups in kinds[:k] else 14 for k in range(len(kinds))
    ]
    return max(share / size for share, size in zip(shares, sizes, strict=True))


@pytest.mark.parametrize("kind", [m for m in ALL if hasattr(m, "batch_size")], ids=name)
@pytest.mark.parametrize("wrapper", [Mixed, Floored, Averaged], ids=lambda kind: kind.__name__)
def test_mini_batches(kind: methods.Method, wrapper) -> None:
    method = KINDS[name(kind)](batch_size=5)
    inner = method.geometries[-1]() if method.geometries else geometries.Mirror()
    if wrapper is Floored and isinstance(inner, geometries.SoftmaxLogits):
        return
    geometry = wrapper(0.3, inner)
    if wrapper is Averaged and method.geometries:
        with pytest.raises(ValueError, match=r"`batch_size` must be None .* with Averaged"):
            run_method(two_clusters(), method, 1, geometry=geometry)
        return
    run = run_method(two_clusters(), method, 4, geometry=geometry)
    assert run.status is Status.ok
    assert np.abs(run.theta[-1] - run.theta[0]).max() > 0
    if not method.geometries:
        assert_allclose(run.w.sum(axis=-1), 1.0, rtol=1e-10)


@pytest.mark.parametrize("method", ALL, ids=name)
def test_wrappers_with_their_knob_at_zero_change_nothing(method: methods.Method) -> None:
    """Whichever the core is: no method may look at the outermost geometry alone."""
    for core in (geometries.Sigmoid(), geometries.ClippedNormalised()):
        if method.geometries and not isinstance(core, method.geometries):
            continue
        plain = run_method(two_clusters(), method, 4, geometry=core)
        wrapped = [Mixed(0.0, core)] + ([] if name(method) == "MAID" else [Averaged(0.0, core)])
        for geometry in wrapped:
            run = run_method(two_clusters(), method, 4, geometry=geometry)
            assert (run.w == plain.w).all()
            assert (run.theta == plain.theta).all()


def test_learning_to_reweight_follows_the_formula_under_every_wrapper() -> None:
    q = least_squares(n=14)
    theta, rho, w = q.initial_theta(np.full(14, 1 / 14)) + 0.3, 0.1, np.full(14, 1 / 14)
    method = methods.LearningToReweight(rho=rho, decay=0.0)
    u = np.maximum(-method.direction(q, theta, w), 0.0)
    v = u / u.sum()
    assert (v == 0).any()
    grouped = np.maximum([-method.direction(q, theta, w)[k == LABELS].mean() for k in range(4)], 0)
    sizes = np.bincount(LABELS)
    clip = geometries.ClippedNormalised()
    expected = {
        Mixed(0.3, clip): 0.7 * v + 0.3 / 14,
        Averaged(0.6, clip): 0.6 * w + 0.4 * v,
        Groups(LABELS, clip): (grouped / grouped.sum() / sizes)[LABELS],
    }
    for geometry, weights in expected.items():
        run = run_method(q, method, 1, geometry=geometry, theta0=theta)
        assert_allclose(run.w[-1], weights, rtol=1e-12)
        assert_allclose(run.theta[-1], theta - rho * q.train_grad(theta, weights), rtol=1e-12)


@pytest.mark.parametrize("geometry", [
    Mixed(0.3, geometries.SoftmaxLogits()),
    Penalised(l2=0.2, inner=geometries.SoftmaxLogits()),
    Penalised(entropy=0.2, inner=Mixed(0.3, geometries.SoftmaxLogits())),
    Mixed(0.3, geometries.Sigmoid()),
], ids=repr)  # fmt: skip
def test_the_network_moves_along_the_derivative_of_what_the_wrapper_makes(geometry) -> None:
    """With a free table: phi+ - phi = -eta d/dphi [F(ahead(w(phi)))/rho + penalty(w(phi))]."""
    q, rho, eta = least_squares(n=14), 0.05, 0.01
    theta = np.array([0.4, -0.3, 0.2])
    method = methods.MetaWeightNet(
        rho=rho, eta=eta, network=methods.Table(), adam=False, weight_decay=0.0, num_warmup=0
    )
    w0 = 0.5 / 14 + 0.5 * np.linspace(1.0, 2.0, 14) / 21  # at uniform weights no penalty pulls
    start = geometry.logits(geometry.start(np.log(w0)))

    def objective(s: np.ndarray) -> float:
        w = geometry.weights(s)
        value = q.val_loss(theta - rho * q.train_grad(theta, w)) / rho
        if isinstance(geometry, Penalised):
            value += geometry.entropy * (w * np.log(w) - w).sum() + 7 * geometry.l2 * (w @ w)
        return float(value)

    run = run_method(q, method, 1, geometry=geometry, theta0=theta, w0=w0)
    moved = geometry.weights(start - eta * central_difference(objective, start))
    assert_allclose(run.w[-1] - run.w[0], moved - run.w[0], rtol=1e-5, atol=1e-12)


SOFTMAX, CLIP = geometries.SoftmaxLogits(), geometries.ClippedNormalised()
L2R, NET = methods.LearningToReweight(), methods.MetaWeightNet()
WRONG = {
    "penalty": (L2R, Penalised(l2=0.1, inner=CLIP), r"no weights at every step.*use Mixed"),
    "core": (L2R, Mixed(0.1), r"one of geometries\.ClippedNormalised for methods\.Learn"),
    "net core": (NET, Averaged(0.1), r"one of geometries\.Sigmoid, geometries\.SoftmaxLogits"),
    "net floor": (NET, Floored(0.1, geometries.Sigmoid()), r"not hold Floored .*use Mixed"),
    "net groups": (NET, Mixed(0.1, Groups(LABELS, SOFTMAX)), r"not hold Groups .*drop it"),
    "net features": (NET, Parametric(A), r"one of geometries\.Sigmoid"),
    "maid": (methods.MAID(), Mixed(0.1, Averaged(0.5)), r"not hold Averaged .*drop it"),
    "batches": (
        methods.LearningToReweight(batch_size=5),
        Groups(LABELS, CLIP),
        r"`batch_size` must be None .* with Groups, whose state does not; got 5",
    ),
}
CALLS: Refusals = {
    key: (lambda m=m, g=g: run_method(least_squares(n=14), m, 1, geometry=g), ValueError, words)
    for key, (m, g, words) in WRONG.items()
}


@refusals(CALLS)
def test_refused_combinations_name_reason_and_cure(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
