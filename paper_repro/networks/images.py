"""Labelled images and a small network as a bilevel problem.

The multilayer perceptron has one hidden layer of rectifiers; the convolutional network has two
layers of 3 x 3 filters with stride 2, rectifiers, and one linear layer. Both give one logit per
class; the loss is cross-entropy, as in `SoftmaxRegression`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data import Data
from ..streams import stream

if TYPE_CHECKING:
    from ...dynamics.torch_bridge import TorchProblem

__all__ = ["Network", "build", "image_problem", "pixels"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """Which network, and how it sees the images.

    Parameters
    ----------
    kind : {"mlp", "cnn"}
        One hidden layer, or two convolutions.
    width : int
        Units of the hidden layer; or filters of the first convolution, of which the second has
        twice as many.
    pool : int
        Images are averaged over squares of this many pixels first.
    """

    kind: Literal["mlp", "cnn"]
    width: int
    pool: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("mlp", "cnn"):
            raise ValueError(f'`kind` must be "mlp" or "cnn"; got {self.kind!r}.')
        for name in ("width", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1; got {getattr(self, name)}.")


def pixels(rows: NDArray[np.float64], pool: int = 1) -> NDArray[np.float64]:
    """Return square images (N, 1, side, side) from feature rows (N, side * side + 1).

    The constant feature at the end of a row is cut off: networks have biases of their own.
    """
    side = math.isqrt(rows.shape[1] - 1)
    if side * side != rows.shape[1] - 1 or side % pool:
        raise ValueError(
            f"`rows` must hold square images, whose side `pool` = {pool} divides, and a constant "
            f"feature; got {rows.shape[1]} columns."
        )
    small = side // pool
    blocks = rows[:, :-1].reshape(-1, 1, small, pool, small, pool)
    pooled: NDArray[np.float64] = blocks.mean(axis=(3, 5))
    return pooled


def build(network: Network, side: int, num_classes: int, seed: int) -> Any:
    """Return the module for images (N, 1, side, side), drawn from the stream ``networks/KIND``.

    Weights are normal with variance 2 / fan-in, biases zero.
    """
    import torch
    from torch import nn

    width = network.width
    if network.kind == "mlp":
        layers = [nn.Flatten(), nn.Linear(side * side, width), nn.ReLU()]
        out = width
    else:
        first = nn.Conv2d(1, width, 3, stride=2, padding=1)
        second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        layers = [first, nn.ReLU(), second, nn.ReLU(), nn.Flatten()]
        out = 2 * width * ((side + 3) // 4) ** 2
    module = nn.Sequential(*layers, nn.Linear(out, num_classes)).to(torch.float64)
    random = stream(seed, f"networks/{network.kind}")
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 0.0 if parameter.ndim == 1 else math.sqrt(2 / parameter[0].numel())
            draw = scale * random.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.as_tensor(draw))
    return module


def image_problem(data: Data, network: Network, *, ridge: float, seed: int) -> TorchProblem:
    """Return the weighted training of `network` on `data`, in double precision."""
    from torch.nn.functional import cross_entropy

    from ...dynamics.torch_bridge import TorchProblem

    if data.kind != "softmax" or data.num_classes is None:
        raise ValueError(f"`data` must have class labels; {data.name} has none.")
    X, X_val = pixels(data.X, network.pool), pixels(data.X_val, network.pool)
    test = None if data.test is None else (pixels(data.test[0], network.pool), data.test[1])
    return TorchProblem(
        build(network, X.shape[-1], data.num_classes, seed),
        lambda out, y: cross_entropy(out, y, reduction="none"),
        train=(X, data.y), val=(X_val, data.y_val), test=test, clean=data.clean, ridge=ridge,
        dtype="float64",
    )  # fmt: skip
