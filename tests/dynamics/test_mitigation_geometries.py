"""Mixed, floored, averaged and parametric weights: laws of one step."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq, minimize

from warmflow.dynamics import geometries, methods, run_method
from warmflow.dynamics.geometries import Averaged, Floored, Mixed, Parametric, Penalised

from .cases import Refusals, central_difference, least_squares, refusals, two_clusters

RNG = np.random.default_rng(0)
W = RNG.dirichlet(np.full(12, 6.0))
LOG_W = np.log(W)
G = RNG.normal(size=12)
A = RNG.normal(size=(12, 3))
UNIFORM = np.full(12, -np.log(12))
LABELS = np.array([2, 0, 0, 1, 2, 2, 2, 1, 0, 2, 1, 2])
CORES = [
    geometries.Mirror(),
    geometries.SoftmaxLogits(),
    geometries.Sigmoid(cap=0.7),
    geometries.Projection(),
    geometries.ClippedNormalised(),
]
FLOORS = [core for core in CORES if not isinstance(core, geometries.SoftmaxLogits)]
WRAPPED = {
    "mixed": Mixed(0.2),
    "mixed logits": Mixed(0.2, geometries.SoftmaxLogits()),
    "mixed sigmoid": Mixed(0.2, geometries.Sigmoid(cap=0.7)),
    "floored": Floored(0.2),
    "floored penalised": Floored(0.2, Penalised(entropy=0.1)),
    "averaged": Averaged(0.7),
    "averaged mixed": Averaged(0.7, Mixed(0.2)),
    "averaged twice": Averaged(0.7, Averaged(0.5)),
    "mixed averaged": Mixed(0.2, Averaged(0.7)),
    "penalised averaged": Penalised(entropy=0.1, inner=Averaged(0.7)),
    "penalised mixed": Penalised(entropy=0.1, inner=Mixed(0.2, geometries.Projection())),
    "parametric": Parametric(A),
    "averaged parametric": Averaged(0.7, Parametric(A)),
}
each = pytest.mark.parametrize("geometry", WRAPPED.values(), ids=WRAPPED.keys())


def step(geometry, log_w: np.ndarray, g: np.ndarray, eta: float) -> np.ndarray:
    return geometry.weights(geometry.step(geometry.start(log_w), g, eta))


@each
def test_start_and_both_views_of_the_weights_agree(geometry) -> None:
    s = geometry.start(LOG_W)
    assert s.shape == (geometry.state_size(12),)
    assert_allclose(geometry.weights(s), W, rtol=1e-12)
    for _ in range(3):
        s = geometry.step(s, G, 0.7)
        assert_allclose(np.exp(geometry.log_weights(s)), geometry.weights(s), rtol=1e-12)


@each
@pytest.mark.parametrize("eta", [0.1, 1e3])
def test_steps_over_leading_axes_are_single_steps(geometry, eta: float) -> None:
    starts, fields = np.stack([LOG_W, LOG_W[::-1], UNIFORM]), np.stack([G, -G, G**2])
    etas = eta * np.array([[1.0], [0.5], [2.0]])
    s = geometry.start(starts)
    for _ in range(3):
        s = geometry.step(s, fields, etas)
    for k in range(3):
        single = geometry.start(starts[k])
        for _ in range(3):
            single = geometry.step(single, fields[k], etas[k, 0])
        assert_allclose(geometry.weights(s)[k], geometry.weights(single), rtol=1e-12, atol=1e-300)
    if not isinstance(geometry.core, geometries.Sigmoid):
        assert_allclose(geometry.weights(s).sum(axis=-1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("core", CORES, ids=lambda core: type(core).__name__)
def test_at_zero_a_knob_is_the_inner_geometry_bit_for_bit(core) -> None:
    wrappers = [Mixed(0.0, core), Averaged(0.0, core)]
    wrappers += [Floored(0.0, core)] if core in FLOORS else []
    for wrapper in wrappers:
        s, t = wrapper.start(LOG_W), core.start(LOG_W)
        for _ in range(3):
            s, t = wrapper.step(s, G, 0.3), core.step(t, G, 0.3)
        assert (wrapper.weights(s) == core.weights(t)).all()
        assert (wrapper.log_weights(s) == core.log_weights(t)).all()
        assert wrapper.can_vanish == core.can_vanish


@pytest.mark.parametrize("core", CORES, ids=lambda core: type(core).__name__)
def test_mixing_moves_the_inner_weights_along_their_own_derivative(core) -> None:
    """The field of v is the derivative of v -> h((1 - share) v + share/n)."""
    q, share = least_squares(), 0.3
    v = (W - share / 12) / (1 - share)
    mixed = Mixed(share, core)
    own = central_difference(lambda v: q.outer_loss((1 - share) * v + share / 12), v)
    expected = (1 - share) * core.weights(core.step(core.start(np.log(v)), own, 0.2)) + share / 12
    # differences of h are good to 1e-9
    assert_allclose(step(mixed, LOG_W, q.outer_grad(W), 0.2), expected, rtol=1e-6)


def test_parametric_weights_move_along_their_own_derivative() -> None:
    """phi+ - phi is -eta times the derivative of phi -> h(w(phi))."""
    q, geometry = least_squares(), Parametric(A)
    phi = np.array([0.3, -0.2, 0.5])
    s = np.concatenate([LOG_W, phi])

    def h(phi: np.ndarray) -> np.ndarray:
        return q.outer_loss(geometry.weights(np.concatenate([LOG_W, phi])))

    moved = geometry.step(s, q.outer_grad(geometry.weights(s)), 0.4)
    assert (moved[:12] == LOG_W).all()
    assert_allclose(moved[12:] - phi, -0.4 * central_difference(h, phi), rtol=1e-6)


@pytest.mark.parametrize(
    "geometry",
    [Mixed(0.2), Mixed(0.2, geometries.SoftmaxLogits()), Floored(0.2), Parametric(A)],
    ids=lambda g: repr(g)[:20],
)
def test_a_small_step_lowers_h_by_the_length_of_its_field(geometry) -> None:
    """dh/d eta = <grad h, dw/d eta> <= 0, by differences of h along the step."""
    q = least_squares()
    field = q.outer_grad(W)

    def h(eta: float) -> float:
        return float(q.outer_loss(step(geometry, LOG_W, field, eta)))

    slope = (h(1e-5) - h(-1e-5)) / 2e-5
    move = (step(geometry, LOG_W, field, 1e-5) - step(geometry, LOG_W, field, -1e-5)) / 2e-5
    assert slope < 0
    assert_allclose(slope, field @ move, rtol=1e-5)


def test_one_hot_features_are_softmax_logits_and_indicators_are_groups() -> None:
    q = two_clusters(n=12, m=9)
    method = methods.Joint(rho=0.1, eta=0.8)
    pairs = [
        (Parametric(np.eye(12)), geometries.SoftmaxLogits()),
        (
            Parametric(np.eye(3)[LABELS]),
            geometries.Groups(LABELS, geometries.SoftmaxLogits()),
        ),
    ]
    for ours, theirs in pairs:
        a, b = (run_method(q, method, 60, geometry=geometry) for geometry in (ours, theirs))
        assert np.abs(a.w[-1] - 1 / 12).max() > 1e-3
        assert_allclose(a.w, b.w, rtol=1e-11)


def test_equal_features_keep_equal_weights_and_constant_columns_do_nothing() -> None:
    features = A[LABELS]
    s = Parametric(features).start(UNIFORM)
    wide = Parametric(np.column_stack([features, np.full(12, 3.0)]))
    t = wide.start(UNIFORM)
    for k in range(5):
        field = np.random.default_rng(k).normal(size=12)
        s, t = Parametric(features).step(s, field, 3.0), wide.step(t, field, 3.0)
    w = Parametric(features).weights(s)
    for k in range(3):
        assert np.ptp(w[np.equal(LABELS, k)]) < 1e-15
    assert np.ptp(w) > 1e-3
    assert_allclose(wide.weights(t), w, rtol=1e-10)


@pytest.mark.parametrize("floor", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_floor_of_mirror_is_the_projection_in_kl(floor: float, scale: float) -> None:
    """By bisection on the common factor, w_i = max(c v_i, floor/n); SLSQP agrees where it works."""
    least, v = floor / 12, step(geometries.Mirror(), LOG_W, G, scale)
    w = step(Floored(floor), LOG_W, G, scale) if W.min() >= least else None
    if w is None:
        s = Floored(floor).start(UNIFORM)
        v = step(geometries.Mirror(), UNIFORM, G, scale)
        w = Floored(floor).weights(Floored(floor).step(s, G, scale))
    factor = brentq(lambda c: np.maximum(c * v, least).sum() - 1.0, 0.0, 2.0, xtol=1e-15)
    assert_allclose(w, np.maximum(factor * v, least), rtol=1e-10)
    if scale == 1.0:
        found = minimize(
            lambda u: u @ np.log(u / v), np.full(12, 1 / 12), bounds=[(least, 1.0)] * 12,
            constraints={"type": "eq", "fun": lambda u: u.sum() - 1.0}, method="SLSQP",
            jac=lambda u: np.log(u / v) + 1.0, options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        assert_allclose(w, found.x, atol=1e-6)  # what SLSQP reaches


def test_the_floor_of_projection_is_the_nearest_point() -> None:
    least, x = 0.4 / 12, W - 0.1 * G
    w = step(
        Floored(0.4, geometries.Projection()), UNIFORM, 12 * (UNIFORM * 0 + 1 / 12 - x), 1 / 12
    )
    shift = brentq(lambda t: np.maximum(x - t, least).sum() - 1.0, -2.0, 2.0, xtol=1e-15)
    assert_allclose(w, np.maximum(x - shift, least), rtol=1e-9)


def test_the_floor_of_a_sigmoid_clips_and_that_of_normalised_weights_scales() -> None:
    sigmoid = geometries.Sigmoid()
    w = step(Floored(0.4, sigmoid), UNIFORM, 100 * G, 1.0)
    assert_allclose(w, np.maximum(step(sigmoid, UNIFORM, 100 * G, 1.0), 0.4 / 12), rtol=1e-12)
    clipped = geometries.ClippedNormalised()
    v = step(clipped, UNIFORM, G, 0.2)
    w = step(Floored(0.4, clipped), UNIFORM, G, 0.2)
    free = w > 0.4 / 12 * (1 + 1e-12)
    assert (v == 0).any()
    assert np.ptp(w[free] / v[free]) < 1e-12
    assert_allclose([w.min(), w.sum()], [0.4 / 12, 1.0], rtol=1e-12)


@pytest.mark.parametrize("floor", [0.1, 0.9])
def test_floors_hold_at_any_size_of_a_step_and_in_single_precision(floor: float) -> None:
    for inner in FLOORS:
        inner = geometries.Sigmoid() if isinstance(inner, geometries.Sigmoid) else inner
        for dtype in (np.float32, np.float64):
            geometry, eps = Floored(floor, inner), 8 * np.finfo(dtype).eps
            s = geometry.start(np.stack([UNIFORM, UNIFORM]).astype(dtype))
            for eta in (0.1, 1e4, 1e-2):
                s = geometry.step(s, np.stack([G, -G]).astype(dtype), eta)
                w = geometry.weights(s)
                assert w.dtype == dtype
                assert w.min() >= floor / 12 * (1 - eps)
                if not isinstance(inner, geometries.Sigmoid):
                    assert_allclose(w.sum(axis=-1), 1.0, rtol=10 * eps)


@pytest.mark.parametrize("inner", [geometries.Mirror(), geometries.ClippedNormalised()], ids=repr)
def test_a_floor_that_round_off_takes_for_one_leaves_the_uniform_weights(inner) -> None:
    """In single precision no weight of 12 can be told from the floor: they still sum to one."""
    geometry, rng = Floored(1.0 - 1e-9, inner), np.random.default_rng(0)
    s = geometry.start(UNIFORM.astype(np.float32))
    for eta in (0.0, 0.1, 1e10):
        s = geometry.step(s, rng.normal(size=12).astype(np.float32), eta)
        assert_allclose(geometry.weights(s), 1 / 12, rtol=2e-6)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_bound_on_the_ess_is_reached_by_one_sample_and_never_crossed(share: float) -> None:
    left = (1 - share) ** 2
    bound = 1 / (left + (1 - left) / 12)
    for geometry in (Mixed(share), Floored(share)):
        s = geometry.start(UNIFORM)
        for k in range(40):
            s = geometry.step(s, np.random.default_rng(k).normal(size=12), 3.0)
            assert 1 / np.sum(geometry.weights(s) ** 2) >= bound * (1 - 1e-12)
        one = geometry.step(s, -1e6 * np.eye(12)[3], 1.0)
        assert_allclose(1 / np.sum(geometry.weights(one) ** 2), bound, rtol=1e-12)


def test_averages_are_the_plain_recursion_of_the_inner_weights() -> None:
    geometry, inner = Averaged(0.8, geometries.Projection()), geometries.Projection()
    s, v, average = geometry.start(LOG_W), W, W
    for _ in range(30):
        s, v = geometry.step(s, G, 0.1), inner.step(v, G, 0.1)
        average = 0.8 * average + 0.2 * v
        assert_allclose(geometry.weights(s), average, rtol=1e-12)
    assert (v == 0).any()


ENTRIES: Refusals = {
    "share": (lambda: Mixed(1.0), ValueError, r"`share` must be < 1; got 1\.0"),
    "floor": (lambda: Floored(-0.1), ValueError, r"`floor` must be >= 0; got -0\.1"),
    "memory": (lambda: Averaged("a"), TypeError, r"`memory` must be a real number"),
    "mixed": (lambda: Mixed(0.1, 3), TypeError, r"`inner` must be a geometry"),
    "averaged": (lambda: Averaged(0.1, None), TypeError, r"`inner` must be a geometry"),
    "floored": (lambda: Floored(0.1, "mirror"), TypeError, r"`inner` must be a geometry"),
    "logits": (
        lambda: Floored(0.1, geometries.SoftmaxLogits()),
        ValueError,
        r"its metric belongs to no divergence\): use Mixed\(share\)",
    ),
    "features": (
        lambda: Floored(0.1, Parametric(A)),
        ValueError,
        r"need not be a function of the features\): use Mixed\(share\)",
    ),
    "floored average": (
        lambda: Floored(0.1, Averaged(0.5)),
        ValueError,
        r"must not hold Averaged, .*: put Floored inside Averaged",
    ),
    "floored groups": (
        lambda: Floored(0.1, geometries.Groups(LABELS)),
        ValueError,
        r"must not hold Groups, .*: put Floored inside Groups",
    ),
    "groups": (
        lambda: geometries.Groups(LABELS, Mixed(0.1, geometries.Groups([0, 1]))),
        TypeError,
        r"`inner` must be a geometry that holds no other groups",
    ),
    "penalty": (
        lambda: Penalised(l2=0.1, inner=Averaged(0.5, geometries.Sigmoid())),
        ValueError,
        r"`inner` must keep the sum",
    ),
    "entropy": (
        lambda: Penalised(entropy=0.1, inner=Averaged(0.5, geometries.Projection())),
        ValueError,
        r"`entropy` must be 0",
    ),
    "matrix": (lambda: Parametric([1.0, 2.0]), ValueError, r"`features` must have shape"),
    "nan": (lambda: Parametric([[np.nan]]), ValueError, r"`features` must be finite"),
    "rows": (
        lambda: Parametric(A).start(np.log([0.5, 0.5])),
        ValueError,
        r"`features` must have one row for each of the 2 samples; got 12",
    ),
    "below the share": (
        lambda: Mixed(0.99).start(LOG_W),
        ValueError,
        r"`w0` must be above `share`/n = 0\.0825 everywhere",
    ),
    "below the floor": (
        lambda: Floored(0.99).start(LOG_W),
        ValueError,
        r"`w0` must be at least `floor`/n = 0\.0825 everywhere",
    ),
}


@refusals(ENTRIES)
def test_refusals(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


def test_names_tell_features_apart() -> None:
    assert repr(Parametric(A)) == repr(Parametric(A.copy())) != repr(Parametric(A + 1.0))
    assert repr(Mixed(0.1, Parametric(A))).startswith("Mixed(share=0.1, inner=Parametric(n=12, q=3")
