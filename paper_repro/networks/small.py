"""A multilayer perceptron on labelled rows."""

from __future__ import annotations

from typing import Any

from ...dynamics.torch_bridge import TorchProblem
from ..data import Data
from ..streams import stream

__all__ = ["small_mlp"]


def small_mlp(data: Data, *, hidden: int, ridge: float, seed: int = 0) -> TorchProblem:
    r"""Return the classification of `data` by ``Linear - tanh - Linear`` in float64.

    The constant feature that loaders append is left out: the layers have biases. Entries of the
    first parameters are normal with variance 1/(number of inputs), biases zero.

    Parameters
    ----------
    data : Data
        With class labels and a constant last feature.
    hidden : int
        Units in the hidden layer.
    ridge : float
        Acts on all parameters.
    seed : int
        Root seed of the stream ``networks/small/parameters``.
    """
    import torch
    from torch.nn import Linear, Sequential, Tanh
    from torch.nn.functional import cross_entropy

    if data.num_classes is None:
        raise ValueError(f"`data` must have class labels; {data.name} has none.")
    inputs = data.X.shape[1] - 1
    module = Sequential(Linear(inputs, hidden), Tanh(), Linear(hidden, data.num_classes))
    draw = stream(seed, "networks/small/parameters")
    with torch.no_grad():
        for name, values in module.named_parameters():
            start = draw.standard_normal(tuple(values.shape)) / values.shape[-1] ** 0.5
            values.copy_(torch.from_numpy(0.0 * start if name.endswith("bias") else start))

    def loss(outputs: Any, labels: Any) -> Any:
        return cross_entropy(outputs, labels, reduction="none")

    test = None if data.X_test is None else (data.X_test[:, :-1], data.y_test)
    return TorchProblem(
        module, loss, train=(data.X[:, :-1], data.y), val=(data.X_val[:, :-1], data.y_val),
        ridge=ridge, dtype="float64", test=test, clean=data.clean,
    )  # fmt: skip
