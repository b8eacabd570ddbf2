"""Compiled functions where the cache cannot be written, or is damaged."""

import numba
import pytest

from warmflow.dynamics import compiling


def double(x):
    return 2 * x


def test_without_a_folder_to_write_to_nothing_is_cached(monkeypatch) -> None:
    calls = []

    def njit(**options):
        calls.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiling.numba, "njit", njit)
    assert compiling.compile_cached(double, nogil=True)(2) == 4
    assert calls == [{"cache": True, "nogil": True}, {"nogil": True}]


def test_a_damaged_cache_is_replaced_by_compilation() -> None:
    class Damaged:
        py_func = staticmethod(double)
        targetoptions = {"nogil": True}  # noqa: RUF012

        def __call__(self, x):
            raise EOFError("Ran out of input")

    assert compiling.tried(Damaged(), 1)(3) == 6


def test_an_error_of_the_function_itself_is_raised() -> None:
    broken = numba.njit(lambda x: x.no_such_name)
    with pytest.raises(numba.core.errors.TypingError):
        compiling.tried(broken, 1)
