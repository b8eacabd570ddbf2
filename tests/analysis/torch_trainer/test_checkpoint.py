"""Checkpoints: bit for bit, after a kill at any logged step, and never of another run."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from warmflow.dynamics import methods
from warmflow.dynamics.leaves import leaves, with_leaves

pytest.importorskip("torch", reason="torch is not installed")
from .test_trainer import METHODS, SGD, ReweightedTrainer, loader_of, problem, torch

ADAM = partial(torch.optim.Adam, lr=0.02)

pytestmark = pytest.mark.filterwarnings(
    "ignore:weights (have|are) collaps:warmflow.analysis.torch_trainer.CollapseWarning"
)


class Killed(RuntimeError):
    """The end of a process."""


def killed_at(share: float):
    def tell(done: float) -> None:
        if done >= share:
            raise Killed

    return tell


def scheduled(params):
    optimizer = torch.optim.SGD(params, lr=0.1)
    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)


CASES = {
    "scheduler": (METHODS["soba"], scheduled, False),
    "nadam": (METHODS["soba"], partial(torch.optim.NAdam, lr=0.02), False),
    "adam": (METHODS["soba"], ADAM, False),
    "batches": (METHODS["soba"], ADAM, True),
    "momentum": (
        METHODS["conjugate gradient"], partial(torch.optim.SGD, lr=0.05, momentum=0.9), False,
    ),
    "network of weights": (METHODS["meta-weight-net"], SGD, False),
    "random directions": (METHODS["self-tuning"], SGD, True),
    "blocks": (methods.BSVRB(rho=0.1, eta=0.05), SGD, True),
    "value gap": (METHODS["f2sa"], ADAM, False),
}  # fmt: skip


@pytest.mark.parametrize("method, optimizer, batches", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("share", [0.3, 0.85])
def test_resumed_runs_are_bitwise_those_without_interruption(
    method, optimizer, batches, share: float, tmp_path: Path
) -> None:
    q = problem()

    def make(**options):
        loader = loader_of(q, shuffle=True) if batches else None
        return ReweightedTrainer(
            q, method, optimizer, loader=loader, num_logged=6, seed=2, **options
        )

    whole = make().fit(20)
    path = tmp_path / "deep" / "run.pt"
    with pytest.raises(Killed):
        make(checkpoint=path, progress=killed_at(share)).fit(20)
    resumed = make(checkpoint=path).fit(20, resume=True)
    for name in ("theta", "log_w", "R", "cosine", "status"):
        np.testing.assert_array_equal(resumed[name], whole[name], err_msg=name)
    np.testing.assert_array_equal(resumed["step"], whole["step"])
    assert [part.name for part in path.parent.iterdir()] == ["run.pt"]


def test_a_finished_run_is_only_read_again(tmp_path: Path) -> None:
    q, path = problem(), tmp_path / "run.pt"
    first = ReweightedTrainer(q, METHODS["soba"], SGD, checkpoint=path, num_logged=3).fit(6)
    again = ReweightedTrainer(q, METHODS["soba"], SGD, checkpoint=path, num_logged=3)
    np.testing.assert_array_equal(again.fit(6, resume=True)["theta"], first["theta"])
    longer = ReweightedTrainer(q, METHODS["soba"], SGD, checkpoint=path, num_logged=3)
    assert longer.fit(12, resume=True)["step"].values.tolist() == [0, 3, 6, 12]
    with pytest.raises(ValueError, match=r"`num_steps` must be at least the 12 steps .*; got 5"):
        longer.fit(5, resume=True)


def test_other_runs_and_damaged_files_are_refused(tmp_path: Path) -> None:
    q, path = problem(), tmp_path / "run.pt"
    make = partial(ReweightedTrainer, checkpoint=path)
    make(q, METHODS["soba"], SGD).fit(3)
    with pytest.raises(ValueError, match=r"exists; call `fit\(..., resume=True\)` to go on"):
        make(q, METHODS["soba"], SGD).fit(3)
    changes = {
        "method": (q, replace(METHODS["soba"], eta=0.1), SGD, {}),
        "optimizer": (q, METHODS["soba"], ADAM, {}),
        "problem": (problem(ridge=0.1), METHODS["soba"], SGD, {}),
        "seed": (q, METHODS["soba"], SGD, {"seed": 1}),
        "batches": (q, METHODS["soba"], SGD, {"loader": loader_of(q)}),
    }
    for name, (other, method, optimizer, options) in changes.items():
        with pytest.raises(ValueError, match=f"another run: its ({name}|method) was"):
            make(other, method, optimizer, **options).fit(3, resume=True)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"run.pt cannot be read .*; delete it"):
        make(q, METHODS["soba"], SGD).fit(3, resume=True)


class Trap:
    """What would run on loading, were pickles trusted."""

    def __reduce__(self):
        return (Path("/nonexistent").exists, ())


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    torch.save({"format": 1, "spec": Trap()}, path)
    trainer = ReweightedTrainer(problem(), METHODS["soba"], SGD, checkpoint=path)
    with pytest.raises(ValueError, match="cannot be read"):
        trainer.fit(3, resume=True)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="no checkpoint of this version"):
        trainer.fit(3, resume=True)


def test_a_kill_while_writing_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, path = problem(), tmp_path / "run.pt"
    make = partial(ReweightedTrainer, q, METHODS["soba"], SGD, checkpoint=path, num_logged=3)
    make().fit(4)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        make().fit(8, resume=True)
    assert path.read_bytes() == before
    assert [part.name for part in tmp_path.iterdir()] == ["run.pt"]


def test_leaves_go_out_and_in_again() -> None:
    state = {"a": [1, (2.0, "x")], "b": METHODS["joint"]}
    values = leaves(state)
    assert with_leaves(state, values) == state
    assert values[:3] == [1, 2.0, "x"]
    for wrong, word in ((values[:-1], "too few"), ([*values, 1], "too many")):
        with pytest.raises(ValueError, match=word):
            with_leaves(state, wrong)
