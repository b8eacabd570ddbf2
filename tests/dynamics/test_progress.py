"""Progress is told often enough and ends at one."""

import numpy as np
import pytest

from warmflow.dynamics import integrate, integrate_exact, integrate_frozen, methods, run_method
from warmflow.dynamics.progress import throttled

from .cases import two_clusters

Q = two_clusters()
RUNS = {
    "integrate": lambda tell: integrate(Q, t_span=(2.0, 12.0), progress=tell),
    "integrate_exact": lambda tell: integrate_exact(Q, t_span=(0, 10), progress=tell),
    "integrate_frozen": lambda tell: integrate_frozen(
        Q, theta=np.ones(2), t_span=(0, 10), progress=tell
    ),
    "run_method": lambda tell: run_method(Q, methods.Joint(), 50, progress=tell),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_shares_grow_to_one(run) -> None:
    seen: list[float] = []
    run(seen.append)
    assert len(seen) > 5
    assert seen == sorted(set(seen))
    assert 0.0 < seen[0] < 1.0
    assert seen[-1] == 1.0


def test_small_changes_are_not_told() -> None:
    seen: list[float] = []
    tell = throttled(seen.append)
    for share in np.linspace(0, 1, 100_001):
        tell(float(share))
    assert 900 <= len(seen) <= 1001
    throttled(None)(0.5)
