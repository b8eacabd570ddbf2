"""What a checkpoint holds, what it refuses to be, and what a kill leaves of it."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from warmflow.dynamics import geometries, methods
from warmflow.dynamics.checkpoints import read, write
from warmflow.dynamics.methods.networks import Table

from .cases import least_squares, two_clusters
from .interrupted import NUM_STEPS, Killed, assert_same, bombed, killed_at, resumed, run

SOBA = methods.SOBA(eta=0.3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strange(methods.SOBA):
    """A method whose knobs and states may hold anything."""

    extra: Any = None
    shared: ClassVar[tuple[str, ...]] = ("extra",)

    def init(self, problem, geometry, theta, outer, seed):
        start = super().init(problem, geometry, theta, outer, seed)
        return dataclasses.replace(start, adjoint=[start.adjoint, self.extra])

    def step(self, problem, geometry, state):
        plain = dataclasses.replace(state, adjoint=state.adjoint[0])
        moved = super().step(problem, geometry, plain)
        return dataclasses.replace(moved, adjoint=[moved.adjoint, *state.adjoint[1:]])


EXTRAS = [
    None, True, 2**70, 0.1, float("nan"), float("-inf"), "text", np.float32(0.1), np.int8(3),
    np.bool_(True), np.arange(6.0).reshape(2, 3).T, np.zeros((0, 3)), np.arange(5)[::-2],
    np.broadcast_to(1.5, (2, 3)), {"a": (1, [2.0])}, np.float64("nan"),
]  # fmt: skip


@pytest.mark.parametrize("extra", EXTRAS, ids=repr)
def test_whatever_a_state_holds_comes_back(extra, tmp_path: Path, monkeypatch) -> None:
    seen: list[Any] = []
    step = Strange.step
    monkeypatch.setattr(Strange, "step", lambda *a: (seen.append(a[-1].adjoint[1]), step(*a))[1])
    resumed(least_squares(), Strange(extra=extra), 4, tmp_path / "run.npz")
    assert len(seen) == NUM_STEPS
    for one, two in ((seen[0], extra), (seen[-1], extra)):
        assert type(one) is type(two)
        np.testing.assert_equal(one, two)
        if isinstance(extra, np.ndarray) and extra.size:
            assert (one.dtype, one.strides) == (two.dtype, two.strides)


@pytest.mark.parametrize("extra", [len, object(), np.array([None])])
def test_states_that_cannot_be_written_are_refused_at_the_start(extra, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    with pytest.raises(TypeError, match=r"`checkpoint` cannot hold a state with a \w+ in it"):
        run(least_squares(), Strange(extra=extra), checkpoint=path)
    assert list(tmp_path.iterdir()) == []


FIRST = dataclasses.replace(SOBA, order="w_first")
GROUPS = np.arange(60) % 2
LATE = np.where(np.arange(60) == 30, 1 - GROUPS, GROUPS)
CHANGES = {
    "problem": ("problem", lambda go: go(two_clusters(ridge=0.1), SOBA)),
    "dtype": ("dtype", lambda go: go(two_clusters().to(dtype="float32"), SOBA)),
    "method": ("method", lambda go: go(two_clusters(), methods.Joint(eta=0.3))),
    "number": ("knob `eta`", lambda go: go(two_clusters(), methods.SOBA(eta=0.30000000000000004))),
    "array": ("knob `rho`", lambda go: go(two_clusters(), methods.SOBA(eta=0.3, rho=[0.1]))),
    "order": ("knob `order`", lambda go: go(two_clusters(), FIRST)),
    "geometry": ("geometry", lambda go: go(two_clusters(), SOBA, geometry=geometries.Sigmoid())),
    "seed": ("seed", lambda go: go(two_clusters(), SOBA, seed=4)),
    "theta0": ("theta0", lambda go: go(two_clusters(), SOBA, theta0=np.ones(2))),
    "w0": ("w0", lambda go: go(two_clusters(), SOBA, w0=np.arange(1.0, 61) / 1830)),
}  # fmt: skip


@pytest.mark.parametrize("what, change", CHANGES.values(), ids=CHANGES.keys())
def test_checkpoints_of_other_runs_are_refused(what: str, change, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    run(two_clusters(), SOBA, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"run.npz belongs to another run: its {what} was .*; n"):
        change(partial(run, checkpoint=path, resume=True))
    with pytest.raises(ValueError, match=r"exists; call `run_method\(..., resume=True\)` to go on"):
        run(two_clusters(), SOBA, checkpoint=path)
    assert path.read_bytes() == before


PAIRS = {
    "groups": (
        "geometry",
        partial(run, method=SOBA, geometry=geometries.Groups(GROUPS)),
        partial(run, method=SOBA, geometry=geometries.Groups(LATE)),
    ),
    "network": (
        "knob `network`",
        partial(run, method=methods.MetaWeightNet()),
        partial(run, method=methods.MetaWeightNet(network=Table())),
    ),
    "rates of many cells": (
        "knob `eta`",
        partial(run, method=methods.SOBA(eta=np.linspace(0, 1, 30))),
        partial(run, method=methods.SOBA(eta=np.linspace(0, 1, 30) ** 1.0000001)),
    ),
}


@pytest.mark.parametrize("what, first, second", PAIRS.values(), ids=PAIRS.keys())
def test_large_and_nested_knobs_are_compared(what: str, first, second, tmp_path: Path) -> None:
    options = {"problem": two_clusters(), "checkpoint": tmp_path / "run.npz", "resume": True}
    first(**options)
    first(**options)
    with pytest.raises(ValueError, match=f"another run: its {what} was"):
        second(**options)


def test_batches_that_a_sampler_deals_are_compared(tmp_path: Path) -> None:
    q, options = two_clusters(), {"checkpoint": tmp_path / "run.npz", "resume": True}
    method = methods.SOBA(batch_size=4)
    q.sampler = lambda step: np.arange(4) + step
    run(q, method, **options)
    run(q, method, **options)
    for other in (None, lambda step: np.arange(4) + 2 * step):
        q.sampler = other
        with pytest.raises(ValueError, match="another run: its batches was"):
            run(q, method, **options)


def test_damaged_files_are_refused_or_harmless(tmp_path: Path) -> None:
    q, path = least_squares(), tmp_path / "run.npz"
    whole = run(q, SOBA, checkpoint=path)
    sound, refused = path.read_bytes(), 0
    cuts = [sound[:size] for size in (0, 1, 30, len(sound) // 2, len(sound) - 1)]
    flips = []
    for place in np.linspace(0, len(sound) - 1, 300).astype(int):
        flips.append(bytearray(sound))
        flips[-1][place] ^= 0xFF
    for content in (*cuts, *flips):
        path.write_bytes(content)
        try:
            assert_same(run(q, SOBA, checkpoint=path, resume=True), whole)
        except ValueError as error:
            assert "run.npz cannot be read (" in str(error)  # noqa: PT017
            assert "; delete it to start anew" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 0.9 * (len(cuts) + len(flips))


@pytest.mark.parametrize("rows", [b"2", b"8"])
def test_headers_that_hide_rows_are_damage(rows: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    write(path, {"x": np.arange(20_000.0).reshape(4, 5000)})
    np.testing.assert_array_equal(read(path)["x"].ravel(), np.arange(20_000.0))
    path.write_bytes(path.read_bytes().replace(b"(4, 5000)", b"(%s, 5000)" % rows))
    with pytest.raises(ValueError, match=r"run.npz cannot be read \(.*; delete it to start anew"):
        read(path)


class Trap:
    """What would run on loading, were pickles trusted."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    q, path = least_squares(), tmp_path / "run.npz"
    trap = np.array([Trap()], dtype=object)
    for content in (trap, np.array('{"format": 1, "x": {"array": "trap", "strides": [1]}}')):
        np.savez(path, content=content, trap=trap)
        with pytest.raises(ValueError, match="cannot be read"):
            run(q, SOBA, checkpoint=path, resume=True)
    with path.open("wb") as stream:
        np.save(stream, trap)
    with pytest.raises(ValueError, match="cannot be read"):
        run(q, SOBA, checkpoint=path, resume=True)
    assert not Trap.sprung
    np.savez(path, content=np.array("[1, 2]"))
    with pytest.raises(ValueError, match=r"is no checkpoint of this version; delete it"):
        run(q, SOBA, checkpoint=path, resume=True)


