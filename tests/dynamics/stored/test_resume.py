"""What is stored is what was computed; damage is noticed; nothing is done twice."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from warmflow.dynamics import geometries, methods, sweep, weights
from warmflow.dynamics.jobs import Pool
from warmflow.dynamics.sweeps import stored as package
from warmflow.dynamics.sweeps.axes import make_grid
from warmflow.dynamics.sweeps.settings import check_settings
from warmflow.dynamics.sweeps.stored import job as jobs

from ._grids import ALPHA, BETA, COMMON, assert_same, classes, read, stored, toy


def marks(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (root / "units").glob("*.json")}


def files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "sweep.zarr").rglob("*") if path.is_file())


def test_stored_is_computed_bit_for_bit(tmp_path: Path) -> None:
    ds = stored(tmp_path)
    assert_same(read(tmp_path), sweep(toy(), **COMMON))
    assert_same(ds, read(tmp_path))
    found, wanted = (weights(d, toy(), alpha=ALPHA[1], beta=BETA[2]) for d in (ds, read(tmp_path)))
    np.testing.assert_array_equal(found, wanted)
    assert len(marks(tmp_path)) == 15
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"sweep.json", "sweep.zarr", "units", ".lock"}


def test_equal_sweeps_leave_equal_bytes(tmp_path: Path) -> None:
    trees = []
    for name in ("a", "b"):
        stored(tmp_path / name)
        chunks = [path for path in files(tmp_path / name) if "c" in path.parts]
        trees.append({path.relative_to(tmp_path / name): path.read_bytes() for path in chunks})
    assert trees[0] == trees[1]
    record = json.loads(read(tmp_path / "a").attrs["provenance"])
    assert record["wall_seconds"] is None


def test_a_second_run_needs_leave(tmp_path: Path) -> None:
    stored(tmp_path)
    with pytest.raises(ValueError, match="holds a sweep; go on with `resume=True`"):
        stored(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(ValueError, match="is not empty"):
        stored(tmp_path / "other")
    stored(tmp_path / "other", resume=True)
    assert (tmp_path / "other" / "mine.txt").read_text() == "x"


def test_a_resumed_run_does_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path)
    before = marks(tmp_path)
    for name in ("000003.json", "000011.json"):
        (tmp_path / "units" / name).unlink()
    done = []
    compute = jobs.compute

    def watched(*args, **kwargs):
        done.append(args)
        return compute(*args, **kwargs)

    monkeypatch.setattr(jobs, "compute", watched)
    stored(tmp_path, resume=True)
    assert len(done) == 2
    after = marks(tmp_path)
    assert {k for k in after if after[k] != before[k]} <= {"000003.json", "000011.json"}


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "deleted":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])


@pytest.mark.parametrize("kind", ["deleted", "truncated", "changed"])
def test_damage_anywhere_is_mended(tmp_path: Path, kind: str) -> None:
    """Every file of the group, coordinates and metadata included."""
    wanted = stored(tmp_path / "whole")
    paths = files(tmp_path / "whole")
    assert len(paths) > 150
    root = tmp_path / "damaged"
    shutil.copytree(tmp_path / "whole", root)
    groups = [paths[k::7] for k in range(7)]
    for group in groups:
        for path in group:
            damage(root / path.relative_to(tmp_path / "whole"), kind)
        stored(root, resume=True)
        assert_same(read(root), wanted)
        assert [p.relative_to(root) for p in files(root)] == [
            p.relative_to(tmp_path / "whole") for p in paths
        ]


def test_damaged_marks_and_manifest(tmp_path: Path) -> None:
    wanted = stored(tmp_path)
    for k, text in enumerate(["", "{", "[]", '{"outputs": 3}', '{"outputs": {"../x": "y"}}']):
        (tmp_path / "units" / f"{k:06d}.json").write_text(text)
    assert_same(stored(tmp_path, resume=True), wanted)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep\.json is damaged"):
        stored(tmp_path, resume=True)


CHANGES = [
    ({"num_steps": 21}, "`num_steps` was 20, now 21"),
    ({"save_steps": None}, r"`save_steps` was \[0, 10, 20\], now None"),
    ({"dt": 2.0}, "`dt` was 1, now 2"),
    ({"dtype": "float32"}, "`dtype` was float64, now float32"),
    ({"backend": "numpy"}, "`backend` was auto, now numpy"),
    ({"thresholds": (0.5,)}, "`thresholds` was"),
    ({"theta0": np.ones(2)}, "`theta0` was None"),
    ({"w0": np.full(30, 1 / 30)}, "`w0` was None"),
    ({"keep_weights": True}, "`keep_weights` was False, now True"),
    ({"alpha": ALPHA[:4]}, r"`alpha` was 5 values 0.01 ... 0.1, now 0.01, 0.0177828"),
    ({"beta": [*BETA, 2.0]}, "now 7 values 0.01 ... 2; add the new cells with `extend=True`"),
    ({"axes": {"ridge": [0.1]}}, "axis `ridge` was absent, now 0.1"),
    ({"method": methods.Exact()}, "`method` was None, now Exact"),
    ({"geometry": geometries.Mirror()}, "`geometry` was None, now Mirror"),
    ({"seed": 4}, "`seed` was 0, now 4"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=lambda value: str(value)[:30])
def test_another_specification_is_refused_and_named(
    tmp_path: Path, change: dict, words: str
) -> None:
    options = COMMON | {"num_steps": 20}
    sweep(toy(), store=tmp_path, **options)
    before = marks(tmp_path)
    with pytest.raises(package.Mismatch, match=words):
        sweep(toy(), store=tmp_path, resume=True, **options | change)
    assert marks(tmp_path) == before


def test_other_data_are_refused(tmp_path: Path) -> None:
    stored(tmp_path)
    with pytest.raises(package.Mismatch, match="the data differ"):
        sweep(toy(seed=1), store=tmp_path, resume=True, **COMMON)


def test_what_is_not_there_yet_reads_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of a sweep that runs see whole chunks or none."""
    compute = jobs.compute
    seen: list[xr.Dataset] = []

    def watched(*args, **kwargs):
        seen.append(read(tmp_path))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return compute(*args, **kwargs)

    monkeypatch.setattr(jobs, "compute", watched)
    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path)
    monkeypatch.undo()
    ds = read(tmp_path)
    missing = ds["status"].values == package.PENDING
    assert missing.sum() == 30 - 3 * 2
    for name in ("ess", "theta", "val_loss"):
        assert (np.isnan(ds[name].values).reshape(30, -1).all(axis=1) == missing.ravel()).all()
    assert (ds["support"].values[missing] == -1).all()
    assert not list((tmp_path / "units").glob("*.running"))
    assert_same(stored(tmp_path, resume=True), sweep(toy(), **COMMON))


