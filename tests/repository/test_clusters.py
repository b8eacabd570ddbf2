"""The scripts of docs/clusters.md do what the page says; a script plays the queue."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ._tree import ROOT

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(language, body) for language, body in FENCE.findall(PAGE)]
TINY = ["--alpha", "1e-2:0.1:4", "--beta", "1e-2:1:4", "--seeds", "2", "--steps", "20"]
SBATCH = """#!/bin/bash
cp "$1" job.sh  # as sbatch does: the caller deletes its own
setsid bash job.sh > worker.log 2>&1 < /dev/null &
echo $! > job.pid
echo "Submitted batch job 1"
"""
SCANCEL = "#!/bin/bash\nkill -- -$(cat job.pid)\n"


def block(name: str) -> str:
    """Return the block of the page that says that it is this file."""
    [found] = [body for _, body in BLOCKS if re.search(rf"^# {re.escape(name)}$", body, re.M)]
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the files of the page, and a `warmflow` that is this one."""
    for name in ("phases.sh", "array.sh", "cluster.py", "dask_sweep.py"):
        (tmp_path / name).write_text(block(name))
    programs = {"warmflow": f'#!/bin/bash\nexec "{sys.executable}" -m warmflow "$@"\n',
                "sbatch": SBATCH, "scancel": SCANCEL}  # fmt: skip
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


def read(folder: Path) -> xr.Dataset:
    return xr.open_zarr(folder / "sweep.zarr", consolidated=False).load()


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Return a sweep that one process did at once."""
    out = tmp_path_factory.mktemp("once") / "phases"
    command = [sys.executable, "-m", "warmflow", "sweep", "--data", "toy", *TINY]
    command += ["--out", str(out), "--executor", "serial"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    ds = read(out)
    assert (ds["status"].values >= 0).all()
    return ds


def assert_same(found: xr.Dataset, wanted: xr.Dataset) -> None:
    assert {*found.variables} == {*wanted.variables}
    for name in wanted.variables:
        np.testing.assert_array_equal(found[name].values, wanted[name].values, err_msg=str(name))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_job_array(folder: Path, wanted: xr.Dataset) -> None:
    """All jobs start at once on a folder that is not there yet; the last command draws."""
    options = [*TINY, "--chunk-cells", "1"]

    def job(number: int) -> subprocess.Popen[str]:
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(number), "CHUNKS_PER_JOB": "8"}
        return subprocess.Popen(
            ["bash", "array.sh", *options], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    jobs = [job(number) for number in range(4)]
    texts = [process.communicate(timeout=200) for process in jobs]
    assert [process.returncode for process in jobs] == [0] * 4, texts
    assert all("4 x 4 x 2 cells, 20 steps on toy, 32 chunks" in out for out, _ in texts)
    for number, (_, progress) in enumerate(texts):  # each did its own chunks
        numbers = {int(k) for k in re.findall(r"chunk (\d+):", progress)}
        assert numbers == {*range(8 * number, 8 * number + 8)}
    assert len([*(folder / "phases" / "units").glob("*.json")]) == 32
    subprocess.run(["bash", "phases.sh", *options], cwd=folder, check=True, capture_output=True)
    assert [*(folder / "phases").glob("*.png")]
    assert_same(read(folder / "phases"), wanted)


def test_array_script_asks_for_what_the_page_says() -> None:
    script = block("array.sh")
    [last] = re.findall(r"--array=0-(\d+)", script)
    [size] = re.findall(r"CHUNKS_PER_JOB:-(\d+)", script)
    [chunks] = re.findall(r"(\d+) chunks`", PAGE)
    assert (int(last) + 1) * int(size) == int(chunks)
    assert "--cpus-per-task=1\n" in script


def test_page_shows_the_job_script_of_its_example(folder: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    scheduler = {"host": "127.0.0.1", "dashboard_address": ":0"}
    names: dict = {}
    exec(block("cluster.py"), names)
    with names["start"](scheduler_options=scheduler) as cluster:
        script = cluster.job_script()
    [shown] = [body for language, body in BLOCKS if language == "text"]
    script = re.sub(
        r"tcp://[\d.]+:\d+", "tcp://HOST:PORT", script.replace(sys.executable, "PYTHON")
    )
    assert script.strip() == shown.strip()
    for words in ("--nthreads 1 ", "--nworkers 16 ", "export OMP_NUM_THREADS=1\n"):
        assert words in script


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_sweep_on_a_queue(folder: Path, wanted: xr.Dataset) -> None:
    """One job of two workers, through `sbatch` and `scancel` of this test."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    script = folder / "dask_sweep.py"
    text = script.read_text().replace("jobs, workers = 4, 16", "jobs, workers = 1, 2")
    local = 'start(workers, scheduler_options={"host": "127.0.0.1", "dashboard_address": ":0"})'
    script.write_text(text.replace("start(workers)", local))
    assert local in script.read_text()
    command = [sys.executable, str(script), *TINY]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "figures beside it" in done.stdout
    assert (folder / "worker.log").exists()
    assert_same(read(folder / "phases"), wanted)
