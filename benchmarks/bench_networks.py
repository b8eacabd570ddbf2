"""What the derivatives of a network cost, in passes of torch itself over the same samples.

Sides are interleaved, each once per round, and the ratio is that of their medians. Extra info of
each benchmark: ``slope``, ``gradient`` and ``product``, a ``per_sample_jvp``, a ``train_grad`` and
an ``hvp`` over torch's own backward pass; ``held``, a product of ``hvp_at``, whose graph is there,
over an ``hvp``; ``twice``, a slope by double backward over one in forward mode; ``naive``, one
backward pass for each sample over a slope.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.dynamics.torch_bridge import TorchProblem

torch = pytest.importorskip("torch", reason="torch is not installed")
from warmflow.dynamics.torch_bridge.calculus import DoubleBackward  # noqa: E402

nn = torch.nn


def regression() -> TorchProblem:
    """Return 60 samples under a perceptron with 57 parameters."""
    torch.manual_seed(0)
    X, y = torch.randn(60, 5), torch.randn(60)
    module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    return TorchProblem(module, lambda o, t: (o[:, 0] - t) ** 2, (X, y), (X, y), dtype="float64")


def images(*layers: nn.Module) -> TorchProblem:
    """Return 500 images of 28 x 28 pixels in ten classes under a module."""
    X, y = torch.randn(500, 1, 28, 28), torch.arange(500) % 10
    loss = nn.CrossEntropyLoss(reduction="none")
    return TorchProblem(nn.Sequential(*layers), loss, (X, y), (X, y), dtype="float64")


def perceptron() -> TorchProblem:
    """Return the images under 50 890 parameters in two layers."""
    torch.manual_seed(0)
    return images(nn.Flatten(), nn.Linear(784, 64), nn.Tanh(), nn.Linear(64, 10))


def convolutions() -> TorchProblem:
    """Return the images under 5386 parameters in two convolutions and a layer."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 8, 5, stride=2), nn.Conv2d(8, 16, 3, stride=2)
    return images(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(400, 10))


def medians(sides: dict[str, Callable[[], Any]], rounds: int = 15) -> dict[str, float]:
    """Return the median seconds of each side, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, act in sides.items():
            began = time.perf_counter()
            act()
            seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(values[1:])) for name, values in seconds.items()}


def ratios(problem: TorchProblem) -> dict[str, float]:
    """Return the costs in passes of torch, after comparing the results."""
    theta = problem.initial_theta(problem.X.new_ones(problem.num_samples))
    n, module = problem.num_samples, problem.module_at(theta.numpy())
    w, v = torch.full((n,), 1.0 / n, dtype=torch.float64), torch.randn_like(theta)
    losses, twice = problem._train.losses, DoubleBackward()
    held = problem.hvp_at(theta, w)

    def backward(weights: Any = w) -> Any:
        rows = problem._loss(module(problem.X), problem.y)
        parts = torch.autograd.grad(rows @ weights, list(module.parameters()))
        return torch.cat([part.reshape(-1) for part in parts]) + problem.ridge * theta

    def one_by_one() -> Any:
        rows = problem._loss(module(problem.X), problem.y)
        parameters = list(module.parameters())
        out = []
        for row in rows:
            parts = torch.autograd.grad(row, parameters, retain_graph=True)
            out.append(torch.cat([part.reshape(-1) for part in parts]) @ v)
        return torch.stack(out)

    slopes = problem.per_sample_jvp(theta, v)
    close = {"rtol": 1e-8, "atol": 1e-10}
    assert_allclose(problem.train_grad(theta, w), backward(), **close)
    assert_allclose(twice.push(losses, theta, v), slopes, **close)
    assert_allclose(held(v), problem.hvp(theta, w, v), **close)
    assert_allclose(one_by_one(), slopes, **close)
    found = medians(
        {
            "backward": backward,
            "gradient": lambda: problem.train_grad(theta, w),
            "slope": lambda: problem.per_sample_jvp(theta, v),
            "product": lambda: problem.hvp(theta, w, v),
            "held": lambda: held(v),
            "twice": lambda: twice.push(losses, theta, v),
        }
    )
    own = {name: found[name] / found["backward"] for name in ("gradient", "slope", "product")}
    naive = medians({"naive": one_by_one}, rounds=2)["naive"] / found["slope"]
    return {
        **own,
        "held": found["held"] / found["product"],
        "twice": found["twice"] / found["slope"],
        "naive": naive,
    }


@pytest.mark.parametrize("make", [regression, perceptron, convolutions])
def test_derivatives_of_networks(benchmark, make: Callable[[], TorchProblem]) -> None:
    found = benchmark.pedantic(ratios, (make(),), rounds=1)
    benchmark.extra_info.update(found)
    assert found["naive"] > 5.0
    assert found["held"] < 1.0
