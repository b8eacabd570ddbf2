"""Importing is cheap: heavy libraries load when they are needed, not before."""

import subprocess
import sys
import time

import pytest

HEAVY = ("sklearn", "sympy", "matplotlib", "zarr", "torch", "dask", "distributed", "cupy", "jax")


def loaded_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after running ``code``."""
    program = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["warmflow.dynamics", "warmflow.analysis"])
def test_import_loads_nothing_heavy(module: str) -> None:
    loaded = loaded_after(f"import {module}")
    assert "numpy" in loaded
    assert loaded & {*HEAVY} == set()


def test_bare_import_loads_no_library() -> None:
    assert loaded_after("import warmflow") & {*HEAVY, "numpy", "scipy", "numba"} == set()


def test_command_line_starts_without_libraries() -> None:
    loaded = loaded_after("import warmflow.paper_repro.cli")
    assert loaded & {*HEAVY, "numpy", "scipy", "numba", "xarray", "pandas"} == set()


def test_help_answers_at_once() -> None:
    """Goal 0.3 s on an idle machine; the bound leaves room for a busy one."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-m", "warmflow", "--help"], capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - start)
        assert run.stdout.startswith("usage: warmflow")
    assert min(seconds) < 1.0


def test_heavy_import_is_found() -> None:
    assert "matplotlib" in loaded_after("import matplotlib")
