"""The command line: one line and exit code 2 for every fault of the user."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import warmflow
from warmflow.paper_repro import cli, registry


def run(*args: object) -> int:
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as end:
        return int(end.code or 0)


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"warmflow {warmflow.__version__}\n"
    for command in ("reproduce", "run", "compare", "verify", "sweep", "status", "diagnose"):
        assert run(command, "--help") == 0
        assert f"usage: warmflow {command}" in capsys.readouterr().out


def test_every_option_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.build_parser()
    commands = parser._subparsers._group_actions[0].choices
    assert {*commands} == {
        "reproduce", "run", "compare", "verify", "sweep", "status", "diagnose",
    }  # fmt: skip
    for command in commands.values():
        assert all(action.help for action in command._actions)


GRID = ["--data", "toy", "--out", "DIR"]
FAULTS = [
    ([], r"the following arguments are required: COMMAND"),
    (["fly"], "invalid choice: 'fly'"),
    (["reproduce", "--quik"], "unrecognized arguments: --quik"),
    (["reproduce", "--quick", "--full"], "not allowed with argument --quick"),
    (["reproduce", "--only", "nothing"], "--only nothing: no such item; the items are toy"),
    (["verify", "--theorem", "T99"], "--theorem must be among T1, .*; got 'T99'"),
    (["verify", "--theorem"], "--theorem: expected at least one argument"),
    (["verify", "--quick", "--full"], "not allowed with argument --quick"),
    (["verify", "--theorem", "I5", "-j", "0"], "-j/--jobs: 0 must be at least 1"),
    (["run", "--out", "x"], "required: --data"),
    (["run", "--data", "toy"], "required: --out"),
    (["run", "--data", "no.npz", "--out", "DIR"], "no.npz: no such file or folder"),
    (["run", *GRID, "--alpha", "0"], "--alpha: 0 must be finite and above 0"),
    (["run", *GRID, "--beta", "x"], "--beta: 'x' is not a number"),
    (["run", *GRID, "--beta", "1", "--ratio", "2"], "not allowed with argument"),
    (["run", *GRID, "--t-end", "nan"], "--t-end: nan must be finite"),
    (["run", *GRID, "--ridge", "-1"], "--ridge: -1 must be finite and at least 0"),
    (["run", *GRID, "--seed", "-1"], "--seed: -1 must be at least 0"),
    (["run", *GRID, "--seed", "1.5"], "--seed: '1.5' is not a whole number"),
    (["run", *GRID, "--corruption", "2"], "--corruption: 2 must lie between 0 and 1"),
    (["run", *GRID, "--corruption", "0.5"], "--corruption 0.5 needs class labels"),
    (["run", *GRID, "--problem", "softmax"], "leave --problem softmax out"),
    (["run", *GRID, "--rtol", "5"], r"`rtol` must lie in \[1e-13, 1\); got 5.0"),
    (["run", *GRID, "--max-evaluations", "0"], "--max-evaluations: 0 must be at least 1"),
    (["sweep", *GRID, "--alpha", "1:2"], "'1:2' is not A:B:COUNT"),
    (["sweep", *GRID, "--alpha", "2:1:5"], "must have A < B"),
    (["sweep", *GRID, "--alpha", "1:2:1"], "COUNT of at least 2"),
    (["sweep", *GRID, "--alpha", "0:2:3"], "0 must be finite and above 0"),
    (["sweep", *GRID, "--steps", "0"], "--steps: 0 must be at least 1"),
    (["sweep", *GRID, "--backend", "abacus"], "invalid choice: 'abacus'"),
    (["diagnose", "nowhere.npy"], "nowhere.npy: no such file or folder"),
]


@pytest.mark.parametrize(("args", "message"), FAULTS, ids=lambda value: " ".join(value)[:40])
def test_faults_end_with_one_line_and_code_2(
    args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(*[str(out) if arg == "DIR" else arg for arg in args]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warmflow")
    assert re.search(message, lines[0])


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_filled_folder_is_refused_before_work(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").write_text("mine")
    assert run(command, "--data", "toy", "--out", tmp_path) == 2
    assert "the folder is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").write_text("mine")
    assert run("reproduce", "--only", "toy", "--out", tmp_path) == 2
    assert "an earlier reproduction to go on with" in capsys.readouterr().err


def test_unavailable_backend_gives_its_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ValueError("`backend` 'cupy' is not available here;\nuse `--backend numpy`.")

    monkeypatch.setattr("warmflow.dynamics.backend.resolve", refuse)
    assert run("sweep", "--data", "toy", "--out", tmp_path / "o", "--backend", "cupy") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines == [
        "warmflow sweep: error: --backend 'cupy' is not available here; use `--backend numpy`."
    ]


def test_list_names_items_with_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("reproduce", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*registry.NAMES]
    assert lines[0].startswith("toy")
    extra = {line.split()[0] for line in lines if "with --only" in line}
    assert extra == {*registry.EXTRA}
    assert all("quick about" in line and "full about" in line for line in lines)


def test_interruption_of_a_command_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("warmflow.dynamics.integrate", stop)
    assert run("run", "--data", "toy", "--out", tmp_path / "o") == 130
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "give the same command again" in lines[0]
    monkeypatch.undo()
    assert run("run", "--data", "toy", "--out", tmp_path / "o", "--t-end", "0.1") == 0


def test_a_closed_pipe_is_no_crash() -> None:
    program = "import sys; from warmflow.paper_repro.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "reproduce", "--list"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_run_writes_trajectory_figures_and_diagnosis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from warmflow.dynamics.storage.datasets import read_dataset

    out = tmp_path / "fast"
    assert run("run", "--data", "toy", "--out", out, "--ratio", 100, "--t-end", 5) == 0
    shown = capsys.readouterr().out
    assert "verdict: collapsed" in shown
    assert "status: ok" in shown
    ds = read_dataset(out / "trajectory.zarr")
    assert float(ds["time"][-1]) == 5.0
    np.testing.assert_allclose(ds["w"].sum("sample"), 1.0)
    found = json.loads((out / "diagnosis.json").read_text())
    assert found["verdict"] == "collapsed"
    assert found["evidence"]["ess"] == pytest.approx(float(ds["ess"][-1]))
    assert (found["evidence"]["alpha"], found["evidence"]["beta"]) == (1.0, 100.0)
    assert {path.stem for path in out.glob("*.png")} == {
        "weights_over_time", "spectrum", "observables",
    }  # fmt: skip
    assert run("diagnose", out) == 0
    again = capsys.readouterr().out
    assert "verdict: collapsed" in again
    assert "beta: 100" in again


def test_run_takes_beta_or_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmflow.paper_repro.artefacts.save_drawing", lambda *args, **kw: [])
    ends = []
    for name, options in (("a", ["--alpha", 2, "--beta", 6]), ("b", ["--alpha", 2, "--ratio", 3])):
        assert run("run", "--data", "toy", "--out", tmp_path / name, "--t-end", 1, *options) == 0
        ends.append(json.loads((tmp_path / name / "diagnosis.json").read_text())["evidence"])
    assert ends[0] == ends[1]
    assert ends[0]["beta"] == 6.0


def test_run_that_does_not_end_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run("run", "--data", "toy", "--out", tmp_path / "o", "--max-evaluations", 20)
    assert code == 1
    assert "status: max_evaluations" in capsys.readouterr().out


COLLAPSED = np.r_[1.0, np.full(99, 1e-9)]


def test_diagnose_reads_npy_and_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "w.npy", COLLAPSED)
    np.savetxt(tmp_path / "column.csv", COLLAPSED, header="w", comments="")
    np.savetxt(tmp_path / "row.csv", COLLAPSED[None, :], delimiter=",")
    shown = []
    for name in ("w.npy", "column.csv", "row.csv"):
        assert run("diagnose", tmp_path / name) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0].startswith("verdict: collapsed")
    assert "  num samples: 100\n" in shown[0]
    assert shown[0] == shown[1] == shown[2]


def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.csv").write_text("hello\nworld\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "w.txt").write_text("1\n")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "strings.npy", np.array(["a"]))
    np.save(tmp_path / "matrix.npy", np.ones((2, 2)))
    np.save(tmp_path / "negative.npy", np.array([1.0, -1.0]))
    np.save(tmp_path / "nan.npy", np.array([1.0, np.nan]))
    (tmp_path / "folder").mkdir()
    return {path.name: path for path in tmp_path.iterdir()}


UNFIT = [
    ("empty.npy", "does not hold numbers"),
    ("text.csv", "does not hold numbers"),
    ("empty.csv", "holds no numbers"),
    ("w.txt", "weights must be .npy or .csv"),
    ("objects.npy", "does not hold numbers"),
    ("strings.npy", "must hold one array of real numbers"),
    ("matrix.npy", r"one row or one column; got shape \(2, 2\)"),
    ("negative.npy", "must be"),
    ("nan.npy", "must be|finite"),
    ("folder", r"not a folder of `warmflow run` \(no diagnosis.json\)"),
]


@pytest.mark.parametrize(("name", "message"), UNFIT)
def test_unfit_weights_are_explained(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("diagnose", files(tmp_path)[name]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0])


def test_a_cure_in_python_is_told_as_an_option() -> None:
    from warmflow.paper_repro.errors import UserError
    from warmflow.paper_repro.faults import faults_of_user

    refused = pytest.raises(UserError, match=r"^`ridge` is off; use `--backend numpy`\.$")
    with refused, faults_of_user():
        raise ValueError("`ridge` is off; use `backend='numpy'`.")