def test_a_failing_chunk_loses_no_other(tmp_path: Path) -> None:
    def sometimes(seed: int):
        if seed == 1:
            raise RuntimeError("planted")
        return toy(seed)

    wanted = sweep(toy, **COMMON, axes={"seed": [0, 2, 3]})
    with pytest.warns(UserWarning, match="5 chunks failed: .*seed 1: RuntimeError: planted"):
        ds = sweep(sometimes, store=tmp_path, **COMMON, axes={"seed": [0, 1, 2, 3]})
    assert_same(ds.sel(seed=[0, 2, 3]), wanted)
    assert (ds["status"].sel(seed=1) == package.PENDING).all()

    def refusing(seed: int):
        if seed == 1:
            raise ValueError("at the door")
        return toy(seed)

    with pytest.raises(ValueError, match="at the door"):  # a wrong value is no failure
        sweep(refusing, store=tmp_path / "other", **COMMON, axes={"seed": [0, 1]})


def test_an_extension_waits_for_runs_of_this_machine(tmp_path: Path) -> None:
    """Chunks of the old layout must not be written into the new one."""
    stored(tmp_path)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        facts = {"host": socket.gethostname(), "pid": sleeper.pid, "started": time.time()}
        (tmp_path / "units" / "000000.running").write_text(json.dumps(facts))
        with pytest.raises(ValueError, match=f"process {sleeper.pid} works on it"):
            sweep(toy(), store=tmp_path, extend=True, **COMMON | {"alpha": [0.5]})
    finally:
        sleeper.kill()
        sleeper.wait()
    ds = sweep(toy(), store=tmp_path, extend=True, **COMMON | {"alpha": [0.5]})
    assert_same(ds, sweep(toy(), **COMMON | {"alpha": [*ALPHA, 0.5]}))


def test_a_run_of_the_old_layout_writes_nothing_into_the_new_one(tmp_path: Path) -> None:
    settings = check_settings(
        dt=1.0, num_steps=20, save_steps=10, backend="auto", dtype="float64", keep_weights=False,
        thresholds=(1e-3, 1e-6, 1e-12), max_bytes=2e9, theta0=None, w0=None, method=None,
        geometry=None, seed=0,
    )  # fmt: skip
    old = package.open_sweep(tmp_path, make_grid(toy(), ALPHA, BETA, None, settings), settings)
    old.run(Pool(), range(3))
    new = sweep(toy(), store=tmp_path, extend=True, **COMMON | {"alpha": [5e-3]})
    outcome = old.run(Pool())
    assert {r.message for r in outcome.failed} == {
        "RuntimeError: the sweep was extended meanwhile; start this run again"
    }
    assert_same(read(tmp_path), new)
    again = sweep(toy(), store=tmp_path, resume=True, **COMMON | {"alpha": [5e-3, *ALPHA]})
    assert_same(again, new)


