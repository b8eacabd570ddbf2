"""The same numbers from all executors and any chunks; killed workers cost nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from warmflow.dynamics import sweep
from warmflow.dynamics.jobs import Pool, as_pool
from warmflow.dynamics.sweeps.axes import make_grid
from warmflow.dynamics.sweeps.settings import check_settings
from warmflow.dynamics.sweeps.stored import open_sweep

from ._grids import ALPHA, BETA, COMMON, assert_same, classes, read, stored, toy

SETTINGS = check_settings(
    dt=1.0, num_steps=20, save_steps=10, backend="auto", dtype="float64", keep_weights=False,
    thresholds=(1e-3, 1e-6, 1e-12), max_bytes=2e9, theta0=None, w0=None, method=None,
    geometry=None, seed=0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def workers_find_this_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spawned processes import what they unpickle by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3])


def opened(root: Path, problem=None, cells: int | None = None, **options):
    grid = make_grid(problem or toy(), ALPHA, BETA, None, SETTINGS)
    return open_sweep(root, grid, SETTINGS, cells_per_unit=cells, **options)


@pytest.mark.parametrize("cells", [1, 4, 7, 12, 1000])
def test_chunks_change_no_bit(tmp_path: Path, cells: int) -> None:
    sweep_ = opened(tmp_path, cells=cells)
    sweep_.run(Pool())
    assert sweep_.num_units == {1: 30, 4: 10, 7: 5, 12: 3, 1000: 1}[cells]
    assert_same(read(tmp_path), sweep(toy(), **COMMON))


def test_chunks_of_other_engines_agree_to_round_off(tmp_path: Path) -> None:
    """Matrix products round a cell differently beside other cells."""
    options = {"alpha": ALPHA, "beta": BETA, "num_steps": 20}
    wanted = sweep(classes(), **options)
    found = sweep(classes(), store=tmp_path, **options)
    for name in ("theta", "ess", "outer_loss"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-10)


@pytest.mark.parametrize("problem", [toy(), classes()], ids=["compiled", "iterative"])
def test_processes_and_threads_give_the_same_bits(tmp_path: Path, problem) -> None:
    results = {}
    with ThreadPoolExecutor(3) as threads:
        for name, executor in (("serial", None), ("processes", "processes"), ("own", threads)):
            one = opened(tmp_path / name, problem)
            outcome = one.run(as_pool(executor, workers=2))
            assert outcome.missing == 0
            results[name] = read(tmp_path / name)
    assert_same(results["processes"], results["serial"])
    assert_same(results["own"], results["serial"])


@pytest.mark.slow
def test_dask_gives_the_same_bits_and_survives_a_killed_worker(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    wanted = sweep(toy(), **COMMON)
    assert_same(sweep(toy(), executor="dask", **COMMON), wanted)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pool = Pool("dask", scheduler=cluster.scheduler_address)
        pids = client.run(os.getpid)
        one = opened(tmp_path / "d", cells=1)
        killed: list[int] = []

        def tell(report) -> None:
            if not killed:
                killed.append(next(iter(pids.values())))
                os.kill(killed[0], signal.SIGKILL)

        outcome = one.run(pool, tell=tell)
    assert killed
    assert (outcome.missing, len(outcome.failed)) == (0, 0)
    assert_same(read(tmp_path / "d"), wanted)


@pytest.mark.slow
def test_a_killed_process_costs_nothing(tmp_path: Path) -> None:
    one = opened(tmp_path, cells=1)
    killed: list[int] = []

    def tell(report) -> None:
        if len(killed) < 2:
            marks = one.folder.marks
            running = [marks.running(name) for name in marks.names("running")]
            # The mark of a process that was killed stays until its unit is done elsewhere.
            pids = [facts["pid"] for facts in running if facts and facts["pid"] not in killed]
            if pids:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

    outcome = one.run(Pool("processes", 2), tell=tell)
    assert killed
    assert (outcome.missing, len(outcome.failed)) == (0, 0)
    assert_same(read(tmp_path), sweep(toy(), **COMMON))


class Deadly:
    """Makes a problem, but not in a worker: there it kills its process."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __call__(self, seed: int):
        if os.getpid() != self.home and seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return toy(seed)


