"""The two-cluster toy follows the law in its docstring."""

from dataclasses import replace

import numpy as np
import pytest

from warmflow.paper_repro.data import Toy

LARGE = Toy(n=40_000, m=20_000, test_size=20_000, p=3, noise=0.5, share=0.25, separation=3.0)


def test_clusters_follow_opposite_models() -> None:
    data = LARGE.make()
    theta = LARGE.target_theta()
    for sign, group in ((1, data.clean), (-1, ~data.clean)):
        residual = data.y[group] - sign * data.X[group] @ theta
        # Mean and standard deviation of N samples: standard errors are sd/sqrt(N) and less.
        assert abs(residual.mean()) < 5 * 0.5 / np.sqrt(group.sum())
        assert residual.std() == pytest.approx(0.5, rel=0.03)


def test_means_lie_separation_apart_and_covariance_is_the_identity() -> None:
    data = LARGE.make()
    gap = data.X[data.clean].mean(axis=0) - data.X[~data.clean].mean(axis=0)
    assert np.linalg.norm(gap) == pytest.approx(3.0, abs=0.05)
    np.testing.assert_allclose(np.cov(data.X[data.clean].T), np.eye(3), atol=0.06)


def test_validation_and_test_come_from_the_target_cluster() -> None:
    data = LARGE.make()
    for X, y in ((data.X_val, data.y_val), (data.X_test, data.y_test)):
        fit = np.linalg.lstsq(X, y, rcond=None)[0]
        np.testing.assert_allclose(fit, LARGE.target_theta(), atol=0.02)
        assert not np.isin(X[:, 0], data.X[:, 0]).any()


def test_share_counts_the_target_cluster() -> None:
    assert LARGE.make().clean.sum() == 10_000
    assert Toy(n=2, share=0.01).make().clean.sum() == 1


def test_length_of_theta_is_the_scale() -> None:
    toy = Toy(p=5, scale=0.7)
    assert np.linalg.norm(toy.target_theta()) == pytest.approx(0.7)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 179.0, 180.0])
def test_angle_lies_between_two_parameters_of_one_length(angle: float) -> None:
    toy = Toy(n=20_000, p=3, angle=angle, scale=0.7)
    one, other = toy.target_theta(), toy.other_theta()
    assert np.linalg.norm(other) == pytest.approx(0.7)
    # arccos loses half of the digits at its ends.
    assert np.rad2deg(np.arccos(np.clip(one @ other / 0.49, -1, 1))) == pytest.approx(
        angle, abs=1e-5
    )
    data = toy.make()
    assert data.clean is not None
    fit = np.linalg.lstsq(data.X[~data.clean], data.y[~data.clean], rcond=None)[0]
    np.testing.assert_allclose(fit, other, atol=0.02)  # noise/sqrt(10000) = 0.003


def test_opposite_clusters_are_opposite_to_the_last_bit() -> None:
    np.testing.assert_array_equal(Toy(p=4).other_theta(), -Toy(p=4).target_theta())


def test_angle_changes_the_targets_of_the_other_cluster_only() -> None:
    one, two = Toy().make(), Toy(angle=40).make()
    same = one.y == two.y
    np.testing.assert_array_equal(same, one.clean)
    np.testing.assert_array_equal(one.X, two.X)
    np.testing.assert_array_equal(one.y_test, two.y_test)


def test_same_seed_same_data_and_sizes_do_not_disturb_each_other() -> None:
    one, two = Toy(seed=4).make(), Toy(seed=4, m=7, test_size=11).make()
    np.testing.assert_array_equal(one.X, two.X)
    np.testing.assert_array_equal(one.y, two.y)
    assert one.fingerprint() == Toy(seed=4).make().fingerprint()
    assert one.fingerprint() != two.fingerprint()
    assert one.fingerprint() != Toy(seed=5).make().fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 1}, "`n` must be at least 2; got 1"),
        ({"m": 0}, "`m` must be at least 1; got 0"),
        ({"p": 0}, "`p` must be at least 1"),
        ({"test_size": 0}, "`test_size` must be at least 1"),
        ({"noise": -0.1}, "`noise` must be finite and at least 0; got -0.1"),
        ({"separation": np.inf}, "`separation` must be finite"),
        ({"scale": np.nan}, "`scale` must be finite"),
        ({"share": 1.0}, "`share` must lie strictly between 0 and 1; got 1.0"),
        ({"angle": 181.0}, "`angle` must lie between 0 and 180; got 181.0"),
        ({"angle": np.nan}, "`angle` must lie between 0 and 180; got nan"),
        ({"angle": 90.0, "p": 1}, "`angle` must be 0 or 180 for p = 1; got 90.0"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Toy(), **change)
