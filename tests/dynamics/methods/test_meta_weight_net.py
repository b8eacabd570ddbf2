"""MetaWeightNet against finite differences in its own parameters and against free tables."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import Status, geometries, methods, run_method
from warmflow.dynamics.methods.meta_weight_net import standardise

from ..cases import CASES, Case, case, central_difference, least_squares, softmax, two_clusters

every = pytest.mark.parametrize("c", CASES.values(), ids=CASES.keys())
BOTH = pytest.mark.parametrize("geometry", [geometries.Sigmoid(), geometries.SoftmaxLogits()])


def prepared(method, c: Case, geometry, phi_scale: float = 0.5):
    """Return a first state whose network is not zero."""
    state = method.init(c.problem, geometry, c.theta, geometry.start(np.log(c.w)), 5)
    rng = np.random.default_rng(2)
    phi = phi_scale * rng.normal(size=state.meta.phi.shape)
    meta = type(state.meta)(**{**vars(state.meta), "phi": phi})
    return type(state)(**{**vars(state), "meta": meta, "theta": c.theta})


@every
@BOTH
def test_the_step_of_the_network_is_the_derivative_of_the_look_ahead(c: Case, geometry) -> None:
    rho, eta, decay, q = 0.07, 0.3, 0.02, c.problem
    if isinstance(geometry, geometries.Sigmoid):
        geometry = geometries.Sigmoid(cap=1.0)
    method = methods.MetaWeightNet(
        rho=rho,
        eta=eta,
        adam=False,
        weight_decay=decay,
        network=methods.Perceptron(num_hidden=5),
    )
    state = prepared(method, c, geometry)
    z, net = standardise(q.per_sample_losses(c.theta)), method.network

    def weights(phi: np.ndarray) -> np.ndarray:
        return geometry.weights(state.base + net.logits(phi, z))

    def look_ahead(phi: np.ndarray) -> np.ndarray:
        return q.val_loss(c.theta - rho * q.train_grad(c.theta, weights(phi)))

    phi = state.meta.phi
    expected = phi - eta * (central_difference(look_ahead, phi) / rho + decay * phi)
    after = method.step(q, geometry, state)
    # differences of F: about 1e-10, divided by rho
    assert_allclose(after.meta.phi, expected, rtol=1e-6, atol=1e-7)
    inner = c.theta - rho * q.train_grad(c.theta, weights(after.meta.phi))
    assert_allclose(after.theta, inner, rtol=1e-9, atol=1e-12)


def test_derivatives_of_the_perceptron() -> None:
    net, rng = methods.Perceptron(num_hidden=7), np.random.default_rng(0)
    phi, z, d = rng.normal(size=22), rng.normal(size=11), rng.normal(size=11)
    expected = central_difference(lambda p: d @ net.logits(p, z), phi)
    assert_allclose(net.linearise(phi, z)[1](d), expected, rtol=1e-6, atol=1e-8)
    a, b, c = phi[:7], phi[7:14], phi[14:21]
    plain = np.maximum(np.outer(z, a) + b, 0) @ c + phi[21]
    assert_allclose(net.logits(phi, z), plain, rtol=1e-12)
    phis, zs, ds = (rng.normal(size=(3, 1, k)) for k in (22, 11, 11))
    for k in range(3):
        assert_allclose(net.logits(phis, zs)[k, 0], net.logits(phis[k, 0], zs[k, 0]), rtol=1e-12)
        single = net.linearise(phis[k, 0], zs[k, 0])[1](ds[k, 0])
        assert_allclose(net.linearise(phis, zs)[1](ds)[k, 0], single, rtol=1e-12)


@BOTH
@pytest.mark.parametrize("order", ["simultaneous", "theta_first", "w_first"])
def test_a_free_table_without_adam_is_one_step(geometry, order: str) -> None:
    """On the logits of a geometry, the table moves as OneStep does with that geometry."""
    q = softmax()
    c = case(q)
    knobs = {"rho": 0.2, "eta": 3.0, "order": order}
    table = methods.MetaWeightNet(
        network=methods.Table(), adam=False, weight_decay=0.0, num_warmup=0, **knobs
    )
    w0 = 0.5 * c.w + 0.5 / c.w.size if isinstance(geometry, geometries.Sigmoid) else c.w
    cap = geometries.Sigmoid(cap=1.0) if isinstance(geometry, geometries.Sigmoid) else geometry
    a = run_method(q, table, 25, theta0=c.theta, w0=w0, geometry=cap)
    b = run_method(q, methods.OneStep(**knobs), 25, theta0=c.theta, w0=w0, geometry=cap)
    assert_allclose(a.theta, b.theta, rtol=1e-9, atol=1e-12)
    assert_allclose(a.w, b.w, rtol=1e-9)
    assert np.abs(a.w[-1] - a.w[0]).max() > 1e-2


def test_adam_is_written_again() -> None:
    """Three steps of Adam on recorded gradients, from the plain variant at the same points."""
    q, geometry, net = least_squares(), geometries.SoftmaxLogits(), methods.Perceptron(num_hidden=4)
    c = case(q)
    knobs = {"rho": 0.1, "eta": 0.05, "network": net, "weight_decay": 0.3}
    method = methods.MetaWeightNet(memory=0.8, memory_square=0.9, **knobs)
    plain = methods.MetaWeightNet(adam=False, **knobs)
    state = prepared(method, c, geometry)
    m = v = np.zeros(13)
    for k in range(1, 4):
        after = method.step(q, geometry, state)
        gradient = (state.meta.phi - plain.step(q, geometry, state).meta.phi) / 0.05
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        move = (m / (1 - 0.8**k)) / (np.sqrt(v / (1 - 0.9**k)) + 1e-8)
        assert_allclose(after.meta.phi, state.meta.phi - 0.05 * move, rtol=1e-8)
        state = after


@BOTH
def test_a_run_starts_at_the_given_weights(geometry) -> None:
    q, c = two_clusters(), case(two_clusters())
    w0 = 0.9 / 60 + 0.1 * c.w
    run = run_method(q, methods.MetaWeightNet(), 2, w0=w0, geometry=geometry)
    assert_allclose(run.w[0], w0, rtol=1e-10)


def test_weights_are_a_function_of_the_loss() -> None:
    """Samples of equal loss get equal weights, whatever their gradients."""
    q = least_squares(n=12)
    q = type(q)(np.vstack([q.X, -q.X]), np.concatenate([q.y, -q.y]), q.X_val, q.y_val, ridge=0.1)
    run = run_method(q, methods.MetaWeightNet(eta=0.1), 50)
    assert_allclose(run.w[-1, :12], run.w[-1, 12:], rtol=1e-9)
    assert run.w[-1, :12].std() > 1e-3 / 24


def test_raw_weights_have_a_free_sum_and_simplex_weights_do_not() -> None:
    q = two_clusters()
    raw = run_method(q, methods.MetaWeightNet(), 300)
    simplex = run_method(q, methods.MetaWeightNet(), 300, geometry=geometries.SoftmaxLogits())
    assert abs(raw.w[-1].sum() - 1.0) > 0.05
    assert_allclose(simplex.w.sum(axis=-1), 1.0, rtol=1e-12)


def test_warm_up_follows_the_validation_gradient() -> None:
    q, rho = two_clusters(), 0.1
    theta = start = np.array([-0.3, -0.4])
    for _ in range(7):
        theta = theta - rho * q.val_grad(theta)
    for count, expected in ((0, start), (7, theta)):
        method = methods.MetaWeightNet(rho=rho, num_warmup=count)
        assert_allclose(run_method(q, method, 1, theta0=start).theta[0], expected, rtol=1e-12)


def test_losses_are_standardised() -> None:
    losses = np.random.default_rng(0).exponential(size=(3, 50)) * np.array([[1.0], [1e3], [1e-5]])
    z = standardise(losses)
    assert_allclose(z.mean(axis=-1), 0.0, atol=1e-12)
    assert_allclose(z.std(axis=-1), 1.0, rtol=1e-12)
    assert (standardise(np.full(5, 0.3)) == 0).all()


def test_batches_and_seeds_of_meta_weight_net() -> None:
    q = two_clusters()
    method = methods.MetaWeightNet(batch_size=16)
    a, b, c = (run_method(q, method, 30, seed=seed) for seed in (3, 3, 4))
    assert (a.w == b.w).all()
    assert np.abs(a.w[-1] - c.w[-1]).max() > 1e-6
    for geometry in (geometries.Sigmoid(), geometries.SoftmaxLogits()):
        whole = run_method(q, methods.MetaWeightNet(batch_size=60), 20, geometry=geometry)
        full = run_method(q, methods.MetaWeightNet(), 20, geometry=geometry)
        assert_allclose(whole.w, full.w, rtol=1e-9)
    assert a.status is Status.ok
    small = run_method(q, methods.MetaWeightNet(network=methods.Perceptron(num_hidden=3)), 30)
    assert np.abs(small.w[-1] - run_method(q, methods.MetaWeightNet(), 30).w[-1]).max() > 1e-6


def test_refusals_of_meta_weight_net() -> None:
    refused = {
        "memory": ({"memory": 1.0}, r"`memory` must be < 1; got 1\.0"),
        "square": ({"memory_square": -0.1}, r"`memory_square` must be >= 0; got -0\.1"),
        "decay": ({"weight_decay": -1.0}, r"`weight_decay` must be >= 0; got -1\.0"),
        "warm": ({"num_warmup": -1}, r"`num_warmup` must be >= 0; got -1"),
        "table": ({"network": methods.Table(), "batch_size": 4}, r"`batch_size` must be None with"),
    }
    for knobs, match in refused.values():
        with pytest.raises(ValueError, match=match):
            methods.MetaWeightNet(**knobs)
    with pytest.raises(TypeError, match=r"`network` must be a network such as Perceptron\(\)"):
        methods.MetaWeightNet(network="mlp")
    with pytest.raises(TypeError, match=r"`adam` must be True or False; got 1"):
        methods.MetaWeightNet(adam=1)
    with pytest.raises(ValueError, match=r"`num_hidden` must be >= 1; got 0"):
        methods.Perceptron(num_hidden=0)
    with pytest.raises(ValueError, match=r"one of geometries\.Sigmoid, geometries\.SoftmaxLogits"):
        run_method(least_squares(), methods.MetaWeightNet(), 1, geometry=geometries.Projection())
