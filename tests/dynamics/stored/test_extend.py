"""More points: old cells stay as they are, and only new ones are computed."""

from pathlib import Path

import numpy as np
import pytest

from warmflow.dynamics import sweep
from warmflow.dynamics.sweeps.stored import Mismatch
from warmflow.dynamics.sweeps.stored import job as jobs

from ._grids import ALPHA, BETA, COMMON, assert_same, read, toy

AXES = {"seed": [0, 1], "noise": [0.1, 0.3]}


def count_cells(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    cells: list[int] = []
    compute = jobs.compute

    def watched(problem, settings, alpha, beta, progress=None):
        cells.append(alpha.size)
        return compute(problem, settings, alpha, beta, progress)

    monkeypatch.setattr(jobs, "compute", watched)
    return cells


GROWN = [
    {"alpha": np.geomspace(1e-2, 0.1, 9)},
    {"alpha": [0.005, 0.2]},
    {"beta": [0.5, 2.0, 1e-3]},
    {"axes": {"seed": [5, 1], "noise": [0.2]}},
    {"alpha": [0.02], "beta": [0.02], "axes": {"seed": [2], "noise": [0.3, 0.05]}},
]


@pytest.mark.parametrize("grown", GROWN, ids=range(len(GROWN)))
def test_an_extended_sweep_is_the_sweep_of_all_points(
    tmp_path: Path, grown: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**COMMON, "axes": AXES}
    old = sweep(toy, store=tmp_path, **options)
    cells = count_cells(monkeypatch)
    new = sweep(toy, store=tmp_path, extend=True, **{**options, **grown})
    axes = {**{name: old[name].values.tolist() for name in ("alpha", "beta")}, **AXES}
    more = {**{k: v for k, v in grown.items() if k != "axes"}, **grown.get("axes", {})}
    for name, values in more.items():
        fresh = [v for v in values if not np.isclose(v, axes[name], rtol=1e-12, atol=0).any()]
        axes[name] = [*axes[name], *fresh]
        if name not in ("beta",) or sorted(values) == list(values):
            axes[name] = sorted(axes[name]) if sorted(values) == list(values) else axes[name]
    for name, values in axes.items():
        np.testing.assert_array_equal(new[name], values)
    alpha, beta = axes.pop("alpha"), axes.pop("beta")
    assert_same(new, sweep(toy, **{**options, "alpha": alpha, "beta": beta, "axes": axes}))
    assert_same(read(tmp_path), new)
    probe = 1  # one step of one cell, for the layout: in another module
    assert sum(cells) == new["status"].size - old["status"].size
    assert probe == 1


def test_an_interrupted_sweep_can_be_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = jobs.compute, 0

    def interrupted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return compute(*args, **kwargs)

    monkeypatch.setattr(jobs, "compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(toy(), store=tmp_path, **COMMON)
    monkeypatch.undo()
    cells = count_cells(monkeypatch)
    alpha = [*ALPHA, 0.15]
    new = sweep(toy(), store=tmp_path, extend=True, **{**COMMON, "alpha": alpha})
    assert_same(new, sweep(toy(), **{**COMMON, "alpha": alpha}))
    assert sum(cells) == 36 - 5 * 2


def test_extending_twice_and_by_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(toy(), store=tmp_path, extend=True, **COMMON)  # nothing there: it starts
    cells = count_cells(monkeypatch)
    sweep(toy(), store=tmp_path, extend=True, **COMMON)
    assert cells == []
    sweep(toy(), store=tmp_path, extend=True, **{**COMMON, "alpha": [0.5]})
    sweep(toy(), store=tmp_path, extend=True, **{**COMMON, "beta": [5.0]})
    wanted = {**COMMON, "alpha": [*ALPHA, 0.5], "beta": [*BETA, 5.0]}
    assert_same(read(tmp_path), sweep(toy(), **wanted))
    assert sum(cells) == 6 + 6
    assert_same(sweep(toy(), store=tmp_path, resume=True, **wanted), read(tmp_path))


def test_a_damaged_chunk_of_old_cells_is_computed_again(tmp_path: Path) -> None:
    sweep(toy(), store=tmp_path, **COMMON)
    wanted = {**COMMON, "alpha": [*ALPHA, 0.5], "beta": [1e-3, *BETA]}
    sweep(toy(), store=tmp_path, extend=True, **wanted)
    for path in sorted((tmp_path / "sweep.zarr" / "theta" / "c").rglob("*"))[::3]:
        if path.is_file():
            path.write_bytes(b"damaged")
    assert_same(sweep(toy(), store=tmp_path, resume=True, **wanted), sweep(toy(), **wanted))


def test_an_extension_is_not_another_sweep(tmp_path: Path) -> None:
    sweep(toy(), store=tmp_path, **COMMON)
    before = read(tmp_path)
    with pytest.raises(Mismatch, match="values of its axes only: `num_steps` was 20, now 30"):
        sweep(toy(), store=tmp_path, extend=True, **COMMON | {"num_steps": 30})
    with pytest.raises(Mismatch, match="the data differ"):
        sweep(toy(3), store=tmp_path, extend=True, **COMMON | {"alpha": [1.0]})
    with pytest.raises(Mismatch, match=r"must keep its axes \(alpha, beta\); got .*seed"):
        sweep(toy, store=tmp_path, extend=True, axes={"seed": [0]}, **COMMON)
    assert_same(read(tmp_path), before)