def test_marks_of_another_layout_count_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with outputs that fit: the chunk may hold the cells of other places."""
    stored(tmp_path)
    path = tmp_path / "units" / "000004.json"
    path.write_text(path.read_text().replace('"generation": "', '"generation": "0'))
    done = []
    compute = jobs.compute
    monkeypatch.setattr(jobs, "compute", lambda *args: done.append(1) or compute(*args))
    assert_same(stored(tmp_path, resume=True), sweep(toy(), **COMMON))
    assert len(done) == 1


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "sweep.zarr").mkdir()
    (tmp_path / "sweep.zarr" / "mine").write_text("x")
    with pytest.raises(ValueError, match=r"holds sweep\.zarr or units without sweep\.json"):
        stored(tmp_path, resume=True)
    assert (tmp_path / "sweep.zarr" / "mine").exists()
    stored(tmp_path / "b")
    (tmp_path / "b" / "sweep.json").unlink()
    with pytest.raises(ValueError, match="choose another folder, or remove them"):
        stored(tmp_path / "b", resume=True)


@pytest.mark.parametrize("text", ["[]", "null", '{"format": 1, "kind": "grid"}', "changed"])
def test_a_damaged_manifest_is_one_error(tmp_path: Path, text: str) -> None:
    stored(tmp_path)
    path = tmp_path / "sweep.json"
    whole = path.read_text()
    path.write_text(
        whole.replace('"num_steps": 20', '"num_steps": 21') if text == "changed" else text
    )
    with pytest.raises(ValueError, match=r"sweep\.json is damaged"):
        stored(tmp_path, resume=True)


def test_chunks_that_fail_are_listed_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = jobs.compute

    def failing(problem, settings, alpha, beta, progress=None):
        if ALPHA[2] in alpha:
            raise FloatingPointError("planted")
        return compute(problem, settings, alpha, beta, progress)

    monkeypatch.setattr(jobs, "compute", failing)
    with pytest.warns(UserWarning, match=r"3 chunks failed: chunk .*alpha 0.0316.*planted"):
        ds = stored(tmp_path)
    bad = ds["status"].values == package.PENDING
    assert bad[2].all()
    assert bad.sum() == 6
    faults = [json.loads(p.read_text()) for p in (tmp_path / "units").glob("*.failed")]
    assert len(faults) == 3
    assert "FloatingPointError: planted" in faults[0]["message"]
    monkeypatch.undo()
    assert_same(stored(tmp_path, resume=True), sweep(toy(), **COMMON))
    assert not list((tmp_path / "units").glob("*.failed"))


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_ends_the_sweep_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from warmflow.dynamics.jobs import StorageFault
    from warmflow.dynamics.sweeps.stored import layout

    write = layout._encode
    calls = 0

    def full(values):
        nonlocal calls
        calls += 1
        if calls > 30:
            raise OSError(28, "No space left on device")
        return write(values)

    monkeypatch.setattr(layout, "_encode", full)
    with pytest.raises(StorageFault, match="No space left"):
        stored(tmp_path)
    monkeypatch.undo()
    assert 0 < len(marks(tmp_path)) < 15
    assert_same(stored(tmp_path, resume=True), sweep(toy(), **COMMON))


def test_weights_methods_and_softmax_are_stored_too(tmp_path: Path) -> None:
    small = {"alpha": [0.05, 0.1], "beta": [0.1, 0.2], "num_steps": 5}
    cases = {
        "weights": (toy(), {"keep_weights": True, "w0": np.arange(1.0, 31.0) / 465.0}),
        "softmax": (classes(), {}),
        "float32": (toy(), {"dtype": "float32"}),
        "method": (toy(), {"method": methods.SOBA(), "save_steps": 2}),
        "geometry": (toy(), {"geometry": geometries.Penalised(entropy=0.1)}),
    }
    for name, (problem, options) in cases.items():
        ds = sweep(problem, store=tmp_path / name, **small, **options)
        wanted = sweep(problem, **small, **options)
        assert {*ds.variables} == {*wanted.variables}
        for variable in wanted.variables:
            np.testing.assert_allclose(
                ds[variable], wanted[variable].transpose(*ds[variable].dims),
                rtol=1e-5 if name == "float32" else 1e-11, err_msg=f"{name} {variable}",
            )  # fmt: skip
            assert ds[variable].dtype == wanted[variable].dtype


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("share", range(4))
@pytest.mark.parametrize("act", ["create", "extend"])
def test_a_kill_at_any_rename_loses_nothing(tmp_path: Path, act: str, share: int) -> None:
    script = Path(__file__).with_name("kills.py")
    command = [sys.executable, script, tmp_path, act, share, 4]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 50