def test_a_state_of_other_shape_is_refused(tmp_path: Path, monkeypatch) -> None:
    q, path = least_squares(), tmp_path / "run.npz"
    with pytest.raises(Killed):
        run(q, Strange(), checkpoint=path, progress=killed_at(3))
    monkeypatch.setattr(Strange, "init", methods.SOBA.init)
    with pytest.raises(ValueError, match=r"the state of another version of Strange; delete it"):
        run(q, Strange(), checkpoint=path, resume=True)


def test_a_kill_while_writing_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch) -> None:
    q, path = least_squares(), tmp_path / "run.npz"
    with pytest.raises(Killed):
        run(q, SOBA, checkpoint=path, progress=killed_at(4))
    before = path.read_bytes()

    def fail(*_):
        raise Killed("no rename")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        with pytest.raises(Killed, match="no rename"):
            run(q, SOBA, checkpoint=path, resume=True)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(bombed(q, 6), SOBA, checkpoint=path, resume=True)
    assert "could not be written: no rename" in caught.value.__notes__[0]
    assert path.read_bytes() == before
    assert [part.name for part in tmp_path.iterdir()] == ["run.npz"]
    assert read(path)["step"] == 4
    assert_same(run(q, SOBA, checkpoint=path, resume=True), run(q, SOBA))


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    q = least_squares()
    for options, kind, match in (
        ({"checkpoint": tmp_path}, ValueError, "`checkpoint` must be a file; got the folder"),
        ({"checkpoint": 3}, TypeError, "`checkpoint` must be a path; got 3"),
        ({"resume": True}, ValueError, "`resume=True` needs a `checkpoint`"),
        ({"resume": 1}, TypeError, "`resume` must be True or False; got 1"),
        ({"checkpoint_seconds": -1}, ValueError, r"`checkpoint_seconds` must be >= 0; got -1"),
    ):
        with pytest.raises(kind, match=match):
            run(q, SOBA, **options)


