"""Compiled functions where the cache cannot be written, or is damaged."""

import os
import subprocess
import sys

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


def test_the_fingerprint_changes_with_any_source(tmp_path) -> None:
    part = tmp_path / "part.py"
    part.write_text("x = 1")
    before = compiling.fingerprint(tmp_path), compiling.fingerprint(part)
    part.write_text("x = 2")
    after = compiling.fingerprint(tmp_path), compiling.fingerprint(part)
    assert min(*before, *after) > 0
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_damaged_cache_is_replaced_by_compilation(monkeypatch) -> None:
    compiler = numba.njit

    def njit(cache: bool = False, **options):
        def damaged(x):
            raise EOFError("Ran out of input")

        return (lambda function: damaged) if cache else compiler(**options)

    monkeypatch.setattr(compiling.numba, "njit", njit)
    call = compiling.compile_cached(double, nogil=True)
    assert [call(1), call(3)] == [2, 6]


def test_an_error_of_the_function_itself_is_raised() -> None:
    broken = compiling.compile_cached(lambda x: x.no_such_name, nogil=True)
    with pytest.raises(numba.core.errors.TypingError):
        broken(1)


SCRIPT = """
import numpy as np
from warmflow.dynamics import LeastSquares, integrate_grid, sweep

rng = np.random.default_rng(0)
X, y = rng.normal(size=(30, 2)), rng.normal(size=30)
problem = LeastSquares(X, y, X, y, ridge=0.1)
sweep(problem, alpha=[0.1], beta=[0.1], num_steps=2)
integrate_grid(problem, alpha=[0.1], beta=[0.1], t_span=(0.0, 1.0))
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path) -> None:
    """A closure that is pickled anew in every process would be compiled anew, without a word."""
    kept = []
    for _ in range(2):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True)
        kept.append(sorted(path.name for path in tmp_path.rglob("*.nbc")))
    assert len(kept[0]) == 3
    assert kept[1] == kept[0]
