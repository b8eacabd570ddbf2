"""Label corruption by its stated law, and the record of what stayed right."""

import numpy as np
import pytest

from warmflow.paper_repro.data import Corruption, Data, Toy, corrupt

CLASSES = 5


def labelled(n: int = 20_000) -> Data:
    labels = np.arange(n) % CLASSES
    return Data(
        name="labels", kind="softmax", num_classes=CLASSES, X=np.ones((n, 1)), y=labels,
        X_val=np.ones((3, 1)), y_val=np.arange(3), X_test=np.ones((2, 1)), y_test=np.arange(2),
    )  # fmt: skip


def test_uniform_law_hits_the_right_class_by_chance() -> None:
    before = labelled()
    after = corrupt(before, Corruption(fraction=0.5, law="uniform"))
    wrong = np.mean(after.y != before.y)
    assert wrong == pytest.approx(0.5 * (1 - 1 / CLASSES), abs=0.02)
    np.testing.assert_array_equal(after.clean, after.y == before.y)


def test_wrong_law_never_hits_the_right_class() -> None:
    before = labelled()
    after = corrupt(before, Corruption(fraction=0.3, law="wrong"))
    assert np.sum(after.y != before.y) == round(0.3 * before.num_samples)
    np.testing.assert_array_equal(after.clean, after.y == before.y)
    shift = (after.y - before.y)[~after.clean] % CLASSES
    counts = np.bincount(shift, minlength=CLASSES)[1:]
    np.testing.assert_allclose(counts / counts.sum(), 1 / (CLASSES - 1), atol=0.03)


@pytest.mark.parametrize("law", ["uniform", "wrong"])
def test_ends_of_the_fraction(law: str) -> None:
    before = labelled(100)
    none = corrupt(before, Corruption(fraction=0.0, law=law))
    np.testing.assert_array_equal(none.y, before.y)
    assert none.clean.all()
    everything = corrupt(before, Corruption(fraction=1.0, law="wrong"))
    assert not everything.clean.any()


def test_a_larger_fraction_keeps_the_wrong_labels_of_a_smaller_one() -> None:
    before = labelled(500)
    some = corrupt(before, Corruption(fraction=0.2, seed=3))
    more = corrupt(before, Corruption(fraction=0.6, seed=3))
    changed = some.y != before.y
    np.testing.assert_array_equal(more.y[changed], some.y[changed])


def test_validation_and_test_labels_stay() -> None:
    before = labelled(100)
    after = corrupt(before, Corruption(fraction=1.0))
    np.testing.assert_array_equal(after.y_val, before.y_val)
    np.testing.assert_array_equal(after.y_test, before.y_test)


def test_law_and_counts_are_recorded() -> None:
    after = corrupt(labelled(100), Corruption(fraction=0.5, law="wrong", seed=7))
    assert after.facts["corruption"] == {
        "fraction": 0.5, "law": "wrong", "seed": 7, "num_redrawn": 50, "num_wrong": 50,
    }  # fmt: skip


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`fraction` must lie between 0 and 1; got 1.5"):
        Corruption(fraction=1.5)
    with pytest.raises(ValueError, match=r'`law` must be "uniform" or "wrong"; got \'half\''):
        Corruption(fraction=0.5, law="half")
    with pytest.raises(ValueError, match=r"`data` must have class labels to be corrupted; toy"):
        corrupt(Toy().make(), Corruption(fraction=0.5))
