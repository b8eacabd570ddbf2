"""Tables of scikit-learn: scaling, splits, and which targets were spoilt."""

import numpy as np
import pytest

from warmflow.paper_repro.data import Tabular, tabular
from warmflow.paper_repro.data.tabular import NAMES

SIZES = {"wine": (90, 30), "breast_cancer": (200, 60)}


def table(name: str, **kwargs: object) -> Tabular:
    n, m = SIZES.get(name, (200, 80))
    return Tabular(**{"name": name, "n": n, "m": m} | kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_features_have_the_scale_of_the_training_samples(name: str) -> None:
    data = table(name).make()
    np.testing.assert_allclose(data.X[:, :-1].mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(data.X[:, :-1].std(axis=0), 1.0, rtol=1e-12)
    for part in (data.X, data.X_val, data.X_test):
        np.testing.assert_array_equal(part[:, -1], 1.0)
    assert 0 < len(data.X_test) <= 1000


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint_and_follow_the_seed(name: str) -> None:
    data = table(name).make()
    parts = [{row.tobytes() for row in X} for X in (data.X, data.X_val, data.X_test)]
    for k, part in enumerate(parts):
        assert not part & parts[k - 1]
    assert table(name).make().fingerprint() == data.fingerprint()
    assert table(name, seed=1).make().fingerprint() != data.fingerprint()


@pytest.mark.parametrize("name", ["diabetes", "friedman", "circuit", "student"])
def test_targets_of_half_the_samples_are_permuted(name: str) -> None:
    clean, data = (table(name, corruption=share).make() for share in (0.0, 0.5))
    np.testing.assert_array_equal(clean.X, data.X)
    np.testing.assert_array_equal(np.sort(clean.y), np.sort(data.y))
    np.testing.assert_array_equal(clean.y[data.clean], data.y[data.clean])
    assert np.sum(~data.clean) == 100
    moved = clean.y[~data.clean] != data.y[~data.clean]
    assert moved.mean() > 0.9  # some targets of a table are equal
    for role in ("y_val", "y_test"):
        np.testing.assert_array_equal(getattr(clean, role), getattr(data, role))
    assert abs(clean.y.mean()) < 1e-12
    assert clean.y.std() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "clouds"])
def test_labels_are_spoilt_as_those_of_images(name: str) -> None:
    clean, data = (table(name, corruption=share).make() for share in (0.0, 0.5))
    np.testing.assert_array_equal(data.clean, data.y == clean.y)
    assert 0.1 < np.mean(~data.clean) < 0.45


@pytest.mark.parametrize("name", ["student", "friedman", "circuit", "clouds"])
def test_samples_of_a_law_are_drawn_anew(name: str) -> None:
    pools = [set(tabular.samples(name, seed)[0][:, 0].tolist()) for seed in (0, 1)]
    assert not pools[0] & pools[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "boston"}, "`name` must be one of diabetes, .*; got 'boston'"),
        ({"n": 1}, "`n` must be at least 2; got 1"),
        ({"n": 400}, "must leave samples for testing: diabetes has 442; got 400 \\+ 80"),
        ({"corruption": 1.5}, "`corruption` must lie between 0 and 1; got 1.5"),
    ],
)
def test_refusals(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        table(**{"name": "diabetes"} | change).make()  # type: ignore[arg-type]
