"""Sweeps on a device, from rates instead of plans."""

import numpy as np
from numpy.testing import assert_array_equal

from warmflow.dynamics import LeastSquares
from warmflow.dynamics.sweeps.cells import Plan
from warmflow.dynamics.sweeps.cuda import Choice, Device, run_cuda

THRESHOLDS = (0.0, 1e-3, 1e-12)
WARP, BLOCK, SLICES = (
    Choice("march", 32, 1, ""),
    Choice("march", 96, 1, ""),
    Choice("slices", 64, 3, ""),
)


def plan_of(
    q: LeastSquares, alpha, beta, num_steps: int, *, save_steps=None, theta0=None, w0=None
) -> Plan:
    """Return the plan that ``sweep`` makes."""
    dtype, n = q.X.dtype, q.num_samples
    w0 = np.full(n, 1 / n) if w0 is None else w0
    theta0 = q.initial_theta(w0.astype(dtype)) if theta0 is None else np.asarray(theta0, dtype)
    rho, eta = np.meshgrid(np.asarray(alpha, dtype), np.asarray(beta, dtype), indexing="ij")
    steps = save_steps or (num_steps,)
    return Plan(rho.ravel(), eta.ravel(), num_steps, steps, theta0, np.log(w0))


def run(
    device: Device,
    q: LeastSquares,
    alpha,
    beta,
    num_steps: int,
    *,
    choice: Choice | None = WARP,
    keep_weights: bool = True,
    thresholds=THRESHOLDS,
    progress=None,
    **start,
) -> dict[str, np.ndarray]:
    """Return the table of a sweep on a device."""
    plan = plan_of(q, alpha, beta, num_steps, **start)
    return run_cuda(q, plan, keep_weights, thresholds, progress, device, choice)


def assert_same(ours: dict, theirs: dict, cells=slice(None), *, but=("val_loss", "test_loss")):
    """Bit for bit, except for losses, which come from matrix products of the host."""
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {*but, "outer_loss"}:
        assert_array_equal(ours[name], theirs[name][cells], err_msg=name)
