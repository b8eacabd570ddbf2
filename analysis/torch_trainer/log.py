"""The logged steps of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Log"]


class Log:
    """States and regimes at evenly spaced steps.

    Parameters
    ----------
    num_steps : int
        Of the whole run.
    num_logged : int
        At most so many of them, both ends included.

    Attributes
    ----------
    steps : list of int
    thetas, log_weights : list of arrays (p,), (n,)
    warned : bool
        Whether a collapse has been warned of.
    """

    def __init__(self, num_steps: int, num_logged: int) -> None:
        self.num_steps = num_steps
        self._due = {*np.linspace(0, num_steps, num_logged).round().astype(int).tolist()}
        self.steps: list[int] = []
        self.thetas: list[np.ndarray] = []
        self.log_weights: list[np.ndarray] = []
        self._regimes: list[dict[str, float]] = []
        self.warned = False

    def is_due(self, step: int, is_end: bool) -> bool:
        """Whether a step is to be logged and is not yet."""
        return (is_end or step in self._due) and step not in self.steps[-1:]

    def add(self, step: int, theta: Any, log_w: Any, regime: dict[str, float]) -> None:
        """Log one step."""
        self.steps.append(step)
        self.thetas.append(theta)
        self.log_weights.append(log_w)
        self._regimes.append(regime)

    def columns(self) -> dict[str, np.ndarray]:
        """Return each quantity of the regimes as an array over the logged steps."""
        names = self._regimes[0]
        return {name: np.array([regime[name] for regime in self._regimes]) for name in names}

    def content(self) -> dict[str, Any]:
        """Return everything as tensors and numbers."""
        import torch

        return {
            "steps": list(self.steps),
            "thetas": [torch.as_tensor(theta) for theta in self.thetas],
            "log_weights": [torch.as_tensor(row) for row in self.log_weights],
            "regimes": [dict(regime) for regime in self._regimes],
            "warned": self.warned,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from :meth:`content`."""
        self.steps = list(content["steps"])
        self.thetas = [theta.cpu().numpy() for theta in content["thetas"]]
        self.log_weights = [row.cpu().numpy() for row in content["log_weights"]]
        self._regimes = [dict(regime) for regime in content["regimes"]]
        self.warned = content["warned"]
