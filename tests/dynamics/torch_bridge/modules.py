"""Torch problems that the tests share, and their counterparts without torch."""

from __future__ import annotations

import numpy as np
import pytest

from warmflow.dynamics import LeastSquares, Problem, SoftmaxRegression
from warmflow.dynamics.torch_bridge import TorchProblem

from ..cases import least_squares, softmax

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn


def half_square(outputs, targets):
    """The loss of LeastSquares."""
    return 0.5 * (outputs[:, 0] - targets) ** 2


def cross_entropy(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


class Old(torch.autograd.Function):
    """The identity as it was written before torch.func: no forward mode, no vmap."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad


class OldLinear(nn.Linear):
    """A linear layer that only double backward can differentiate twice."""

    def forward(self, x):
        return Old.apply(super().forward(x))


def linear_twin(q: Problem, layer: type = nn.Linear, **options: object) -> TorchProblem:
    """Return a linear module with the data of a problem without torch."""
    if isinstance(q, LeastSquares):
        module, loss = layer(q.num_params, 1, bias=False), half_square
        data = (q.X, q.y), (q.X_val, q.y_val), (q.X_test, q.y_test)
    else:
        assert isinstance(q, SoftmaxRegression)
        module, loss = layer(q.num_features, q.num_classes, bias=False), cross_entropy
        data = (q.X, q.labels), (q.X_val, q.labels_val), (q.X_test, q.labels_test)
    train, val, test = data
    settings = {"dtype": "float64", "clean": q.clean, **options}
    return TorchProblem(module, loss, train, val, ridge=q.ridge, test=test, **settings)


def order_of(q: Problem) -> np.ndarray:
    """Return where torch puts each coordinate of theta: its layers are (classes, features)."""
    if isinstance(q, LeastSquares):
        return np.arange(q.num_params)
    assert isinstance(q, SoftmaxRegression)
    return np.arange(q.num_params).reshape(q.num_features, q.num_classes).T.ravel()


def perceptron(ridge: float = 0.1, width: int = 4, **options: object) -> TorchProblem:
    """Return a small smooth network on random regression data."""
    rng, generator = np.random.default_rng(0), torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1)).double()
    assert generator is not None
    train, val, test = ((rng.normal(size=(size, 3)), rng.normal(size=size)) for size in (10, 6, 5))
    clean = np.arange(10) < 6
    return TorchProblem(
        module, half_square, train, val, ridge=ridge, test=test, clean=clean, **options
    )


LINEAR = {"least squares": least_squares(), "softmax": softmax()}
