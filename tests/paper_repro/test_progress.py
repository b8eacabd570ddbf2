"""Progress: plain lines with an estimate of the time left."""

import io
from types import SimpleNamespace

import pytest

from warmflow.paper_repro.progress import Progress, ShareProgress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with Progress(4, stream) as progress:
        progress.done("a", 2.0)
        progress.done("b", None)
        progress.done("c", 4.0)
        progress.done("d", 0.0)
    assert stream.getvalue().splitlines() == [
        "[1/4] a: 2.0 s, about 6.0 s left",
        "[2/4] b: stored, about 4.0 s left",
        "[3/4] c: 4.0 s, about 3.0 s left",
        "[4/4] d: 0.0 s",
    ]


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    with Progress(2, stream) as progress:
        progress.done("first", 1.0)
        progress.say("a line")
        progress.done("second", 1.0)
    text = stream.getvalue()
    assert "2/2" in text
    assert "second" in text
    assert "a line" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min 00 s"),
        (125, "2 min 05 s"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_share_is_told_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 3.0, 4.0, 8.0])
    monkeypatch.setattr(
        "warmflow.paper_repro.progress.time", SimpleNamespace(perf_counter=lambda: next(clock))
    )
    stream = io.StringIO()
    with ShareProgress(stream) as progress:
        for share in (0.1, 0.2, 0.3, 0.5, 1.0):
            progress(share)
    assert stream.getvalue().splitlines() == [
        "20 % done, about 8.0 s left",
        "50 % done, about 4.0 s left",
    ]


def test_a_share_is_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    with ShareProgress(stream) as progress:
        progress(0.5)
        progress(1.0)
    assert "100%" in stream.getvalue()
