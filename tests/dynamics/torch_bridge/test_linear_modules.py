"""Linear modules are the problems without torch, oracle by oracle and run by run."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import Problem, integrate, integrate_exact, run_method, sweep

from ..cases import case, least_squares
from ..methods.table import KINDS
from .modules import LINEAR, OldLinear, linear_twin, nn, order_of, torch

CLOSE = {"rtol": 1e-10, "atol": 1e-11}
each = pytest.mark.parametrize("q", LINEAR.values(), ids=LINEAR.keys())

ORACLES = {
    "val_grad": "t",
    "train_grad": "tw",
    "hvp": "twv",
    "per_sample_jvp": "tv",
    "per_sample_losses": "t",
    "val_loss": "t",
    "train_loss": "tw",
    "test_loss": "t",
    "hypergradient": "tw",
    "hessian": "tw",
    "per_sample_grads": "t",
    "per_sample_hvp": "tv",
    "theta_star": "w",
    "outer_loss": "w",
    "outer_grad": "w",
}
COORDINATES = {"val_grad", "train_grad", "hvp", "theta_star", "per_sample_grads", "per_sample_hvp"}


def points(q: Problem) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "t": rng.normal(size=(4, 1, q.num_params)),
        "w": rng.dirichlet(np.ones(q.num_samples), size=5),
        "v": rng.normal(size=q.num_params),
    }


def reordered(q: Problem, name: str, value: np.ndarray) -> np.ndarray:
    order = order_of(q)
    if name == "hessian":
        return value[..., order, :][..., order]
    return value[..., order] if name in COORDINATES else value


def compare(q: Problem, twin: Problem, name: str, close: dict) -> None:
    at, order = points(q), order_of(q)
    args = [at[key] for key in ORACLES[name]]
    moved = [a if key == "w" else a[..., order] for key, a in zip(ORACLES[name], args, strict=True)]
    if "star" in name or "outer" in name:  # found to a gradient norm of 1e-10; mu is 0.1
        close = {key: max(value, 3e-9) for key, value in close.items()}
    expected = reordered(q, name, getattr(q, name)(*args))
    native = getattr(twin, name)(*(torch.as_tensor(a, dtype=twin.dtype) for a in moved))
    assert native.dtype == twin.dtype
    assert not native.requires_grad
    assert_allclose(native, expected, **close)
    hosted = getattr(twin.to(xp=np), name)(*moved)
    assert isinstance(hosted, np.ndarray)
    assert_allclose(hosted, expected, **close)


@each
@pytest.mark.parametrize("name", ORACLES)
def test_every_answer_equals_that_of_the_problem_without_torch(q: Problem, name: str) -> None:
    compare(q, linear_twin(q), name, CLOSE)


@each
@pytest.mark.parametrize("name", ORACLES)
def test_chunks_of_samples_change_nothing(q: Problem, name: str) -> None:
    compare(q, linear_twin(q, batch_size=5), name, CLOSE)


@each
@pytest.mark.parametrize("name", ORACLES)
def test_double_backward_gives_the_same(q: Problem, name: str) -> None:
    with pytest.warns(UserWarning, match="no usable forward-mode derivative"):
        twin = linear_twin(q, OldLinear)
    assert twin.calculus == "double backward"
    compare(q, twin, name, CLOSE)


@each
def test_single_precision_stays_single(q: Problem) -> None:
    twin = linear_twin(q).to(dtype="float32")
    for name in ORACLES:
        # float32 has 1.2e-7; inverse Hessians multiply it by a condition below 100 here.
        compare(q, twin, name, {"rtol": 2e-4, "atol": 2e-4})


@each
def test_a_product_from_one_graph_is_the_product(q: Problem) -> None:
    twin, c = linear_twin(q), case(q)
    theta, w = torch.as_tensor(c.theta[order_of(q)]), torch.as_tensor(c.w)
    product = twin.hvp_at(theta, w)
    for v in torch.eye(q.num_params, dtype=torch.float64):
        assert_allclose(product(v), twin.hvp(theta, w, v), rtol=1e-12, atol=1e-13)
    V = torch.eye(q.num_params, dtype=torch.float64)
    assert_allclose(product(V), twin.hvp(theta, w, V), rtol=1e-12, atol=1e-13)


@each
def test_batches_are_the_problem_on_a_subset(q: Problem) -> None:
    train, val = np.array([7, 2, 4]), np.array([1, 0])
    part, twin = q.batch(train, val), linear_twin(q).batch(train, torch.as_tensor(val))
    assert (twin.num_samples, twin.num_val) == (3, 2)
    np.testing.assert_array_equal(twin.clean, part.clean)
    for name in ("val_grad", "train_grad", "per_sample_losses"):
        compare(part, twin, name, CLOSE)
    assert linear_twin(q).batch().num_samples == q.num_samples


def test_accuracy_is_that_of_softmax_regression() -> None:
    q = LINEAR["softmax"]
    twin, theta = linear_twin(q), points(q)["t"]
    native = torch.as_tensor(theta[..., order_of(q)])
    assert twin.has_accuracy
    assert_allclose(twin.test_accuracy(native), q.test_accuracy(theta))
    assert_allclose(twin.to(xp=np).test_accuracy(native.numpy()), q.test_accuracy(theta))
    assert not linear_twin(LINEAR["least squares"]).has_accuracy


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_method_runs_as_without_torch(kind: type) -> None:
    q = least_squares(n=20, p=3, seed=4)
    twin = linear_twin(q, constants=q.constants())
    runs = [run_method(problem, kind(), num_steps=12, theta0=np.ones(3)) for problem in (q, twin)]
    # theta_star is found to a gradient norm of 1e-10 there and in closed form here (Exact); some
    # methods divide round-off by small knobs such as sigma.
    assert_allclose(runs[1].theta, runs[0].theta, rtol=1e-8, atol=1e-9)
    assert_allclose(runs[1].w, runs[0].w, rtol=1e-8, atol=1e-10)
    assert runs[1].status == runs[0].status
    if "theta_star" not in kind().requires:  # in closed form without torch
        assert runs[1].oracle_counts == runs[0].oracle_counts


def test_flows_run_on_the_hosted_module() -> None:
    q = least_squares(n=15, p=3, seed=2)
    hosted = linear_twin(q).to(xp=np)
    options = {"t_span": (0.0, 3.0), "t_eval": [0.0, 0.5, 1.0, 3.0]}
    own = integrate(q, beta=3.0, theta0=np.ones(3), coordinates="full", **options)
    other = integrate(hosted, beta=3.0, theta0=np.ones(3), **options)
    assert_allclose(other.w, own.w, rtol=1e-6)  # rtol of the integrator is 1e-8
    own, other = (integrate_exact(p, **options) for p in (q, hosted))
    assert_allclose(other.w, own.w, rtol=1e-6)
    with pytest.raises(ValueError, match=r"must hold NumPy arrays for integrate.*problem.to"):
        integrate(linear_twin(q))


def test_sweeps_run_on_modules() -> None:
    q = least_squares(n=15, p=3, seed=2)
    grid = {"alpha": [0.01, 0.1], "beta": [0.1, 1.0, 3.0], "num_steps": 40}
    expected = sweep(q, theta0=np.ones(3), backend="numpy", **grid)
    found = sweep(linear_twin(q), theta0=np.ones(3), **grid)
    for name in ("theta", "ess", "val_loss", "test_loss", "outer_loss"):
        assert_allclose(found[name], expected[name], rtol=1e-9)


def test_layers_of_torch_are_classes_by_features() -> None:
    """Said once in words: theta of a Linear is (classes, features), of softmax the transpose."""
    q = LINEAR["softmax"]
    module = nn.Linear(q.num_features, q.num_classes, bias=False).double()
    twin = linear_twin(q)
    theta = torch.arange(9.0, dtype=torch.float64)
    assert_allclose(twin.module_at(theta).weight.detach(), np.arange(9.0).reshape(3, 3))
    assert module.weight.shape == (3, 3)
