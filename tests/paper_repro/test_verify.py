"""``warmflow verify``: certificates stored one by one, a page to read, and honest exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warmflow.analysis import theorems
from warmflow.dynamics import LeastSquares
from warmflow.paper_repro import cli
from warmflow.paper_repro.verification import drawings


def verify(*args: object) -> int:
    try:
        return cli.main(["verify", *map(str, args)])
    except SystemExit as end:
        return int(end.code or 0)


def certificates(out: Path) -> dict[str, dict]:
    document = json.loads((out / "verify.json").read_text())
    return {entry["name"]: entry for entry in document["certificates"]}


def test_certificates_page_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "v"
    assert verify("--theorem", "i5", "I1", "--out", out, "-j", 1) == 0
    captured = capsys.readouterr()
    assert "2 of 2 certificates pass" in captured.out
    assert "I5    Midpoint rule" in captured.out
    assert "[2/2] I5 holds" in captured.err
    found = certificates(out)
    assert list(found) == ["I1", "I5"]
    for name, entry in found.items():
        assert entry["passed"] is True
        assert entry["statement"] == theorems.statement(name).text
        assert entry["provenance"]["config"] == {"statement": name, "quick": True}
        assert json.loads((out / name / "data.json").read_text())["errors"]
    page = (out / "VERIFY.md").read_text()
    assert page.startswith("# The theory, verified\n\n2 of 2 certificates pass.")
    assert theorems.statement("I5").text in page
    for check in found["I5"]["details"]["checks"]:
        assert f"{check['observed']:.4g}" in page
        assert check["why"] in page


def test_a_later_run_adds_to_the_folder_and_replaces_what_it_repeats(tmp_path: Path) -> None:
    out = tmp_path / "v"
    assert verify("--theorem", "I1", "I5", "--out", out, "-j", 1) == 0
    before = certificates(out)
    assert verify("--theorem", "I5", "I4", "--out", out, "-j", 1) == 0
    after = certificates(out)
    assert set(after) == {"I1", "I4", "I5"}
    assert after["I1"] == before["I1"]
    assert after["I5"]["details"]["seconds"] != before["I5"]["details"]["seconds"]
    assert "3 of 3 certificates pass" in (out / "VERIFY.md").read_text()


def test_a_failed_certificate_sets_the_exit_code_and_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = LeastSquares.per_sample_losses
    monkeypatch.setattr(LeastSquares, "per_sample_losses", lambda *a: 1.001 * whole(*a))
    assert verify("--theorem", "I5", "I1", "--out", tmp_path / "v", "-j", 1) == 1
    captured = capsys.readouterr()
    assert "1 of 2 certificates pass" in captured.out
    assert "failed: I5 fails: Midpoint rule" in captured.err
    assert "FAIL difference of both sides" in captured.err
    page = (tmp_path / "v" / "VERIFY.md").read_text()
    assert "1 of 2 certificates pass; these do not: I5." in page
    assert "**NO**" in page


def test_an_error_is_reported_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: object) -> None:
        raise FloatingPointError("planted")

    monkeypatch.setattr(LeastSquares, "per_sample_losses", broken)
    assert verify("--theorem", "I5", "--out", tmp_path / "v", "-j", 1) == 1
    assert "FloatingPointError: planted" in capsys.readouterr().err
    assert "FloatingPointError: planted" in (tmp_path / "v" / "VERIFY.md").read_text()
    assert certificates(tmp_path / "v")["I5"]["observed"] is None


def test_folders_of_others_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    assert verify("--theorem", "I5", "--out", tmp_path / "mine") == 2
    assert "the folder is not empty" in capsys.readouterr().err
    assert verify("--theorem", "I5", "--out", tmp_path / "v", "-j", 1) == 0
    capsys.readouterr()
    assert verify("--theorem", "I5", "--full", "--out", tmp_path / "v") == 2
    assert "holds a --quick verification" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"variant": "quick"}', '{"variant": "quick", "certificates": [{}]}',
     '{"variant": "quick", "certificates": [{"name": "I5"}]}'],
)  # fmt: skip
def test_a_damaged_folder_is_refused_in_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "verify.json").write_text(text)
    assert verify("--theorem", "I5", "--out", tmp_path) == 2
    captured = capsys.readouterr().err
    assert "damaged" in captured
    assert len(captured.splitlines()) == 1
    assert (tmp_path / "verify.json").read_text() == text


def test_data_that_the_user_removed_do_not_spoil_a_later_run(tmp_path: Path) -> None:
    assert verify("--theorem", "I5", "--out", tmp_path / "v", "-j", 1) == 0
    (tmp_path / "v" / "I5" / "data.json").unlink()
    assert verify("--theorem", "I4", "--out", tmp_path / "v", "-j", 1) == 0
    assert "2 of 2 certificates pass" in (tmp_path / "v" / "VERIFY.md").read_text()


def test_the_option_adds_up_when_it_is_repeated(tmp_path: Path) -> None:
    out = tmp_path / "v"
    assert verify("--theorem", "I1", "--theorem", "I5", "--out", out, "-j", 1) == 0
    assert set(certificates(out)) == {"I1", "I5"}


def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(theorems, "missing_library", lambda name: "needs a library")
    assert verify("--theorem", "R1", "--out", tmp_path / "v") == 2
    assert capsys.readouterr().err == "warmflow verify: error: --theorem R1: needs a library\n"
    monkeypatch.setattr(theorems, "NAMES", ("R1", "I5"))
    monkeypatch.setattr(
        theorems, "missing_library", lambda name: "needs a library" if name == "R1" else None
    )
    assert verify("--out", tmp_path / "v", "-j", 1) == 0
    assert "left out: R1, which needs a library" in capsys.readouterr().err
    assert list(certificates(tmp_path / "v")) == ["I5"]


def test_figures_and_formulas_stand_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = drawings.Picture(
        lambda certificate, ax: ax.plot(certificate.details["data"]["errors"]), "The caption."
    )
    monkeypatch.setattr(drawings, "PICTURES", {"I5": {"errors": picture}})
    assert verify("--theorem", "I5", "--out", tmp_path / "v", "-j", 1) == 0
    assert {path.suffix for path in (tmp_path / "v" / "I5").iterdir()} == {".json", ".png", ".pdf"}
    page = (tmp_path / "v" / "VERIFY.md").read_text()
    assert "![errors](I5/errors.png)\n\nThe caption." in page


def test_every_statement_with_figures_exists() -> None:
    assert set(drawings.PICTURES) <= set(theorems.NAMES)


def test_statements_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(theorems.NAMES)


def test_interrupted_in_the_middle_keeps_what_is_done(tmp_path: Path) -> None:
    """Two processes: one certificate is stored, then Ctrl-C; nothing hangs, nothing is lost."""
    program = "import sys; from warmflow.paper_repro.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-W", "error", "-c", program, "verify", "--full", "-j", "2"]
    process = subprocess.Popen(
        [*command, "--theorem", "I5", "T8", "T3", "--out", "v"], cwd=tmp_path, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / "v" / "verify.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    began = time.monotonic()
    try:
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert time.monotonic() - began < 30
    assert "Traceback" not in errors
    assert "1 of 1 certificates pass" in (tmp_path / "v" / "VERIFY.md").read_text()
    last = errors.splitlines()[-1]
    assert last.endswith("Go on with: warmflow verify --full --out v --theorem T3 T8")
    assert list(certificates(tmp_path / "v")) == ["I5"]


def interrupted(*args: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_rerun_names_what_this_run_did_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where an earlier run left certificates of the same names."""
    out = tmp_path / "v"
    assert verify("--theorem", "I1", "I5", "--out", out, "-j", 1) == 0
    monkeypatch.setattr(LeastSquares, "per_sample_losses", interrupted)
    assert verify("--theorem", "I1", "I5", "--out", out, "-j", 1) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith("--theorem I5")
    assert set(certificates(out)) == {"I1", "I5"}


def test_interrupted_before_anything_is_done_the_folder_can_be_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(LeastSquares, "per_sample_losses", interrupted)
        assert verify("--theorem", "I5", "--out", tmp_path / "v", "-j", 1) == 130
    assert verify("--theorem", "I5", "--out", tmp_path / "v", "-j", 1) == 0
