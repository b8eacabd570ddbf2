"""Named random streams: functions of the root seed and the name alone."""

import numpy as np
import pytest

from warmflow.paper_repro.streams import stream


def draw(seed: int, name: str) -> np.ndarray:
    return stream(seed, name).random(8)


def test_stream_is_a_function_of_seed_and_name() -> None:
    first = draw(3, "toy/noise")
    draw(3, "something drawn in between")
    np.testing.assert_array_equal(draw(3, "toy/noise"), first)


def test_streams_differ_by_name_and_by_seed() -> None:
    names = ["a", "b", "ab", "a/b", "toy/x", "toy/y"]
    draws = {tuple(draw(seed, name)) for seed in (0, 1, 2**32, 2**64) for name in names}
    assert len(draws) == 4 * len(names)


def test_streams_are_uncorrelated() -> None:
    size = 20_000
    a, b = stream(0, "one").standard_normal(size), stream(0, "two").standard_normal(size)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(size)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"`root_seed` must be at least 0; got -1"):
        stream(-1, "x")
    with pytest.raises(ValueError, match=r"`name` must not be empty"):
        stream(0, "")
