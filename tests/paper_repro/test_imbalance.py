"""Two digits of which one is rare in training only."""

import numpy as np
import pytest

from warmflow.paper_repro.data import Imbalance
from warmflow.paper_repro.data.images import Images
from warmflow.paper_repro.errors import UserError

LABELS = np.arange(300) % 10
POOL = Images(pixels=np.arange(300.0).reshape(300, 1, 1), labels=LABELS, num_classes=10)
SIZES = Imbalance(num_majority=18, num_minority=2, val_each=3, test_each=4)


def test_sizes_labels_and_disjointness() -> None:
    data = SIZES.make("numbers", POOL)
    images = {"train": (data.X, data.y), "val": (data.X_val, data.y_val), "test": data.test}
    counts = {role: np.bincount(y).tolist() for role, (_, y) in images.items()}
    assert counts == {"train": [18, 2], "val": [3, 3], "test": [4, 4]}
    numbers = np.concatenate([X[:, 0] for X, _ in images.values()]).astype(int)
    assert len({*numbers}) == numbers.size
    labels = np.concatenate([y for _, y in images.values()])
    np.testing.assert_array_equal(LABELS[numbers], np.where(labels == 1, 4, 9))


def test_the_seed_draws_the_images() -> None:
    again, other = (
        Imbalance(num_majority=18, num_minority=2, val_each=3, test_each=4, seed=seed)
        for seed in (0, 1)
    )
    assert again.make("n", POOL).fingerprint() == SIZES.make("n", POOL).fingerprint()
    assert other.make("n", POOL).fingerprint() != SIZES.make("n", POOL).fingerprint()


def test_too_few_images_are_named() -> None:
    with pytest.raises(UserError, match="numbers has 30 images of class 9, but 31 are needed"):
        Imbalance(num_majority=20, num_minority=2, val_each=5, test_each=6).make("numbers", POOL)
    with pytest.raises(ValueError, match="`num_minority` must be at least 1; got 0"):
        Imbalance(num_majority=20, num_minority=0, test_each=6)
