"""Training a network and the weights of its samples together, as practitioners do.

:class:`ReweightedTrainer` takes a :class:`~warmflow.dynamics.torch_bridge.TorchProblem`, a method
for the weights and an optimizer for theta (any of ``torch.optim``, or :class:`NewtonCG`), reads
mini-batches off a ``DataLoader``, logs what theory says matters, warns while there is time, and
resumes bit for bit. torch is imported when a trainer is made, never before.
"""

from __future__ import annotations

from .optimizers import NewtonCG
from .trainer import ReweightedTrainer
from .watch import CollapseWarning

__all__ = ["CollapseWarning", "NewtonCG", "ReweightedTrainer"]
