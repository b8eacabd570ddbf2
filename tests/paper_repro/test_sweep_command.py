"""``warmflow sweep`` and ``warmflow status``: a sweep in its folder, from the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from warmflow.dynamics import sweep as direct_sweep
from warmflow.dynamics.sweeps.stored import job as jobs
from warmflow.dynamics.sweeps.stored import refined
from warmflow.paper_repro import cli
from warmflow.paper_repro.data import Toy

RATES = ["--alpha", "1e-2:1e-1:4", "--beta", "1e-3:1e-1:5", "--steps", "20"]


def run(*args: object) -> int:
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as end:
        return int(end.code or 0)


def sweep(out: Path, *options: object) -> int:
    return run("sweep", "--data", "toy", "--out", out, *RATES, *options)


def read(out: Path) -> xr.Dataset:
    return xr.open_zarr(out / "sweep.zarr", consolidated=False).load()


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    assert {*a.variables} == {*b.variables}
    for name in a.variables:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


def stop_at(
    monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException, module: Any = jobs
) -> None:
    """Raise at this call of `compute` in a chunk."""
    compute, calls = module.compute, 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return compute(*args, **kwargs)

    monkeypatch.setattr(module, "compute", counted)


def test_sweep_writes_what_sweep_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "grid"
    options = ["--alpha", "1e-2:1e-1:3", "--beta", "1e-3:1e-1:4", "--steps", 20, "--dt", 0.5]
    code = run("sweep", "--data", "toy", "--seed", 3, "--out", out, "--save-steps", 10, *options)
    assert code == 0
    assert "3 x 4 cells" in capsys.readouterr().out
    ds = read(out)
    direct = direct_sweep(
        Toy(seed=3).make().problem(1e-3), alpha=np.geomspace(1e-2, 1e-1, 3),
        beta=np.geomspace(1e-3, 1e-1, 4), dt=0.5, num_steps=20, save_steps=10,
    )  # fmt: skip
    same(ds, direct)
    assert (out / "phase_diagram_ess.pdf").exists()
    assert json.loads(ds.attrs["provenance"])["config"]["num_steps"] == 20


def test_single_rates_make_a_sweep_without_maps(tmp_path: Path) -> None:
    out = tmp_path / "o"
    options = ["--alpha", "0.1", "--beta", "1e-3:1:3", "--steps", "5"]
    assert run("sweep", "--data", "toy", "--out", out, *options) == 0
    assert list(out.glob("*.png")) == []
    assert (out / "sweep.zarr").is_dir()


def test_interrupt_status_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out dir"
    assert sweep(whole) == 0
    stop_at(monkeypatch, 6, KeyboardInterrupt())
    monkeypatch.setattr(sys, "argv", ["warmflow", "sweep", "--out", str(out)])
    capsys.readouterr()
    assert sweep(out) == 130
    last = capsys.readouterr().err.strip().splitlines()[-1]
    words = "interrupted; 5 of 12 chunks are stored. Go on with: warmflow sweep"
    assert last == f"{words} --out '{out}' --resume"
    assert not list(out.glob("*.png"))
    assert run("status", out) == 0
    shown = capsys.readouterr().out
    assert "sweep over 4 alpha x 5 beta, 20 steps, 12 chunks" in shown
    assert "5 of 12 chunks done, 0 failed, 0 in flight; nobody works on it" in shown
    monkeypatch.undo()
    assert sweep(out) == 2
    assert "go on with it by --resume" in capsys.readouterr().err
    assert sweep(out, "--resume") == 0
    same(read(out), read(whole))
    assert list(out.glob("*.png"))
    capsys.readouterr()
    assert run("status", out) == 0
    assert "12 of 12 chunks done, 0 failed, 0 in flight\n" in capsys.readouterr().out


def test_resume_starts_what_was_not_started(tmp_path: Path) -> None:
    assert sweep(tmp_path / "new", "--resume") == 0
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "job-1.out").write_text("x")
    assert sweep(tmp_path / "logs", "--resume", "--chunks", "0:1") == 0


OTHERS = [
    (["--steps", "30"], "--steps was 20, now 30"),
    (["--beta", "1e-3:1e-1:6"], "--beta was 5 values"),
    (["--ridge", "1e-2"], "--ridge was 0.001, now 0.01"),
    (["--seed", "4"], "--seed was 0, now 4"),
    (["--dt", "0.5"], "--dt was 1, now 0.5"),
    (["--noise", "0.1"], "--noise was None, now 0.1"),
    (["--save-steps", "5"], "--save-steps was None, now"),
    (["--dtype", "float32"], "--dtype was float64, now float32"),
    (["--seeds", "2"], "axis --seed was absent, now 0, 1"),
    (["--method", "soba"], "--method was None, now SOBA"),
]


@pytest.mark.parametrize(("other", "words"), OTHERS, ids=lambda value: str(value)[:20])
def test_resume_of_another_sweep_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: list[str], words: str
) -> None:
    assert sweep(tmp_path, "--chunks", "0:0") == 0
    capsys.readouterr()
    assert sweep(tmp_path, "--resume", *other) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]
    assert lines[0].startswith(f"warmflow sweep: error: --out {tmp_path} was started with another")


def test_chunks_of_an_array_of_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert sweep(whole, "--chunk-cells", 2) == 0
    assert sweep(out, "--chunks", "8:", "--chunk-cells", 2, "--resume") == 0
    assert "8 chunks are missing" in capsys.readouterr().out
    assert (read(out)["status"] == -1).sum() == 2 * 5 + 4
    for part in ("0:4", "3:8", "40:50"):
        assert sweep(out, "--chunks", part, "--resume") == 0
    same(read(out), read(whole))


def test_axes_are_dimensions(tmp_path: Path) -> None:
    out, alone = tmp_path / "axes", tmp_path / "alone"
    axes = ["--seeds", "2", "--ridge", "1e-3,1e-2", "--noise", "0.1:1:2", "--n", "20,30"]
    assert sweep(out, *axes, "--seed", "3") == 0
    ds = read(out)
    sizes = {"alpha": 4, "beta": 5, "seed": 2, "ridge": 2, "n": 2, "noise": 2}
    assert dict(ds["ess"].sizes) == sizes
    assert ds["seed"].values.tolist() == [3, 4]
    one = ["--seed", "4", "--ridge", "1e-2", "--noise", "1", "--n", "30"]
    assert sweep(alone, *one) == 0
    cell = ds.sel(seed=4, ridge=1e-2, n=30, noise=1.0)
    np.testing.assert_array_equal(cell["theta"], read(alone)["theta"])
    figures = {path.stem for path in out.glob("*.png")}
    assert figures == {f"phase_diagram_{name}" for name in ("ess", "test_loss", "val_loss")}


def test_extend_adds_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert sweep(out, "--seeds", "1") == 0
    capsys.readouterr()
    assert sweep(out, "--seeds", "3", "--extend", "--noise", "0.1") == 2
    assert "--noise was None, now 0.1" in capsys.readouterr().err
    assert sweep(out, "--seeds", "3", "--extend") == 0
    assert sweep(whole, "--seeds", "3") == 0
    same(read(out), read(whole))


def test_an_interrupted_extension_goes_on_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep(tmp_path, "--seeds", "1") == 0
    stop_at(monkeypatch, 2, KeyboardInterrupt())
    monkeypatch.setattr(sys, "argv", ["warmflow", "sweep", "--extend"])
    assert sweep(tmp_path, "--seeds", "2", "--extend") == 130
    assert capsys.readouterr().err.strip().endswith("Go on with: warmflow sweep --extend")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    grid = ["--alpha", "1e-2:1e-1:6", "--beta", "1e-3:1e-1:6", "--steps", "1000000", "-j", "2"]
    words = [sys.executable, "-m", "warmflow", "sweep", "--data", "toy", "--out", str(tmp_path)]
    process = subprocess.Popen([*words, *grid], start_new_session=True)
    limit = time.monotonic() + 120
    while len(list((tmp_path / "units").glob("*.running"))) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    marks = [json.loads(path.read_text()) for path in (tmp_path / "units").glob("*.running")]
    assert len(marks) == 2
    process.kill()  # this one only, not its group
    process.wait()
    limit = time.monotonic() + 20
    while (alive := [m for m in marks if Path(f"/proc/{m['pid']}").exists()]) and (
        time.monotonic() < limit
    ):
        time.sleep(0.1)
    for mark in alive:
        os.kill(mark["pid"], signal.SIGKILL)
    assert not alive


def test_corruption_is_an_axis_of_images(tmp_path: Path) -> None:
    options = ["--alpha", "0.1", "--beta", "1:10:2", "--steps", "3", "--n", "60"]
    code = run("sweep", "--data", "digits", "--out", tmp_path, *options, "--corruption", "0,0.5")
    assert code == 0
    mass = read(tmp_path)["clean_mass"]
    assert (mass.sel(corruption=0.0) == 1.0).all()
    assert (mass.sel(corruption=0.5, beta=1.0) < 1.0).all()


def test_knobs_are_axes(tmp_path: Path) -> None:
    assert sweep(tmp_path, "--axis", "entropy=0,0.1", "--axis", "l2=0,0.1") == 0
    ess = read(tmp_path)["ess"].sel(alpha=0.1, beta=0.1, method="nearest")
    plain = ess.sel(entropy_penalty=0.0, l2_penalty=0.0)
    assert (ess.sel(entropy_penalty=0.1) > plain).all()
    assert (ess.sel(l2_penalty=0.1) > plain).all()


def test_failing_chunks_are_listed_and_set_the_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 3, MemoryError("planted; use fewer cells"))
    assert sweep(tmp_path) == 1
    captured = capsys.readouterr()
    assert re.search(r"failed: chunk 2: alpha 0.01, beta 0.1: .*planted; use few", captured.err)
    assert "1 chunks are missing" in captured.out
    assert run("status", tmp_path) == 1
    captured = capsys.readouterr()
    assert "11 of 12 chunks done, 1 failed" in captured.out
    assert "failed: chunk 2" in captured.err
    monkeypatch.undo()
    assert sweep(tmp_path, "--resume") == 0
    assert run("status", tmp_path) == 0


def test_failing_cells_are_listed_with_their_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep that crosses the limit of stability is no failure; one without a good cell is."""
    mixed = ["--alpha", "1e-2:100:5", "--beta", "0.01", "--steps", "200"]
    assert run("sweep", "--data", "toy", "--out", tmp_path / "a", *mixed) == 0
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(
        r"diverged: \d of 5 cells, the first at alpha \d+, .*cure: lower `alpha`", line
    )
    bad = ["--alpha", "100", "--beta", "0.01", "--steps", "200"]
    assert run("sweep", "--data", "toy", "--out", tmp_path / "b", *bad) == 1
    assert "diverged: 1 of 1 cells" in capsys.readouterr().err
    infinite = ["--alpha", "1e-2:1e-1:2", "--beta", "1e305", "--steps", "5"]
    assert run("sweep", "--data", "toy", "--out", tmp_path / "c", *infinite) == 1
    assert "cure: lower `beta`" in capsys.readouterr().err


