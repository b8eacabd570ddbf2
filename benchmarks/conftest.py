"""Benchmarks run one at a time, so that nothing else competes for the cores."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", default=None):
        raise pytest.UsageError("benchmarks measure time: run them without -n")