SCRIPT = """
import sys, time
import numpy as np
from warmflow.dynamics import LeastSquares, methods, resuming, run_method
resuming.SHARE = 0.0
data = np.load(sys.argv[1])
run_method(
    LeastSquares(
        data["X"], data["y"], data["X_val"], data["y_val"], ridge=1e-2,
        test=(data["X_test"], data["y_test"]),
    ),
    methods.SOBA(rho=data["rho"], eta=0.3, batch_size=16),
    2000,
    progress=lambda share: time.sleep(0.002),
    checkpoint=sys.argv[2],
    resume=True,
    checkpoint_seconds=0.0,
)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_run_that_is_killed_again_and_again_is_the_run_that_never_was(tmp_path: Path) -> None:
    q, path = two_clusters(), tmp_path / "run.npz"
    rho = np.array([0.1, 1.5, 0.2])
    arrays = {name: getattr(q, name) for name in q._arrays}
    np.savez(tmp_path / "data.npz", rho=rho, **arrays)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "data.npz"), str(path)]
    done = [0]
    for delay in (0.03, 0.11, 0.07, 0.0):
        child = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "error"})
        while child.poll() is None and step_of(path) < done[-1] + 20:
            time.sleep(0.01)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        done.append(step_of(path))
    assert done == sorted(set(done))
    assert done[-1] < 2000
    method = methods.SOBA(rho=rho, eta=0.3, batch_size=16)
    options: dict[str, Any] = {"num_steps": 2000, "save_steps": None, "seed": 0}
    again = run(q, method, checkpoint=path, resume=True, **options)
    assert_same(again, run(q, method, **options))
    assert sorted(part.name for part in tmp_path.iterdir()) == ["data.npz", "run.npz"]


def test_what_killed_writers_left_is_cleared(tmp_path: Path, monkeypatch) -> None:
    q, path = least_squares(), tmp_path / "run.npz"
    others = [tmp_path / ".profile", tmp_path / f".{'a' * 12}-other-run.npz"]
    for other in others:
        other.touch()
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: None)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        run(q, SOBA, checkpoint=path)
    assert len(list(tmp_path.iterdir())) > len(others)
    run(q, SOBA, checkpoint=path)
    assert sorted(tmp_path.iterdir()) == sorted([*others, path])


def step_of(path: Path) -> int:
    """Return the steps that a checkpoint has done; it can be read at any time."""
    content = read(path)
    return 0 if content is None else content["step"]
