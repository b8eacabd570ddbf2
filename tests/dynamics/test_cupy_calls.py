"""Every call that the array-API code makes exists in CuPy and takes these arguments.

The calls are recorded on ``array_api_strict`` and bound to the signatures of
``array_api_compat.cupy``: CuPy can be imported without a driver.
"""

import inspect
from collections.abc import Callable
from types import ModuleType

import array_api_strict
import numpy as np
import pytest

from warmflow.dynamics import LeastSquares, MultiProblem, geometries, methods, run_method, sweep

from .cases import least_squares, softmax, two_clusters
from .methods.table import ALL

Call = tuple[str, tuple, tuple[str, ...]]
UFUNC_KEYWORDS = {"out", "where", "dtype", "casting"}


@pytest.fixture(scope="module")
def cupy_namespace() -> ModuleType:
    pytest.importorskip("cupy", reason="CuPy is not installed (extras cuda12, cuda13)")
    import array_api_compat.cupy

    return array_api_compat.cupy


@pytest.fixture
def calls(monkeypatch) -> set[Call]:
    """Record names, numbers of arguments and keywords of all calls of the namespace."""
    seen: set[Call] = set()

    def recorded(name: str, function: Callable) -> Callable:
        def wrapped(*args, **kwargs):
            seen.add((name, len(args), tuple(sorted(kwargs))))
            return function(*args, **kwargs)

        return wrapped

    for prefix, module in (("", array_api_strict), ("linalg.", array_api_strict.linalg)):
        for name in module.__all__:
            function = getattr(module, name)
            if inspect.isfunction(function) and not name.endswith("_flags"):
                monkeypatch.setattr(module, name, recorded(prefix + name, function))
    return seen


def accepts(namespace: ModuleType, name: str, count: int, keywords: tuple[str, ...]) -> bool:
    """Return whether a function of the namespace takes the arguments."""
    target = namespace
    for part in name.split("."):
        if not hasattr(target, part):
            return False
        target = getattr(target, part)
    if type(target).__name__ == "ufunc":
        return count == target.nin and set(keywords) <= UFUNC_KEYWORDS
    try:
        inspect.signature(target).bind(*[None] * count, **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def exercise() -> None:
    """Run sweeps and methods on every problem in the recorded namespace."""
    rates = {"alpha": [0.1, 1e200], "beta": [0.1], "num_steps": 3, "keep_weights": True}
    problems = [
        two_clusters(),
        two_clusters(ridge=0.0),
        least_squares(n=4, p=6, ridge=0.0),
        softmax(),
        softmax(n=40, f=25, C=3, m=30),
        MultiProblem([least_squares(n=14, p=2, m=6, seed=3), softmax(n=14)]),
    ]
    for q in problems:
        moved = q.to(xp=array_api_strict)
        sweep(moved, **rates)
        for geometry in (
            geometries.Mirror(),
            geometries.SoftmaxLogits(),
            geometries.Sigmoid(),
            geometries.Projection(),
            geometries.ClippedNormalised(),
        ):
            for method in (methods.Joint(), methods.Exact(), methods.SOBA(batch_size=3)):
                theta0 = np.zeros((2, 1, q.num_params))
                run_method(moved, method, 2, geometry=geometry, theta0=theta0)
    for q in (least_squares(), softmax()):
        moved = q.to(xp=array_api_strict)
        w = moved.xp.full((q.num_samples,), 1 / q.num_samples)
        for method in ALL:
            run_method(moved, method, 2)
            if isinstance(q, LeastSquares) or not isinstance(method, methods.MAID):  # quadratics
                method.direction(moved, moved.theta_star(w), w)


def test_cupy_takes_every_call(calls: set[Call], cupy_namespace: ModuleType) -> None:
    exercise()
    assert len({name for name, _, _ in calls}) > 30
    refused = [call for call in sorted(calls) if not accepts(cupy_namespace, *call)]
    assert refused == []


@pytest.mark.parametrize(
    "call",
    [
        ("logaddexp_of_all", 1, ()),
        ("linalg.solve", 3, ()),
        ("sum", 1, ("keep_dims",)),
        ("exp", 2, ()),
        ("exp", 1, ("axis",)),
    ],
)
def test_a_wrong_call_is_refused(call: Call, cupy_namespace: ModuleType) -> None:
    assert not accepts(cupy_namespace, *call)
