"""A comparison of methods as `analysis.comparison.compare` returns it, by formula."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

__all__ = ["comparison"]

FEW = ("joint", "soba", "f2sa", "learning_to_reweight")


def comparison(
    entries: Sequence[str] = FEW, num_seeds: int = 3, num_ratios: int = 5, num_budgets: int = 4
) -> xr.Dataset:
    """Weights that collapse as R grows, each entry faster than the one before; risks that fall."""
    rng = np.random.default_rng(0)
    ratio, budget = np.logspace(-2, 2, num_ratios), np.logspace(2, 4, num_budgets)
    shape = (len(entries), num_ratios, num_seeds, num_budgets)
    k, r, _, b = np.meshgrid(
        np.arange(shape[0]), ratio, np.arange(num_seeds), budget, indexing="ij"
    )
    is_scaled = np.array([name != "learning_to_reweight" for name in entries])
    r = np.where(is_scaled[:, None, None, None], r, 1.0)
    noise = np.exp(0.1 * rng.standard_normal(shape))
    ess = 1.0 + 99.0 / (1.0 + (1 + 0.3 * k) * r) * noise
    test_loss = (0.05 + 0.01 * k + 0.02 * np.log10(r) ** 2 + 30.0 / b) * noise
    dims = ("entry", "ratio", "seed", "budget")
    status = np.zeros(shape[:-1], np.int8)
    references = ["uniform", "validation_only", "clean_only", "derivative_free"]
    levels = np.array([1.05, 0.3, 0.045, 0.4])[:, None] * np.ones(num_seeds)
    return xr.Dataset(
        {
            "ess": (dims, ess),
            "test_loss": (dims, test_loss),
            "val_loss": (dims, 0.9 * test_loss),
            "status": (dims[:-1], status),
            "reference_test_loss": (("reference", "seed"), levels),
        },
        {
            "entry": list(entries),
            "ratio": ratio,
            "seed": np.arange(num_seeds),
            "budget": budget,
            "reference": references,
            "is_scaled": ("entry", is_scaled),
        },
        {"num_samples": 120},
    )
