"""Progress with an estimate of the time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

__all__ = ["Progress", "ShareProgress", "duration"]


def duration(seconds: float) -> str:
    """Seconds in words: ``4.2 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Report finished steps to `stream` (standard error by default).

    Use as a context manager; call `done` after each step. Steps that were found in the store
    count as finished but not towards the estimate of the time left. With several `workers` the
    steps run side by side.
    """

    def __init__(self, total: int, stream: TextIO | None = None, *, workers: int = 1) -> None:
        self.total = total
        self.workers = workers
        self.stream = sys.stderr if stream is None else stream
        self.finished = 0
        self._worked = 0
        self._seconds = 0.0
        terminal = self.stream.isatty()
        self._bar = tqdm(total=total, file=self.stream, unit="part") if terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def done(self, label: str, seconds: float | None) -> None:
        """Count one step that took `seconds`, or None if it was found in the store."""
        self.finished += 1
        if seconds is not None:
            self._worked += 1
            self._seconds += seconds
        if self._bar is not None:
            self._bar.set_description(label, refresh=False)
            self._bar.update()
            return
        took = "stored" if seconds is None else duration(seconds)
        self.say(f"[{self.finished}/{self.total}] {label}: {took}{self._left()}")

    def say(self, line: str) -> None:
        """Write one line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(line, file=self.stream)
        else:
            print(line, file=self.stream, flush=True)

    def _left(self) -> str:
        remaining = self.total - self.finished
        if remaining == 0 or self._worked == 0:
            return ""
        left = remaining * self._seconds / self._worked / self.workers
        return f", about {duration(left)} left"


class ShareProgress:
    """Report the share of one long computation, as a callable for its ``progress`` argument.

    Without a terminal it writes a line at most every two seconds.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self._start = self._said = time.perf_counter()
        form = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
        terminal = self.stream.isatty()
        self._bar = tqdm(total=1.0, file=self.stream, bar_format=form) if terminal else None

    def __enter__(self) -> ShareProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, share: float) -> None:
        """Tell that `share` of the work, between 0 and 1, is done."""
        if self._bar is not None:
            self._bar.update(share - self._bar.n)
            return
        now = time.perf_counter()
        if 0 < share < 1 and now - self._said >= 2:
            self._said = now
            left = duration((now - self._start) * (1 - share) / share)
            print(f"{100 * share:.0f} % done, about {left} left", file=self.stream, flush=True)
