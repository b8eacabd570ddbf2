"""Checkpoints of runs: bit for bit, after a kill anywhere, and never of another run."""

import copy
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from warmflow.dynamics import LeastSquares, MultiProblem, geometries, methods, run_method
from warmflow.dynamics.checkpoints import read, write
from warmflow.dynamics.leaves import leaves
from warmflow.dynamics.stepping import Cells

from .cases import least_squares, softmax, two_clusters
from .devices import library, needs_jax, needs_torch
from .interrupted import (
    NUM_STEPS,
    Killed,
    assert_same,
    bombed,
    cells_of,
    killed_at,
    resumed,
    run,
    tapped,
)
from .methods.table import ALL, has_knob, name, with_knobs

SOBA = methods.SOBA(eta=0.3)
each = pytest.mark.parametrize("method", ALL, ids=name)


def variants(method: methods.Method) -> list[methods.Method]:
    """Return a method, and the method on mini-batches where it has them."""
    if not has_knob(method, "batch_size"):
        return [method]
    return [method, with_knobs(method, batch_size=5)]


@each
@pytest.mark.parametrize("axes", ["single", "cells"])
def test_resumed_runs_are_those_without_interruption(method, axes: str, tmp_path: Path) -> None:
    q, path = least_squares(), tmp_path / "deep" / "run.npz"
    for part in variants(method):
        options: dict[str, Any] = {}
        if axes == "cells":
            part, options["theta0"] = cells_of(part)
        whole = run(q, part, **options)
        for step in (1, 2, 7, 11, 12):
            assert_same(resumed(q, part, step, path, **options), whole)
        assert [file.name for file in path.parent.iterdir()] == ["run.npz"]


