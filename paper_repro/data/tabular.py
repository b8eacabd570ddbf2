"""Tables of scikit-learn and generators like them: standardised, split, partly spoilt.

None needs a network. Regression: the targets of a share of the training samples are permuted among
themselves, so that they keep their law and lose their features. Classification: see `corrupt`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..streams import stream
from .corruption import Corruption, corrupt
from .dataset import Data

__all__ = ["NAMES", "Table", "Tabular", "samples"]

Table = Literal["diabetes", "friedman", "circuit", "student", "wine", "breast_cancer", "clouds"]
NAMES: tuple[Table, ...] = (
    "diabetes", "friedman", "circuit", "student", "wine", "breast_cancer", "clouds",
)  # fmt: skip

_CLASSES = {"wine": 3, "breast_cancer": 2, "clouds": 3}
_GENERATED = 4000
"""Samples drawn of a law, enough for any split."""


@dataclass(frozen=True, kw_only=True)
class Tabular:
    """Which table, how it is split, and how much of it is spoilt; `make` draws it.

    ``diabetes``, ``wine`` and ``breast_cancer`` are tables of scikit-learn. ``friedman`` is
    Friedman's first function of ten uniform features, which no linear model fits, and ``circuit``
    his second, the impedance of a circuit. ``student`` has six features of Student's law with three
    degrees of freedom and a linear truth. ``clouds`` are three classes of two Gaussian clouds each
    in ten features.

    Parameters
    ----------
    name : str
    n, m : int
        Numbers of training and validation samples; the rest (at most 1000) is for testing.
    corruption : float
        Share of the training labels or targets that is spoilt, in [0, 1].
    seed : int
        Root seed of all streams.
    """

    name: Table
    n: int
    m: int
    corruption: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"`name` must be one of {', '.join(NAMES)}; got {self.name!r}.")
        for name in ("n", "m"):
            if getattr(self, name) < 2:
                raise ValueError(f"`{name}` must be at least 2; got {getattr(self, name)}.")
        if not 0 <= self.corruption <= 1:
            raise ValueError(f"`corruption` must lie between 0 and 1; got {self.corruption}.")

    def make(self) -> Data:
        """Draw the data set."""
        X, y = samples(self.name, self.seed)
        if len(y) <= self.n + self.m:
            raise ValueError(
                f"`n` and `m` must leave samples for testing: {self.name} has {len(y)}; got "
                f"{self.n} + {self.m}."
            )
        order = stream(self.seed, f"tabular/{self.name}/permutation").permutation(len(y))
        train, val, test = np.split(order[: self.n + self.m + 1000], [self.n, self.n + self.m])
        rows, targets = _standardise(X, X[train]), y
        is_regression = self.name not in _CLASSES
        if is_regression:
            targets = (y - y[train].mean()) / y[train].std()
        data = Data(
            name=self.name, kind="least-squares" if is_regression else "softmax",
            X=rows[train], y=targets[train], X_val=rows[val], y_val=targets[val],
            X_test=rows[test], y_test=targets[test], clean=np.ones(self.n, dtype=np.bool_),
            num_classes=_CLASSES.get(self.name), facts=asdict(self),
        )  # fmt: skip
        if is_regression:
            return _permuted(data, self.corruption, self.seed)
        return corrupt(data, Corruption(fraction=self.corruption, seed=self.seed))


def samples(name: Table, seed: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return all samples: a table, or a draw of a law."""
    from sklearn import datasets

    if name == "student":
        X = stream(seed, "tabular/student/x").standard_t(3.0, (_GENERATED, 6))
        theta = stream(seed, "tabular/student/theta").standard_normal(6)
        noise = stream(seed, "tabular/student/noise").standard_normal(_GENERATED)
        return X, X @ theta + noise
    random = np.random.RandomState(stream(seed, f"tabular/{name}").integers(2**31))
    if name == "friedman":
        return datasets.make_friedman1(_GENERATED, noise=1.0, random_state=random)
    if name == "circuit":
        return datasets.make_friedman2(_GENERATED, noise=100.0, random_state=random)
    if name == "clouds":
        return datasets.make_classification(
            _GENERATED, n_features=10, n_informative=6, n_classes=3, random_state=random
        )
    bunch = getattr(datasets, f"load_{name}")()
    return bunch.data, bunch.target


def _standardise(X: NDArray[np.float64], train: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return features with mean 0 and variance 1 on `train`, and a constant one, (N, p)."""
    spread = train.std(axis=0)
    rows = (X - train.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.concatenate([rows, np.ones((len(X), 1))], axis=1)


def _permuted(data: Data, fraction: float, seed: int) -> Data:
    """Return `data` with the targets of some training samples moved round one random cycle."""
    n = data.num_samples
    chosen = stream(seed, "corruption/which").permutation(n)[: round(fraction * n)]
    y, clean = data.y.copy(), np.ones(n, dtype=np.bool_)
    y[chosen] = np.roll(y[chosen], 1)
    clean[chosen] = chosen.size < 2
    facts = {**data.facts, "corruption": {"fraction": fraction, "law": "permuted", "seed": seed}}
    return replace(data, y=y, clean=clean, facts=facts)
