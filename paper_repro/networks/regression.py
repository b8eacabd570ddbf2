r"""Two-layer regression networks of any width, and the same networks linearised.

.. math::

    f_\theta(x) = \frac{1}{\sqrt{h}} \sum_{j=1}^{h} a_j
        \tanh\!\Big(\frac{u_j \cdot x}{\sqrt{d}} + b_j\Big), \qquad p = h\,(d + 2),

with all of u, b, a drawn from N(0, 1): the parametrisation in which a wide network stays near its
linearisation (Jacot, Gabriel, Hongler 2018, arXiv 1806.07572). The trained parameters are the
displacement :math:`\delta = \theta - \theta_0`, zero at the start, so that the ridge pulls the
network and its linearisation :math:`f_{\theta_0}(x) + \langle\nabla f_{\theta_0}(x), \delta\rangle`
alike towards the same point.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...dynamics import LeastSquares
from ...dynamics.torch_bridge import TorchProblem
from ..data import Data
from ..streams import stream

__all__ = ["as_problem", "displaced", "linearised", "tangent", "tangent_problem", "two_layer"]


Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def two_layer(num_inputs: int, width: int, seed: int) -> Any:
    """Return a network at its random start theta_0, in float64.

    A wider network of the same seed starts with the units of a narrower one.
    """
    units = stream(seed, "networks/two-layer").standard_normal((width, num_inputs + 2))
    return _classes()["TwoLayer"](units)


def displaced(net: Any) -> Any:
    """Return the network as a function of its displacement from where it is now."""
    return _classes()["Displaced"](net)


def linearised(net: Any) -> Any:
    """Return the tangent of the network where it is now, as a function of the displacement."""
    return _classes()["Linearised"](net)


def as_problem(
    module: Any, data: Data, ridge: float, constants: tuple[float, float] | None = None
) -> TorchProblem:
    """Return the regression problem of a data set for a module: half squared errors, float64.

    ``constants`` are bounds of the inner Hessian, which say that it is convex.
    """
    return TorchProblem(
        module, _half_square, (data.X, data.y), (data.X_val, data.y_val), ridge=ridge,
        dtype="float64", test=data.test, clean=data.clean, constants=constants,
    )  # fmt: skip


def tangent(net: Any, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return outputs and their gradients in the trained parameters, ``(k,)`` and ``(k, p)``."""
    import torch
    from torch.func import functional_call, grad, vmap

    trained = {name: a.detach() for name, a in net.named_parameters() if a.requires_grad}

    def output(values: dict[str, Any], x: Any) -> Any:
        return functional_call(net, values, (x[None],))[0]

    inputs = torch.from_numpy(np.array(X))
    rows = vmap(grad(output), in_dims=(None, 0))(trained, inputs)
    gradients = torch.cat([rows[name].reshape(len(inputs), -1) for name in trained], dim=1)
    return net(inputs).detach().numpy(), gradients.numpy()


def tangent_problem(
    module: Any, data: Data, ridge: float, *, compact: bool = False
) -> tuple[LeastSquares, NDArray[np.float64]]:
    r"""Return the module linearised where its trained parameters are, and these parameters.

    .. math:: f_\theta(x) + \langle\nabla f_\theta(x),\, \vartheta - \theta\rangle

    as ridge regression in :math:`\vartheta` on the features :math:`\nabla f_\theta(x)`. Its
    per-sample gradients at :math:`\vartheta = \theta` are those of the module, its inner Hessian
    is the Gauss-Newton part of the module's.

    Parameters
    ----------
    module : torch.nn.Module
        Such as `displaced`, so that the ridge acts on the displacement.
    compact : bool
        In coordinates of the span of the n training features, at most n of them. Where theta lies
        in that span (zero does, and so do inner minimisers) no weight feels the difference.
    """
    theta = np.concatenate([
        value.detach().numpy().ravel() for value in module.parameters() if value.requires_grad
    ])  # fmt: skip

    def line(pair: Pair) -> Pair:
        outputs, features = tangent(module, pair[0])
        return features, pair[1] - outputs + features @ theta

    train, val = line((data.X, data.y)), line((data.X_val, data.y_val))
    test = None if data.test is None else line(data.test)
    if compact and theta.size > data.num_samples:
        basis = np.linalg.qr(train[0].T)[0]
        train, val = (train[0] @ basis, train[1]), (val[0] @ basis, val[1])
        test = None if test is None else (test[0] @ basis, test[1])
        theta = theta @ basis
    problem = LeastSquares(*train, *val, ridge=ridge, test=test, clean=data.clean)
    return problem, theta


def _half_square(outputs: Any, targets: Any) -> Any:
    return 0.5 * (outputs - targets) ** 2


@cache
def _classes() -> dict[str, Any]:
    """Return the module classes, by name; their base is there only once torch is imported."""
    import torch
    from torch import nn
    from torch.func import functional_call, jvp

    class TwoLayer(nn.Module):
        def __init__(self, units: NDArray[np.float64]) -> None:
            super().__init__()
            rows = torch.from_numpy(units)
            self.inner = nn.Parameter(rows[:, :-2].clone())
            self.bias = nn.Parameter(rows[:, -2].clone())
            self.outer = nn.Parameter(rows[:, -1].clone())

        def forward(self, x: Any) -> Any:
            width, num_inputs = self.inner.shape
            hidden = torch.tanh(x @ self.inner.T / num_inputs**0.5 + self.bias)
            return hidden @ self.outer / width**0.5

    class Displaced(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            named = dict(net.named_parameters())
            self.delta = nn.ParameterList([torch.zeros_like(value) for value in named.values()])
            self.names = tuple(named)
            self.net = net
            for value in net.parameters():  # theta_0: a constant of the problem
                value.requires_grad_(False)

        def step(self) -> dict[str, Any]:
            return dict(zip(self.names, self.delta, strict=True))

        def forward(self, x: Any) -> Any:
            start = dict(self.net.named_parameters())
            moved = {name: start[name] + value for name, value in self.step().items()}
            return functional_call(self.net, moved, (x,))

    class Linearised(Displaced):
        def forward(self, x: Any) -> Any:
            start = {name: value.detach() for name, value in self.net.named_parameters()}

            def outputs(at: dict[str, Any]) -> Any:
                return functional_call(self.net, at, (x,))

            both = jvp(outputs, (start,), (self.step(),))
            return both[0] + both[1]

    return {kind.__name__: kind for kind in (TwoLayer, Displaced, Linearised)}
