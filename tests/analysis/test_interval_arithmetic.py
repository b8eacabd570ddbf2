"""Balls and the Krawczyk operator: what is shown holds, what is not so is never shown."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from warmflow.analysis.intervals import (
    enclose_zero,
    krawczyk,
)
from warmflow.analysis.intervals.arithmetic import (
    as_floats,
    ball,
    ball_matrix,
    is_hurwitz,
    is_positive_definite,
    lower,
    precision,
    upper,
)

from ._balls import interval_matrix

flint = pytest.importorskip("flint", reason="interval arithmetic needs python-flint")


# ---------------------------------------------------------------------- balls
def test_floats_enter_exactly_at_any_precision() -> None:
    x = np.array([0.1, -1e-300, 3.0])
    with precision(24):
        column = ball_matrix(x)
        assert all(entry.is_exact() for entry in column.entries())
        assert_allclose(as_floats(column)[:, 0], x, rtol=0)


def test_bounds_are_rounded_outward() -> None:
    third = ball(1.0) / 3
    assert lower(third) < 1 / 3 < upper(third)
    assert upper(third) - lower(third) < 1e-15
    assert lower(-third) < -1 / 3 < upper(-third)
    assert np.isnan(lower(ball(1.0) / ball(0.0, 1.0)))


def test_precision_is_restored_also_after_an_error() -> None:
    before = flint.ctx.prec
    with precision(200):
        assert flint.ctx.prec == 200
    with pytest.raises(ZeroDivisionError), precision(200):
        flint.arb_mat(2, 2).inv()
    assert flint.ctx.prec == before


@pytest.mark.parametrize(
    ("middle", "radius", "shown"),
    [
        ([[2.0, 1.0], [1.0, 2.0]], 0.0, True),
        ([[2.0, 1.0], [1.0, 2.0]], 0.3, True),
        ([[2.0, 1.0], [1.0, 2.0]], 0.6, False),
        ([[1.0, 1.0], [1.0, 1.0]], 0.0, False),
        ([[1.0, 2.0], [2.0, 1.0]], 0.0, False),
        ([[-1.0]], 0.0, False),
    ],
)
def test_positive_definite_only_if_every_member_is(
    middle: list, radius: float, shown: bool
) -> None:
    assert is_positive_definite(interval_matrix(middle, radius)) is shown


@pytest.mark.parametrize(
    ("middle", "shown"),
    [
        ([[-1.0, 5.0], [0.0, -2.0]], True),
        ([[-0.1, 3.0], [-3.0, -0.1]], True),
        ([[0.0, 1.0], [-1.0, 0.0]], False),
        ([[-1.0, 0.0], [0.0, 0.0]], False),
        ([[-1.0, 0.0], [0.0, 1e-9]], False),
        ([[1.0, 0.0], [0.0, -1.0]], False),
    ],
)
def test_hurwitz_only_if_all_eigenvalues_are_left_of_zero(middle: list, shown: bool) -> None:
    assert is_hurwitz(ball_matrix(middle)) is shown


def test_a_wide_ball_around_a_stable_matrix_is_not_hurwitz() -> None:
    assert is_hurwitz(interval_matrix([[-1.0, 0.0], [0.0, -1.0]], 0.1))
    assert not is_hurwitz(interval_matrix([[-1.0, 0.0], [0.0, -1.0]], 1.1))
    assert is_hurwitz(flint.arb_mat(0, 0))


# ---------------------------------------------------------------------- Krawczyk
def square(x: object, target: float = 2.0) -> object:
    return flint.arb_mat(1, 1, [x[0, 0] ** 2 - target])


def slope(x: object) -> object:
    return flint.arb_mat(1, 1, [2 * x[0, 0]])


def test_krawczyk_encloses_the_root_of_two() -> None:
    found = enclose_zero(square, slope, interval_matrix([[1.4]], 0.2))
    assert found is not None
    assert lower(found[0, 0]) <= np.sqrt(2) <= upper(found[0, 0])
    assert upper(found[0, 0]) - lower(found[0, 0]) < 2e-15
    with precision(212):
        finer = enclose_zero(square, slope, interval_matrix([[1.4]], 0.2))
        assert (finer[0, 0] ** 2).contains(2)
        assert finer[0, 0].rad() < 2.0**-200


@pytest.mark.parametrize(
    ("centre", "radius"), [(1.8, 0.2), (0.0, 2.0), (-1.0, 0.1), (0.0, 0.0), (1.4, 1e-3)]
)
def test_krawczyk_proves_nothing_beside_a_root_or_around_two(centre: float, radius: float) -> None:
    assert enclose_zero(square, slope, interval_matrix([[centre]], radius)) is None


def test_krawczyk_does_not_prove_a_double_root() -> None:
    def flat(x: object) -> object:
        return square(x, 0.0)

    assert enclose_zero(flat, slope, interval_matrix([[0.0]], 0.1)) is None
    assert enclose_zero(flat, slope, interval_matrix([[0.01]], 0.1)) is None


def test_krawczyk_maps_every_zero_of_the_box_into_its_image() -> None:
    image = krawczyk(square, slope, interval_matrix([[1.5]], 0.3))
    assert lower(image[0, 0]) <= np.sqrt(2) <= upper(image[0, 0])
