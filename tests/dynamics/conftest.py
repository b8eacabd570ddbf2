"""Engines of the CPU are under test also where a GPU would be taken."""

import pytest

from warmflow.dynamics import backend

OF_BACKENDS = ("test_backend", "test_cuda_sweep")


@pytest.fixture(autouse=True)
def auto_means_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``backend="auto"`` stay on the CPU, except in tests of GPUs and of the choice itself."""
    module = request.module.__name__.rpartition(".")[2]
    if module not in OF_BACKENDS and request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(backend, "_best_for_numpy", lambda: backend.Backend("compiled"))
