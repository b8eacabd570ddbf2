"""Label corruption by a stated law, with a record of which labels stayed right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..streams import stream
from .dataset import Data

__all__ = ["Corruption", "Law", "corrupt"]

Law = Literal["uniform", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """How training labels are spoilt.

    Parameters
    ----------
    fraction : float
        Share of the training labels that is redrawn (the number is rounded); in [0, 1].
    law : {"uniform", "wrong"}
        Redraw over all classes (a redrawn label is right by chance once in num_classes), or over
        the wrong classes only.
    seed : int
        Root seed of the streams ``corruption/which`` and ``corruption/labels``.
    """

    fraction: float
    law: Law = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"`fraction` must lie between 0 and 1; got {self.fraction}.")
        if self.law not in ("uniform", "wrong"):
            raise ValueError(f'`law` must be "uniform" or "wrong"; got {self.law!r}.')


def corrupt(data: Data, corruption: Corruption) -> Data:
    """Return `data` with spoilt training labels.

    ``clean`` of the result is True where the label is right in the end (a label that was redrawn
    and hit its own class is right). Validation and test labels stay as they are.
    """
    if data.kind != "softmax" or data.num_classes is None:
        raise ValueError(f"`data` must have class labels to be corrupted; {data.name} has none.")
    labels, redrawn = _redraw(data.y, data.num_classes, corruption)
    right = labels == data.y
    facts = {
        **data.facts,
        "corruption": {
            "fraction": corruption.fraction,
            "law": corruption.law,
            "seed": corruption.seed,
            "num_redrawn": redrawn,
            "num_wrong": int(np.sum(~right)),
        },
    }
    clean = right if data.clean is None else right & data.clean
    return replace(data, y=labels, clean=clean, facts=facts)


def _redraw(
    labels: NDArray[Any], num_classes: int, corruption: Corruption
) -> tuple[NDArray[Any], int]:
    num_redrawn = round(corruption.fraction * labels.size)
    order = stream(corruption.seed, "corruption/which").permutation(labels.size)
    chosen = order[:num_redrawn]
    # One draw per sample, used or not: a larger fraction keeps the labels of a smaller one.
    draws = stream(corruption.seed, "corruption/labels").random(labels.size)[chosen]
    result = labels.copy()
    if corruption.law == "uniform":
        result[chosen] = (draws * num_classes).astype(labels.dtype)
    else:
        shift = 1 + (draws * (num_classes - 1)).astype(labels.dtype)
        result[chosen] = (labels[chosen] + shift) % num_classes
    return result, num_redrawn
