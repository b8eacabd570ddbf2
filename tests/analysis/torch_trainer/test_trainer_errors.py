"""What a trainer refuses, by the name of the part and with the cure."""

import numpy as np
import pytest

from warmflow.dynamics import geometries, methods

pytest.importorskip("torch", reason="torch is not installed")
from .test_trainer import METHODS, SGD, NewtonCG, ReweightedTrainer, loader_of, nn, problem, torch


class Own(torch.utils.data.Sampler):
    """Shuffles by NumPy."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __iter__(self):
        return iter(self.rng.permutation(24).tolist())

    def __len__(self) -> int:
        return 24


REFUSED = {
    "problem": (lambda q: ReweightedTrainer(3, METHODS["soba"], SGD), TypeError, "`problem` must"),
    "method": (lambda q: ReweightedTrainer(q, 3, SGD), TypeError, "`method` must be a method"),
    "no rho": (
        lambda q: ReweightedTrainer(q, methods.Exact(eta=0.1), SGD), ValueError, "inner step `rho`",
    ),
    "default rho": (
        lambda q: ReweightedTrainer(q, methods.SOBA(), SGD), ValueError, "lacks constants",
    ),
    "rates": (
        lambda q: ReweightedTrainer(q, methods.SOBA(rho=[0.1, 0.2]), SGD), ValueError,
        "single numbers as rates",
    ),
    "zero rho": (
        lambda q: ReweightedTrainer(q, methods.SOBA(rho=0.0), SGD), ValueError, "`rho` > 0",
    ),
    "made optimizer": (
        lambda q: ReweightedTrainer(
            q, METHODS["soba"], torch.optim.Adam(q.module_at(np.zeros(4)).parameters())
        ),
        TypeError, r"pass `lambda params: torch.optim.Adam\(params, ...\)`",
    ),
    "no optimizer": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], "adam"), TypeError, "`optimizer` must be",
    ),
    "other thing": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], lambda p: 3), TypeError, "it made int",
    ),
    "foreign parameters": (
        lambda q: ReweightedTrainer(
            q, METHODS["soba"], lambda p: torch.optim.Adam(nn.Linear(2, 1).parameters())
        ),
        ValueError, "made from the parameters it is given; Adam has others",
    ),
    "closure": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], torch.optim.LBFGS), ValueError,
        "step from dense gradients alone; LBFGS does not",
    ),
    "path": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], SGD, checkpoint=3), TypeError,
        "`checkpoint` must be a path; got 3",
    ),
    "folder": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], SGD, checkpoint="."), ValueError,
        "`checkpoint` must be a file; got the folder",
    ),
    "progress": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], SGD, progress=3), TypeError,
        "`progress` must be callable",
    ),
    "module": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], SGD).module, ValueError, "after `fit`",
    ),
    "numpy sampler": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], SGD, loader=loader_of(q, sampler=Own())),
        ValueError, "must draw from torch's random generators",
    ),
    "no length": (
        lambda q: ReweightedTrainer(
            q, METHODS["soba"], SGD,
            loader=torch.utils.data.DataLoader(
                torch.utils.data.TensorDataset(q.X, q.y), batch_sampler=(k for k in [[0, 1]])
            ),
        ),
        ValueError, "it has no length",
    ),
    "no loader": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], SGD, loader=[1]), TypeError, "`loader` mu",
    ),
    "loader of others": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], SGD, loader=loader_of(problem(n=20))),
        ValueError, "run over the 24 training samples of the problem; got 20",
    ),
    "empty loader": (
        lambda q: ReweightedTrainer(
            q, METHODS["soba"], SGD, loader=loader_of(q, 99, drop_last=True)
        ),
        ValueError, "at least one batch",
    ),
    "method without batches": (
        lambda q: ReweightedTrainer(q, METHODS["joint"], SGD, loader=loader_of(q)), ValueError,
        r"mini-batches \(`batch_size`\); Joint has none",
    ),
    "geometry": (
        lambda q: ReweightedTrainer(
            q, METHODS["meta-weight-net"], SGD, geometry=geometries.Mirror()
        ),
        ValueError, "`geometry` must be one of",
    ),
    "steps": (
        lambda q: ReweightedTrainer(q, METHODS["soba"], SGD).fit(0), ValueError, "`num_steps` must",
    ),
    "newton": (lambda q: NewtonCG(num_cg=0), ValueError, "`num_cg` must be >= 1"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, match", REFUSED.values(), ids=REFUSED.keys())
def test_wrong_parts_are_refused(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call(problem())