@each
def test_runs_interrupted_inside_a_step_are_those_without_interruption(
    method, tmp_path: Path
) -> None:
    """Nothing of the step that was not done stays, in the state or in the counts."""
    q, path = least_squares(), tmp_path / "run.npz"
    many, theta0 = cells_of(method)
    for part, options in ((method, {}), (many, {"theta0": theta0})):
        heard: list[None] = []  # a call with many vectors is one
        whole = run(tapped(q, partial(heard.append, None)), part, **options)
        calls = len(heard)
        for call in sorted({1, 2, calls // 3, calls // 2, calls - 1}):
            path.unlink(missing_ok=True)
            with pytest.raises(KeyboardInterrupt):
                run(bombed(q, call), part, checkpoint=path, **options)
            assert_same(run(q, part, checkpoint=path, resume=True, **options), whole)


def test_the_cells_of_these_tests_break_before_and_after_the_interruption() -> None:
    method, theta0 = cells_of(methods.Joint())
    ends = run(least_squares(), method, theta0=theta0).last_step
    assert ends[0, 0] == NUM_STEPS
    assert 2 < ends[0, 1] < NUM_STEPS
    assert ends[1, 3] == 0


def test_the_memory_of_cells_does_not_change_when_they_go_on() -> None:
    q = least_squares()
    method, theta0 = cells_of(methods.Joint())
    cells = Cells(q, method, geometries.Mirror(), (2, 4))
    cells.start(theta0, np.log(np.full(12, 1 / 12)), 0)
    memories = [cells.memory()]
    before = [copy.deepcopy(memories[0])]
    for _ in range(NUM_STEPS):
        cells.advance()
        memories.append(cells.memory())
        before.append(copy.deepcopy(memories[-1]))
    np.testing.assert_equal(leaves(memories), leaves(before))
    assert cells.memory()["live"].size < 8
    cells.restore(memories[3])
    for _ in range(3, NUM_STEPS):
        cells.advance()
    np.testing.assert_equal(leaves(cells.memory()), leaves(memories[-1]))


@needs_torch
@each
def test_torch_modules_resume_too(method, tmp_path: Path) -> None:
    from .torch_bridge.modules import linear_twin

    q = least_squares()
    twin = linear_twin(q, constants=q.constants())
    method = variants(shortened(method))[-1]
    many, theta0 = cells_of(method)
    few: dict[str, Any] = {"num_steps": 4, "save_steps": [0, 1, 4]}
    for part, options in ((method, few), (many, few | {"theta0": theta0[:1]})):
        whole = run(twin, part, **options)
        assert_same(resumed(twin, part, 2, tmp_path / "run.npz", **options), whole)


def shortened(method: methods.Method) -> methods.Method:
    """Return a method with a short warm-up."""
    return with_knobs(method, num_warmup=2) if has_knob(method, "num_warmup") else method


@pytest.mark.parametrize(
    "method, xp",
    [
        (SOBA, "array_api_strict"),
        (methods.BSVRB(batch_size=5), "array_api_strict"),
        (methods.MAID(), "array_api_strict"),
        pytest.param(SOBA, "torch", marks=needs_torch),
        pytest.param(methods.BSVRB(batch_size=5), "torch", marks=needs_torch),
        pytest.param(methods.MAID(), "torch", marks=needs_torch),
        pytest.param(methods.OneStep(), "jax", marks=needs_jax),
    ],
    ids=lambda value: value if isinstance(value, str) else name(value),
)
def test_other_libraries_resume_in_their_own_arrays(method, xp: str, tmp_path: Path) -> None:
    q, path = least_squares(), tmp_path / "run.npz"
    moved = q.to(xp=library(xp))
    many, theta0 = cells_of(method)
    kinds: list[tuple[Any, dict[str, Any]]] = [(method, {}), (many, {"theta0": theta0})]
    for part, options in kinds[: 1 if xp == "jax" else 2]:  # JAX compiles for every shape
        whole = run(moved, part, **options)
        assert_same(resumed(moved, part, 4, path, **options), whole)
        with pytest.raises(ValueError, match=r"another run: its array library was .*; now it is n"):
            run(q, part, checkpoint=path, resume=True, **options)


PROBLEMS = {
    "softmax": softmax(),
    "multi": MultiProblem([least_squares(n=14, p=2, m=6, seed=3), softmax(n=14)]),
    "float32": least_squares().to(dtype="float32"),
}


@pytest.mark.parametrize("q", PROBLEMS.values(), ids=PROBLEMS.keys())
@pytest.mark.parametrize("method", [SOBA, methods.MetaWeightNet(), methods.Neumann()], ids=name)
def test_other_problems_resume(q, method, tmp_path: Path) -> None:
    assert_same(resumed(q, method, 5, tmp_path / "run.npz"), run(q, method))


def test_single_runs_that_break_resume(tmp_path: Path) -> None:
    q, path = two_clusters(), tmp_path / "run.npz"
    options = {"num_steps": 60, "save_steps": [2, 40]}
    method = methods.Joint(rho=50.0)
    whole = run(q, method, **options)
    end = whole.num_evaluations
    assert whole.t.tolist() == [2, end]
    assert 5 < end < 40
    for step in (1, 3, end):
        assert_same(resumed(q, method, step, path, **options), whole)
        assert_same(run(q, method, checkpoint=path, resume=True, **options), whole)


@pytest.mark.parametrize("axes", ["single", "cells"])
def test_a_finished_run_is_only_read_again(axes: str, tmp_path: Path, monkeypatch) -> None:
    q, path = two_clusters(), tmp_path / "run.npz"
    options: dict[str, Any] = {"checkpoint": path}
    method = SOBA if axes == "single" else methods.SOBA(eta=np.array([0.1, 0.3]))
    first = run(q, method, **options)
    before = path.read_bytes()
    for act in ("step", "init"):
        monkeypatch.setattr(methods.SOBA, act, lambda *_: pytest.fail("the run was finished"))
    monkeypatch.setattr(LeastSquares, "initial_theta", lambda *_: pytest.fail("finished"))
    seen: list[float] = []
    options["checkpoint_seconds"] = 0.0
    assert_same(run(q, method, resume=True, progress=seen.append, **options), first)
    assert seen == [1.0]
    assert path.read_bytes() == before


def test_runs_can_be_made_longer(tmp_path: Path) -> None:
    q, path = two_clusters(), tmp_path / "run.npz"
    go = partial(run_method, q, SOBA)
    on = partial(go, checkpoint=path, resume=True)
    on(10, save_steps=[3, 4, 8])
    assert_same(on(15, save_steps=[3, 8, 12]), go(15, save_steps=[3, 8, 12]))
    with pytest.raises(ValueError, match=r"has done 15 steps and has not kept step 9, which is d"):
        on(20, save_steps=[3, 9, 14, 16])
    with pytest.raises(ValueError, match=r"`num_steps` must be at least the 15 steps .*; got 14"):
        on(14, save_steps=[3])
    path.unlink()
    on(10, num_saved=6)
    assert_same(on(20, num_saved=6), go(20, num_saved=6))
    with pytest.raises(ValueError, match=r"not kept step 2, which is due now \(5 such steps\)"):
        on(30, num_saved=16)


def test_an_interrupted_run_can_be_made_shorter(tmp_path: Path) -> None:
    q, path = two_clusters(), tmp_path / "run.npz"
    with pytest.raises(Killed):
        run_method(q, SOBA, 100, checkpoint=path, progress=killed_at(20, 100), num_saved=101)
    short = run_method(q, SOBA, 30, checkpoint=path, resume=True, num_saved=4)
    assert_same(short, run_method(q, SOBA, 30, num_saved=4))


def test_progress_and_seconds_go_on_from_what_is_done(tmp_path: Path) -> None:
    q, path, seen = two_clusters(), tmp_path / "run.npz", []

    def slow(done: float) -> None:
        time.sleep(0.03)
        killed_at(6)(done)

    with pytest.raises(Killed):
        run(q, SOBA, checkpoint=path, progress=slow)
    first = read(path)
    assert (first["step"], first["seconds"] > 0.18) == (6, True)
    again = run(q, SOBA, checkpoint=path, resume=True, progress=seen.append)
    assert seen == [step / NUM_STEPS for step in range(6, NUM_STEPS + 1)]
    assert again.wall_seconds > first["seconds"]


def test_checkpoints_are_written_as_seldom_as_asked(tmp_path: Path, monkeypatch) -> None:
    q, path, times = two_clusters(), tmp_path / "run.npz", []
    monkeypatch.setattr("warmflow.dynamics.resuming.SHARE", 0.0)
    monkeypatch.setattr("warmflow.dynamics.resuming.write", lambda *a: (times.append(a), write(*a)))
    go = partial(run_method, q, SOBA, 50, checkpoint=path, resume=True)
    go(checkpoint_seconds=1000.0)
    assert len(times) == 2
    path.unlink()
    times.clear()
    go(checkpoint_seconds=0.0)
    assert len(times) == 51
