"""From labelled images to `Data`: scale, append the constant feature, split by a named stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..streams import stream
from .dataset import Data

__all__ = ["Images", "Split", "digits", "digits_pool", "features", "split_images"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Labelled images: pixels (N, ...) scaled to [0, 1] and labels (N,) in 0 ... num_classes-1."""

    pixels: NDArray[np.float64]
    labels: NDArray[np.int64]
    num_classes: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """How many images go where.

    Parameters
    ----------
    n, m : int
        Numbers of training and validation images.
    test_size : int, optional
        Number of test images; None takes all that are left.
    seed : int
        Root seed of the stream ``images/NAME/permutation``.
    """

    n: int
    m: int
    test_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n", "m"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1; got {getattr(self, name)}.")
        if self.test_size is not None and self.test_size < 1:
            raise ValueError(f"`test_size` must be at least 1; got {self.test_size}.")


def features(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Flatten images (N, ...) to rows and append a constant feature 1: (N, pixels + 1)."""
    rows = np.asarray(pixels, dtype=np.float64).reshape(len(pixels), -1)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


def split_images(name: str, pool: Images, split: Split, test: Images | None = None) -> Data:
    """Split `pool` into training, validation and, unless `test` is given, test images.

    Rows are those of one random permutation: the first n train, the next m validate, and the
    test images follow.
    """
    needed = split.n + split.m + (1 if test is None else 0)
    if len(pool.labels) < needed:
        raise UserError(
            f"{name} has {len(pool.labels)} images, but n = {split.n} for training and "
            f"m = {split.m} for validation need {needed}: choose a smaller n or m"
        )
    order = stream(split.seed, f"images/{name}/permutation").permutation(len(pool.labels))
    train, val = order[: split.n], order[split.n : split.n + split.m]
    if test is None:
        test, rest = pool, order[split.n + split.m :]
    else:
        rest = stream(split.seed, f"images/{name}/test").permutation(len(test.labels))
    rest = rest[: split.test_size]
    return Data(
        name=name, kind="softmax", num_classes=pool.num_classes,
        X=features(pool.pixels[train]), y=pool.labels[train],
        X_val=features(pool.pixels[val]), y_val=pool.labels[val],
        X_test=features(test.pixels[rest]), y_test=test.labels[rest],
        clean=np.ones(split.n, dtype=np.bool_),
        facts={"data": name, "n": split.n, "m": split.m, "test_size": len(rest),
               "seed": split.seed, "constant_feature": True},
    )  # fmt: skip


def digits(split: Split | None = None) -> Data:
    """The 1797 handwritten digits of scikit-learn (8 x 8 pixels), split.

    The default split has 1000 training and 250 validation images; 547 remain for testing.
    """
    return split_images("digits", digits_pool(), split or Split(n=1000, m=250))


def digits_pool() -> Images:
    """All handwritten digits of scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Images(pixels=bunch.data / 16.0, labels=bunch.target.astype(np.int64), num_classes=10)
