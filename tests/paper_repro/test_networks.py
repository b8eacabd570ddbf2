"""Images and networks as problems; plain training."""

import numpy as np
import pytest

from warmflow.paper_repro.data import Corruption, Data, Split, corrupt, digits
from warmflow.paper_repro.networks import images, training
from warmflow.paper_repro.networks.images import Network

torch = pytest.importorskip("torch", reason="torch is not installed")

DATA = corrupt(digits(Split(n=60, m=30, test_size=40)), Corruption(fraction=0.5))
MLP = Network(kind="mlp", width=5)
CNN = Network(kind="cnn", width=3)
each_network = pytest.mark.parametrize("network", [MLP, CNN], ids=["mlp", "cnn"])


def test_pixels_drop_the_constant_and_average_squares() -> None:
    rows = np.concatenate([np.arange(32.0).reshape(2, 16), np.ones((2, 1))], axis=1)
    np.testing.assert_array_equal(
        images.pixels(rows), np.arange(32.0).reshape(2, 1, 4, 4)
    )  # fmt: skip
    pooled = images.pixels(rows, pool=2)
    np.testing.assert_array_equal(pooled[0, 0], [[2.5, 4.5], [10.5, 12.5]])
    with pytest.raises(ValueError, match="`rows` must hold square images"):
        images.pixels(rows, pool=3)
    with pytest.raises(ValueError, match="got 16 columns"):
        images.pixels(rows[:, :-1])


@pytest.mark.parametrize(("kind", "width", "side"), [("mlp", 7, 8), ("cnn", 3, 8), ("cnn", 2, 7)])
def test_outputs_are_one_logit_per_class(kind: str, width: int, side: int) -> None:
    module = images.build(Network(kind=kind, width=width), side, 4, seed=0)
    assert module(torch.zeros(5, 1, side, side, dtype=torch.float64)).shape == (5, 4)


@each_network
def test_the_seed_draws_the_parameters(network: Network) -> None:
    first, again, other = (
        training.initial(images.image_problem(DATA, network, ridge=0.0, seed=seed)).numpy()
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@each_network
def test_losses_are_cross_entropy_of_the_module(network: Network) -> None:
    problem = images.image_problem(DATA, network, ridge=1e-3, seed=0)
    theta = training.initial(problem)
    out = problem.module_at(theta.numpy())(torch.as_tensor(images.pixels(DATA.X)))
    log_p = out - torch.logsumexp(out, dim=1, keepdim=True)
    expected = -log_p.detach().numpy()[np.arange(60), DATA.y]
    np.testing.assert_allclose(problem.per_sample_losses(theta).numpy(), expected, rtol=1e-12)
    np.testing.assert_array_equal(problem.clean, DATA.clean)
    assert problem.X_test.shape == (40, 1, 8, 8)


def test_regression_data_are_refused() -> None:
    data = Data(name="line", kind="least-squares", X=DATA.X, y=DATA.X[:, 0],
                X_val=DATA.X, y_val=DATA.X[:, 0])  # fmt: skip
    with pytest.raises(ValueError, match="`data` must have class labels; line has none"):
        images.image_problem(data, MLP, ridge=0.0, seed=0)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"kind": "rnn"}, '`kind` must be "mlp" or "cnn"'),
        ({"width": 0}, "`width` must be at least"),
    ],
)
def test_networks_are_checked(wrong: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Network(**{"kind": "mlp", "width": 3, **wrong})


@each_network
def test_descent_lowers_what_it_descends(network: Network) -> None:
    problem = images.image_problem(DATA, network, ridge=1e-2, seed=0)
    start, w = training.initial(problem), np.random.default_rng(0).dirichlet(np.ones(60))
    trained = training.descend(problem, start, w, rho=0.05, num_steps=30)
    weights = torch.as_tensor(w)
    assert problem.train_loss(trained, weights) < 0.95 * problem.train_loss(start, weights)
    valid = training.descend_validation(problem, start, rho=0.05, num_steps=30)
    assert problem.val_loss(valid) < 0.95 * problem.val_loss(start)


def test_one_step_is_the_gradient_step() -> None:
    problem = images.image_problem(DATA, MLP, ridge=1e-2, seed=0)
    start, w = training.initial(problem), np.full(60, 1 / 60)
    step = training.descend(problem, start, w, rho=0.3, num_steps=1)
    expected = start - 0.3 * problem.train_grad(start, torch.as_tensor(w))
    np.testing.assert_allclose(step, expected)
    step = training.descend_validation(problem, start, rho=0.3, num_steps=1)
    np.testing.assert_allclose(step, start - 0.3 * (problem.val_grad(start) + 1e-2 * start))


def test_the_smallest_losses_are_kept() -> None:
    problem = images.image_problem(DATA, MLP, ridge=0.0, seed=0)
    theta = training.initial(problem)
    w = training.smallest_losses(problem, theta, 0.25)
    losses = problem.per_sample_losses(theta).numpy()
    assert np.count_nonzero(w) == 15
    np.testing.assert_allclose(w[w > 0], 1 / 15)
    assert losses[w > 0].max() <= losses[w == 0].min()