@pytest.mark.slow
def test_a_chunk_that_kills_its_processes_is_given_up(tmp_path: Path) -> None:
    options = {"alpha": [0.05], "beta": [0.1], "num_steps": 3, "axes": {"seed": [0, 1, 2]}}
    with pytest.warns(UserWarning, match="1 chunks failed: .*seed 1.*killed 3 times"):
        ds = sweep(Deadly(), store=tmp_path, executor=Pool("processes", 1), **options)
    np.testing.assert_array_equal(ds["status"].values.ravel(), [0, -1, 0])


def test_a_broken_executor_of_the_caller_is_reported(tmp_path: Path) -> None:
    options = {"alpha": [0.05], "beta": [0.1], "num_steps": 3, "axes": {"seed": [0, 1]}}
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own,
        pytest.raises(RuntimeError, match="processes of the executor died; what was done is"),
    ):
        sweep(Deadly(), store=tmp_path, executor=own, **options)


def test_what_cannot_be_sent_is_refused_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    from warmflow.dynamics.jobs import published

    monkeypatch.setattr(published, "_pickler", lambda: pickle)
    options = {"alpha": [0.05], "beta": [0.1], "num_steps": 3, "axes": {"seed": [0]}}
    with pytest.raises(ValueError, match=r"`problem` must be picklable .* use `executor='serial'`"):
        sweep(lambda seed: toy(seed), store=tmp_path, executor="processes", **options)
    sweep(lambda seed: toy(seed), store=tmp_path, resume=True, **options)


def test_a_changed_job_is_not_unpickled(tmp_path: Path) -> None:
    from warmflow.dynamics.jobs.published import publish

    reference = publish(opened(tmp_path).job)
    [path] = (tmp_path / "units").glob("*.pickle")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="was changed meanwhile"):
        reference.load()


def test_workers_use_one_thread() -> None:
    import threadpoolctl

    with Pool("processes", 1).open() as executor:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        assert [executor.submit(os.getenv, name).result() for name in names] == ["1"] * 3
        info = executor.submit(threadpoolctl.threadpool_info).result()
        assert all(library["num_threads"] == 1 for library in info)


def test_wrong_executors() -> None:
    with pytest.raises(ValueError, match="`executor` must be one of 'serial', 'processes', 'dask'"):
        sweep(toy(), alpha=[0.1], beta=[0.1], executor="threads")
    with pytest.raises(TypeError, match="`executor` must have a method submit; got int"):
        sweep(toy(), alpha=[0.1], beta=[0.1], executor=3)
    with pytest.raises(ValueError, match="`store` must be given with `resume`"):
        sweep(toy(), alpha=[0.1], beta=[0.1], resume=True)
    with pytest.raises(TypeError, match="`store` must be a path; got 3"):
        sweep(toy(), alpha=[0.1], beta=[0.1], store=3)


def test_two_runs_on_one_folder_share_the_work(tmp_path: Path) -> None:
    """Both see each other's chunks; nothing is corrupted, little is done twice."""
    stored_sweeps = [opened(tmp_path, cells=1), opened(tmp_path, cells=1, resume=True)]
    outcomes = []
    threads = [
        threading.Thread(target=lambda one=one: outcomes.append(one.run(Pool())))
        for one in stored_sweeps
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.failed for outcome in outcomes] == [[], []]
    done = [sum(r.outcome == "done" for r in outcome.reports) for outcome in outcomes]
    assert 30 <= sum(done) <= 40
    assert min(done) > 0
    assert_same(read(tmp_path), sweep(toy(), **COMMON))


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from stored._grids import COMMON, toy
from warmflow.dynamics import sweep
sweep(toy(), store=sys.argv[2], resume=True, **COMMON | {"num_steps": 20000, "save_steps": 10000})
"""


@pytest.mark.slow
def test_two_processes_start_at_once_and_one_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "both"
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(root)]
    both = [subprocess.Popen(command) for _ in range(2)]
    limit = time.monotonic() + 120
    while not list((root / "units").glob("*.json")) and time.monotonic() < limit:
        time.sleep(0.02)
    both[0].kill()
    both[0].wait()
    assert both[1].wait(timeout=300) == 0
    options = COMMON | {"num_steps": 20000, "save_steps": 10000}
    assert_same(read(root), sweep(toy(), **options))
    assert_same(stored(root, resume=True, **options), read(root))
