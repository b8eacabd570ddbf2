"""Modules that are not linear: derivatives against differences, layers of every kind, no graphs."""

import copy
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics import ConvergenceError, methods, run_method
from warmflow.dynamics.torch_bridge import TorchProblem

from ..cases import central_difference
from .modules import cross_entropy, half_square, nn, perceptron, torch

FINITE_DIFFERENCE = {"rtol": 1e-6, "atol": 1e-7}  # step 1e-6, functions of order one


class Recurrent(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.cell, self.out = kind(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.out(self.cell(x)[0][:, -1])


class Attention(nn.Module):
    """A transformer layer, averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.layer(x).mean(1))


class Branching(nn.Module):
    """Python decides by a value of the parameters: no vmap can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        out = self.layer(x)
        return out if float(self.layer.weight.detach().sum()) > 1e9 else torch.tanh(out)


class Tied(nn.Module):
    """One matrix that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


def blank_patches() -> nn.Module:
    """Biases of zero under blank images: every ReLU sits on its kink."""
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 3)
    )
    nn.init.zeros_(module[0].bias)
    return module


def partly_frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    module[0].requires_grad_(False)
    return module


FLAT, SERIES, IMAGES = (9, 6), (9, 5, 4), (9, 1, 8, 8)
LAYERS = {
    "relu": (lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3)), FLAT),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 3)
        ),
        IMAGES,
    ),
    "batch norm": (
        lambda: nn.Sequential(
            nn.Linear(6, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 3)
        ).eval(),
        FLAT,
    ),
    "group norm": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(144, 3)
        ),
        IMAGES,
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(6, 7), nn.Dropout(), nn.Tanh(), nn.Linear(7, 3)).eval(),
        FLAT,
    ),
    "lstm": (lambda: Recurrent(nn.LSTM), SERIES),
    "gru": (lambda: Recurrent(nn.GRU), SERIES),
    "attention": (Attention, SERIES),
    "attention in evaluation": (lambda: Attention().eval(), SERIES),
    "python branches": (Branching, FLAT),
    "tied weights": (Tied, FLAT),
    "frozen layer": (partly_frozen, FLAT),
}


def labelled(module: nn.Module, shape: tuple[int, ...], **options: object) -> TorchProblem:
    rng = np.random.default_rng(1)
    train = rng.normal(size=shape), np.arange(shape[0]) % 3
    return TorchProblem(module, cross_entropy, train, train, ridge=0.05, dtype="float64", **options)


@pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS.keys())
def test_layers_of_every_kind_have_right_derivatives(make, shape) -> None:
    torch.manual_seed(0)
    q = labelled(make(), shape)
    assert q.calculus == "forward"
    native = q.initial_theta(torch.ones(9, dtype=torch.float64))
    rng = np.random.default_rng(0)
    w, v = rng.dirichlet(np.ones(9)), rng.normal(size=q.num_params)
    p, theta = q.to(xp=np), native.numpy()
    slope = (p.train_loss(theta + 1e-5 * v, w) - p.train_loss(theta - 1e-5 * v, w)) / 2e-5
    assert_allclose(p.train_grad(theta, w) @ v, slope, **FINITE_DIFFERENCE)
    slopes = (p.per_sample_losses(theta + 1e-5 * v) - p.per_sample_losses(theta - 1e-5 * v)) / 2e-5
    assert_allclose(p.per_sample_jvp(theta, v), slopes, rtol=1e-5, atol=1e-6)
    bend = (p.train_grad(theta + 1e-5 * v, w) - p.train_grad(theta - 1e-5 * v, w)) / 2e-5
    assert_allclose(p.hvp(theta, w, v), bend, rtol=1e-4, atol=1e-5)
    assert_allclose(p.hvp_at(theta, w)(v), p.hvp(theta, w, v), rtol=1e-9, atol=1e-11)
    assert_allclose(p.per_sample_grads(theta) @ v, p.per_sample_jvp(theta, v), atol=1e-11)
    stack = np.stack([theta, theta + 0.1 * v])
    singles = [p.train_grad(t, w) for t in stack]
    assert_allclose(p.train_grad(stack, w), singles, rtol=1e-11, atol=1e-12)


def test_parameters_are_those_that_require_a_gradient_in_the_order_of_torch() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    q = labelled(module, FLAT)
    flat = torch.cat([a.detach().reshape(-1) for _, a in module.named_parameters()])
    np.testing.assert_array_equal(q.initial_theta(torch.ones(9, dtype=torch.float64)), flat)
    assert labelled(partly_frozen(), FLAT).num_params == 5 * 3 + 3
    assert labelled(Tied(), FLAT).num_params == 36 + 6 + 6 + 21


def test_second_derivatives_against_differences_and_dense_algebra() -> None:
    q = perceptron().to(xp=np)
    rng = np.random.default_rng(2)
    theta, w = 0.5 * rng.normal(size=q.num_params), rng.dirichlet(np.ones(10))
    H = central_difference(lambda t: q.train_grad(t, w), theta)
    assert_allclose(q.hessian(theta, w), H, **FINITE_DIFFERENCE)
    expected = -q.per_sample_grads(theta) @ np.linalg.solve(H, q.val_grad(theta))
    assert_allclose(q.hypergradient(theta, w), expected, rtol=1e-5, atol=1e-6)
    v = rng.normal(size=q.num_params)
    rows = central_difference(lambda t: q.per_sample_jvp(t, v), theta)
    assert_allclose(q.per_sample_hvp(theta, v), rows, **FINITE_DIFFERENCE)


def test_the_field_is_the_gradient_of_the_branch_of_minimisers() -> None:
    """I1 for a network: grad h = Psi(theta_star, w) along one smooth branch of local minimisers."""
    q = perceptron(ridge=0.05).to(xp=np)
    w = np.random.default_rng(0).dirichlet(np.full(10, 5.0))
    star = q.theta_star(w)
    assert np.linalg.norm(q.train_grad(star, w)) <= 1e-10
    assert np.linalg.eigvalsh(q.hessian(star, w)).min() > 0

    def h(u: np.ndarray) -> float:
        return float(q.val_loss(q.theta_star(u, star)))

    slopes = central_difference(h, w, step=1e-5)
    # theta_star is found to 1e-10, over a curvature of 0.05 and a step of 1e-5.
    assert_allclose(q.hypergradient(star, w), slopes, rtol=1e-4, atol=1e-6)
    assert not q.is_convex


def test_a_minimiser_of_nothing_is_no_number() -> None:
    q = perceptron()
    with pytest.raises(ConvergenceError, match="numbers that are not finite"):
        q.theta_star(torch.full((10,), float("nan"), dtype=torch.float64))
    with pytest.raises(ValueError, match=r"lacks theta_star, .*needs `ridge` > 0"):
        perceptron(ridge=0.0).theta_star(torch.full((10,), 0.1, dtype=torch.float64))


def test_the_module_of_the_user_stays_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()
    before = copy.deepcopy(module.state_dict())
    q = labelled(module, FLAT)
    run_method(q, methods.OneStep(rho=0.1, eta=0.1), num_steps=3)
    assert all(value.equal(before[name]) for name, value in module.state_dict().items())
    assert module[0].weight.dtype == torch.float32
    losses = q.per_sample_losses(q.initial_theta(torch.ones(9)))
    module.train()
    with torch.no_grad():
        module[0].weight.zero_()
    assert losses.equal(q.per_sample_losses(q.initial_theta(torch.ones(9))))


def test_a_trained_module_is_given_back() -> None:
    q = perceptron()
    theta = np.linspace(-1, 1, q.num_params)
    module = q.module_at(theta)
    values = half_square(module(q.X), q.y)
    assert_allclose(values.detach(), q.per_sample_losses(torch.as_tensor(theta)), rtol=1e-12)
    assert all(a.requires_grad for a in module.parameters())
    with pytest.raises(ValueError, match=r"`theta` must have shape"):
        q.module_at(theta[:-1])


def test_results_carry_no_graph_whatever_comes_in() -> None:
    q = perceptron()
    theta = q.initial_theta(torch.ones(10, dtype=torch.float64)).requires_grad_()
    w = torch.full((10,), 0.1, dtype=torch.float64, requires_grad=True)
    for out in (
        q.train_grad(theta, w),
        q.hvp(theta, w, theta),
        q.hvp_at(theta, w)(theta),
        q.per_sample_jvp(theta, theta),
        q.per_sample_losses(theta),
        q.val_loss(theta[None]),
        q.per_sample_grads(theta),
    ):
        assert not out.requires_grad


def test_a_slope_of_all_samples_takes_one_forward_pass() -> None:
    q = perceptron()
    calls = []
    q._pass._module.register_forward_hook(lambda *_: calls.append(1))
    theta = q.initial_theta(torch.ones(10, dtype=torch.float64))
    for name in ("per_sample_jvp", "per_sample_losses", "val_grad"):
        calls.clear()
        getattr(q, name)(*((theta, theta) if name == "per_sample_jvp" else (theta,)))
        assert len(calls) == 1, name


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_is_flat_over_ten_thousand_steps() -> None:
    """No graph survives a step: a leak of one number per step would show in the live tensors."""
    q = perceptron()
    method = methods.SOBA(rho=0.01, eta=0.01)

    def run(steps: int) -> tuple[int, int]:
        run_method(q, method, num_steps=steps, num_saved=2)
        gc.collect()
        tensors = sum(type(part) is torch.Tensor for part in gc.get_objects())
        return tensors, resident_bytes()

    run(50)
    tensors, size = run(50)
    more, later = run(10_000)
    assert more <= tensors + 5
    # A graph of one step holds about 20 kB here: 200 MB if they all stayed.
    assert later - size < 20e6


PROGRAM = """
import torch
from warmflow.dynamics.torch_bridge import TorchProblem
X, y = torch.randn(6, 2), torch.arange(6) % 2
q = TorchProblem(torch.nn.Linear(2, 2), torch.nn.CrossEntropyLoss(), (X, y), (X, y))
print(q.calculus)
"""


def test_the_first_problem_of_a_process_warns_of_nothing() -> None:
    """torch warns once a process, on its first forward-mode derivative."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "forward\n", "")


def test_fingerprints_tell_modules_apart() -> None:
    a, b = perceptron(), perceptron(width=5)
    assert a.fingerprint() == perceptron().fingerprint()
    other = TorchProblem(
        a.module_at(np.zeros(a.num_params)), half_square, (a.X, a.y), (a.X_val, a.y_val), ridge=0.1
    )
    prints = {a.fingerprint(), b.fingerprint(), other.fingerprint(), perceptron(0.2).fingerprint()}
    assert len(prints) == 4
    assert repr(a) == "TorchProblem(Sequential, n=10, p=21, m=6, ridge=0.1)"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_numbers_of_the_cpu() -> None:
    q = perceptron()
    moved = q.to(device="cuda")
    method = methods.ConjugateGradient(rho=0.05, eta=0.1)
    here, there = (run_method(problem, method, num_steps=20) for problem in (q, moved))
    assert_allclose(there.theta, here.theta, rtol=1e-9)
    assert_allclose(there.w, here.w, rtol=1e-9)
    w = moved.X.new_full((10,), 0.1)
    assert moved.hypergradient(moved.initial_theta(w), w).is_cuda


def test_soba_starts_from_nothing_where_h_may_be_indefinite() -> None:
    q = perceptron()
    first = run_method(q, methods.SOBA(rho=0.1, eta=0.1), num_steps=1)
    assert_allclose(first.w[-1], 0.1)
    assert first.oracle_counts["hvp"] == 1


def test_a_kink_at_the_start_is_no_reason_to_refuse() -> None:
    images = np.zeros((9, 1, 8, 8))
    images[:, :, 2:5, 3:6] = np.random.default_rng(0).normal(size=(9, 1, 3, 3))
    pair = images, np.arange(9) % 3
    q = TorchProblem(blank_patches(), cross_entropy, pair, pair, ridge=0.1, dtype="float64")
    assert q.calculus == "forward"
    assert q._is_twice_backward
