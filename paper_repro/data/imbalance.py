"""Two classes of images, one of them rare in training and not in the target law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..streams import stream
from .dataset import Data
from .images import Images, features

__all__ = ["Imbalance"]


@dataclass(frozen=True, kw_only=True)
class Imbalance:
    """Sizes of an imbalanced training sample with balanced validation and test samples.

    Parameters
    ----------
    num_majority, num_minority : int
        Training images of each class.
    val_each, test_each : int
        Validation and test images of each of the two classes.
    majority, minority : int
        The two labels, which become 0 and 1.
    seed : int
        Root seed of the streams ``imbalance/NAME/LABEL``.
    """

    num_majority: int
    num_minority: int
    val_each: int = 5
    test_each: int
    majority: int = 9
    minority: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_majority", "num_minority", "val_each", "test_each"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1; got {getattr(self, name)}.")

    def make(self, name: str, pool: Images) -> Data:
        """Draw disjoint samples from `pool`; ``clean`` is left open."""
        rows: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
        classes = ((self.majority, self.num_majority), (self.minority, self.num_minority))
        for label, count in classes:
            members = np.flatnonzero(pool.labels == label)
            needed = count + self.val_each + self.test_each
            if members.size < needed:
                raise UserError(
                    f"{name} has {members.size} images of class {label}, but {needed} are needed: "
                    "choose smaller samples"
                )
            order = stream(self.seed, f"imbalance/{name}/{label}").permutation(members)
            for role, part in zip(
                rows, np.split(order[:needed], [count, count + self.val_each]), strict=True
            ):
                rows[role].append(part)
        drawn = {role: np.concatenate(parts) for role, parts in rows.items()}
        y = {role: (pool.labels[index] == self.minority) for role, index in drawn.items()}
        return Data(
            name=name, kind="softmax", num_classes=2,
            X=features(pool.pixels[drawn["train"]]), y=y["train"].astype(np.int64),
            X_val=features(pool.pixels[drawn["val"]]), y_val=y["val"].astype(np.int64),
            X_test=features(pool.pixels[drawn["test"]]), y_test=y["test"].astype(np.int64),
            facts={"data": name, "majority": self.majority, "minority": self.minority,
                   "num_majority": self.num_majority, "num_minority": self.num_minority,
                   "val_each": self.val_each, "test_each": self.test_each, "seed": self.seed},
        )  # fmt: skip
