"""Results as the library makes them, by hand and small."""

from __future__ import annotations

import numpy as np
import xarray as xr

RNG = np.random.default_rng(0)
MEANINGS = "ok converged max_evaluations diverged nonfinite underflow stiff"


def run(num_samples: int = 6, num_times: int = 5, time: str = "time") -> xr.Dataset:
    """A trajectory: weights that spread from uniform, ESS, validation risk."""
    t = np.linspace(0.0, 1.0, num_times)
    w = np.exp(np.outer(t, -np.arange(num_samples)))
    w /= w.sum(axis=1, keepdims=True)
    return xr.Dataset(
        {
            "w": ((time, "sample"), w),
            "ess": (time, 1 / (w**2).sum(axis=1)),
            "val_loss": (time, 2.0 - t),
        },
        {time: t},
    )


def sweep(shape: tuple[int, int] = (4, 5)) -> xr.Dataset:
    """A sweep over (alpha, beta): ess = alpha/beta, one diverged cell, one that is not finite."""
    alpha, beta = np.logspace(-2, 0, shape[0]), np.logspace(-3, 1, shape[1])
    status = np.zeros(shape, np.int8)
    status[-1, -1], status[-1, 0] = 3, 4
    ess = np.add.outer(np.log(alpha), -np.log(beta)) + 20
    return xr.Dataset(
        {
            "ess": (("alpha", "beta"), ess),
            "support": (("alpha", "beta", "threshold"), np.stack([ess, 2 * ess], -1)),
            "status": (
                ("alpha", "beta"), status,
                {"flag_values": list(range(7)), "flag_meanings": MEANINGS},
            ),
        },
        {"alpha": alpha, "beta": beta, "threshold": [1e-3, 1e-6]},
    )  # fmt: skip


class Exportable:
    """What a `Trajectory` is to the figures: something with `to_xarray`."""

    def to_xarray(self) -> xr.Dataset:
        return run()
