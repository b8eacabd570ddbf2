"""Default knobs work: every method frees a regression from the wrong half of its samples."""

import numpy as np
import pytest

from warmflow.dynamics import LeastSquares, Status, methods, run_method

from ..cases import two_clusters
from .table import ALL, name

NO_MEMORY = ("LearningToReweight",)
"""Methods without weights of their own: those of the last step are not judged."""

BUDGET = 4000
FEWER = {"MAID": 300, "ForwardMode": 1000, "ReverseMode": 1500}
"""Steps of methods whose single steps are long; they need no more."""
SHARE = 0.05


def problem(seed: int) -> LeastSquares:
    """Return two clusters of random size: n = 50 ... 200, p = 2 ... 5."""
    rng = np.random.default_rng([seed, 7])
    n, p = 2 * int(rng.integers(25, 101)), int(rng.integers(2, 6))
    return two_clusters(n=n, p=p, m=n // 2, seed=1000 + seed, k=2000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", ALL, ids=name)
def test_the_way_from_uniform_to_clean_weights(method: methods.Method, seed: int) -> None:
    """Within 5 % of the way from the oracle's test risk to that of uniform weights."""
    q = problem(seed)
    assert q.clean is not None
    uniform = q.test_loss(q.theta_star(np.full(q.num_samples, 1 / q.num_samples)))
    oracle = q.test_loss(q.theta_star(q.clean / q.clean.sum()))
    assert oracle < 0.2 * uniform  # there is a way to go
    run = run_method(q, method, FEWER.get(name(method), BUDGET), num_saved=2)
    assert run.status is Status.ok, run.message
    assert q.test_loss(run.theta[-1]) <= oracle + SHARE * (uniform - oracle)
    if name(method) not in NO_MEMORY:
        assert run.w[-1][q.clean].sum() > 0.5 * run.w[-1].sum()
