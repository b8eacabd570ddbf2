"""How many steps one launch takes: displays cut off kernels that run for seconds."""

from __future__ import annotations

__all__ = ["Pace", "flops_per_sample"]

SECONDS = 0.2
"""What a launch should take; also how soon an interrupt is heard."""
FIRST_FLOPS = 1e9
"""Work of the first launch: 0.2 s on a device that does little double precision."""
GROWTH = 4.0


class Pace:
    """Steps per launch, from the time that launches took.

    Parameters
    ----------
    flops_per_step : float
        Of all cells together.
    """

    def __init__(self, flops_per_step: float) -> None:
        self.steps = max(1, int(FIRST_FLOPS / flops_per_step))

    def learn(self, steps: int, seconds: float) -> None:
        """Adapt to a launch of so many steps that took so long; short ones say little."""
        wanted = int(steps * min(GROWTH, SECONDS / max(seconds, 1e-9)))
        self.steps = max(1, wanted if seconds > SECONDS else max(wanted, self.steps))


def flops_per_sample(num_params: int) -> int:
    """Return the floating-point operations of one sample in one step, an exponential for 40."""
    d = num_params * (num_params + 3) // 2
    return 4 * (d + num_params) + 40