def test_a_full_disk_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 4, OSError(28, "No space left on device"))
    assert sweep(tmp_path) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == (
        f"warmflow sweep: error: --out {tmp_path}: cannot be written (No space left on device); "
        "what is finished stays, go on with --resume"
    )
    monkeypatch.undo()
    assert sweep(tmp_path, "--resume") == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(tmp_path / "a", "--chunks", "0:1") == 0
    for path in [tmp_path / "a", *(tmp_path / "a").rglob("*")]:
        if path.is_dir():
            path.chmod(0o500)
    capsys.readouterr()
    assert sweep(tmp_path / "a", "--resume") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_netcdf(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    assert sweep(tmp_path, "--netcdf") == 0
    with xr.open_dataset(tmp_path / "sweep.nc", engine="h5netcdf") as found:
        same(found.load(), read(tmp_path))


def test_a_refined_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ["--alpha", "1e-3:1e-1:4", "--beta", "1e-2:10:4", "--steps", "60", "--refine", "50"]
    options = ["sweep", "--data", "toy", "--out"]
    assert run(*options, tmp_path / "whole", *grid) == 0
    stop_at(monkeypatch, 8, KeyboardInterrupt(), refined)
    assert run(*options, tmp_path / "out", *grid) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert run("status", tmp_path / "out") == 0
    assert "of at most 50 cells done" in capsys.readouterr().out
    assert run(*options, tmp_path / "out", *grid, "--resume") == 0
    ds = read(tmp_path / "out")
    same(ds, read(tmp_path / "whole"))
    assert ds.sizes["cell"] in (49, 50)
    assert (tmp_path / "out" / "phase_diagram_ess.png").exists()
    capsys.readouterr()
    assert run(*options, tmp_path / "out", *grid[:-1], "60", "--resume") == 2
    assert "--refine was 50, now 60" in capsys.readouterr().err
    assert run(*options, tmp_path / "x", *grid, "--seeds", "2") == 2
    assert "--refine goes with alpha and beta alone" in capsys.readouterr().err


FAULTS = [
    (["--axis", "foo=1"], "--axis must name ridge, a knob"),
    (["--axis", "foo"], "'foo' is not NAME=VALUES"),
    (["--axis", "entropy=1,1"], "holds a value twice"),
    (["--axis", "entropy=-1"], "must be >= 0; got -1"),
    (["--axis", "entropy=0", "--axis", "entropy=1"], "given twice"),
    (["--chunks", "3"], "'3' is not i:j"),
    (["--method", "nope"], "'nope' is no method"),
    (["--n", "3,x"], "'x' is not a whole number"),
    (["--ridge", "1e-3,-1"], "-1 must be finite and at least 0"),
    (["--corruption", "0,2"], "2 must lie between 0 and 1"),
    (["--corruption", "0,0.5"], "--corruption 0.5 needs class labels"),
    (["--n", "1"], "must be at least 2"),
    (["--scheduler", "tcp://x", "--executor", "serial"], "--scheduler needs --executor dask"),
    (["--refine", "100", "--chunks", "0:1"], "leave out --chunks"),
    (["--refine", "3"], "--refine must"),
]


@pytest.mark.parametrize(("options", "message"), FAULTS, ids=lambda value: " ".join(value)[:30])
def test_faults_are_one_line_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert sweep(out, *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not out.exists() or not any(out.iterdir())


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", tmp_path / "none") == 2
    assert run("status", tmp_path) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "no such folder" in lines[0]
    assert "nothing was started here" in lines[1]


@pytest.mark.slow
def test_kill_from_another_shell_and_watch(tmp_path: Path) -> None:
    """SIGKILL in the middle of a long sweep by processes, status meanwhile, and resume."""
    grid = ["--alpha", "1e-2:1e-1:6", "--beta", "1e-3:1e-1:6", "--steps", "40000"]
    words = [sys.executable, "-m", "warmflow", "sweep", "--data", "toy", *grid]
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert subprocess.run([*words, "--out", whole], check=False).returncode == 0
    command = [*words, "--out", str(out), "--resume", "-j", "2"]
    for number in (3, 6):
        process = subprocess.Popen(command, start_new_session=True)
        limit = time.monotonic() + 120
        while len(list((out / "units").glob("*.json"))) < number and time.monotonic() < limit:
            time.sleep(0.01)
        watch = [sys.executable, "-m", "warmflow", "status", str(out)]
        status = subprocess.run(watch, capture_output=True, text=True, check=False)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert status.returncode == 0
        assert "chunks done, 0 failed" in status.stdout
        assert json.loads((out / "sweep.json").read_text())["kind"] == "grid"
    assert subprocess.run(command, check=False).returncode == 0
    same(read(out), read(whole))
