"""Plain weighted training: what reweighting starts from and is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...dynamics.torch_bridge import TorchProblem

__all__ = ["descend", "descend_validation", "initial", "smallest_losses"]


def initial(problem: TorchProblem) -> Any:
    """Return the parameters that the module came with, ``(p,)``."""
    xp = problem.xp
    return problem.initial_theta(
        xp.ones(problem.num_samples, dtype=problem.dtype, device=problem.device)
    )


def descend(
    problem: TorchProblem, theta: Any, w: NDArray[np.float64], *, rho: float, num_steps: int
) -> Any:
    """Return theta after gradient steps on G at fixed weights ``(n,)``."""
    weights = problem.xp.asarray(w, dtype=problem.dtype, device=problem.device)
    for _ in range(num_steps):
        theta = theta - rho * problem.train_grad(theta, weights)
    return theta


def descend_validation(problem: TorchProblem, theta: Any, *, rho: float, num_steps: int) -> Any:
    """Return theta after gradient steps on the validation loss with the ridge of the problem."""
    for _ in range(num_steps):
        theta = theta - rho * (problem.val_grad(theta) + problem.ridge * theta)
    return theta


def smallest_losses(problem: TorchProblem, theta: Any, share: float) -> NDArray[np.float64]:
    """Return weights ``(n,)``, equal on this share of the samples, those of smallest loss."""
    losses = np.asarray(problem.per_sample_losses(theta).cpu())
    kept = np.argsort(losses, kind="stable")[: max(1, round(share * losses.size))]
    w = np.zeros(losses.size)
    w[kept] = 1 / kept.size
    return w
