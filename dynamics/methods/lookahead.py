r"""The field of methods that look one inner step ahead."""

from __future__ import annotations

from ..problems import Problem
from ..types import Array

__all__ = ["lookahead_field"]


def lookahead_field(problem: Problem, theta: Array, ahead: Array) -> Array:
    r"""Return :math:`-J(\theta)^\top \nabla F(\theta_+)`, shape ``(..., n)``.

    With :math:`\theta_+ = \theta - \rho\nabla_\theta G(\theta, w)` as ``ahead`` it is the gradient
    in w of :math:`F(\theta_+)`, divided by :math:`\rho`: on the scale of Psi, where H is about 1.
    """
    return -problem.per_sample_jvp(theta, problem.val_grad(ahead))
