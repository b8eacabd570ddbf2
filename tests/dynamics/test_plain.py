"""Values in JSON types."""

import json

import numpy as np
import pytest

from warmflow.dynamics.plain import plain


def test_every_type_becomes_one_of_json() -> None:
    value = {1: np.arange(2), "b": (np.float64(0.5), np.bool_(True)), "c": 1 + 2j, "d": None}
    expected = {"1": [0, 1], "b": [0.5, True], "c": {"real": 1.0, "imag": 2.0}, "d": None}
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value))) == expected
    assert plain(ValueError) == str(ValueError)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_does_not_know_becomes_none_where_it_must_be_strict(value: float) -> None:
    assert plain([value, np.array([value, 1.0])], strict=True) == [None, [None, 1.0]]
    assert np.array_equal(plain([value]), [value], equal_nan=True)
