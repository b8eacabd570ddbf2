"""Options that several commands share, and the types that check them."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data import Data

__all__ = [
    "LogGrid", "Values", "add_data_options", "add_executor", "add_out", "add_variant",
    "check_executor", "fraction", "load_data", "natural", "non_negative", "positive",
    "resumed_command", "values_of",
]  # fmt: skip


def positive(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be finite and above 0")
    return value


def non_negative(text: str) -> float:
    """A finite number, at least 0."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be finite and at least 0")
    return value


def fraction(text: str) -> float:
    """A number between 0 and 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must lie between 0 and 1")
    return value


def natural(text: str) -> int:
    """A whole number, at least 1."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} must be at least 1")
    return value


def _seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} must be at least 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


class LogGrid:
    """A logarithmic grid ``A:B:COUNT``, or one value ``A``."""

    def __init__(self, text: str) -> None:
        parts = text.split(":")
        if len(parts) == 1:
            parts = [text, text, "1"]
        if len(parts) != 3:
            raise argparse.ArgumentTypeError(f"{text!r} is not A:B:COUNT, such as 1e-3:1:25")
        self.text = text
        self.low, self.high = positive(parts[0]), positive(parts[1])
        self.count = natural(parts[2])
        if self.low > self.high or (self.count == 1) != (self.low == self.high):
            raise argparse.ArgumentTypeError(
                f"{text!r} must have A < B and a COUNT of at least 2, or be a single value"
            )

    def __str__(self) -> str:
        return self.text

    def values(self) -> NDArray[np.float64]:
        """The points of the grid."""
        import numpy as np

        return np.geomspace(self.low, self.high, self.count)


class Values:
    """One value; or an axis: values ``A,B,...``, or a logarithmic grid ``A:B:COUNT``.

    Parameters
    ----------
    kind : callable
        Turns the text of one value into a number, or complains.
    """

    def __init__(self, text: str, kind: Callable[[str], Any]) -> None:
        self.text = text
        self.is_axis = "," in text or ":" in text
        if ":" in text:
            self.values = [kind(f"{value:.17g}") for value in LogGrid(text).values()]
        else:
            self.values = [kind(part) for part in text.split(",") if part.strip()]
        if not self.values:
            raise argparse.ArgumentTypeError(f"{text!r} holds no value")
        if len({*self.values}) < len(self.values):
            raise argparse.ArgumentTypeError(f"{text!r} holds a value twice")

    def __str__(self) -> str:
        return self.text

    @property
    def single(self) -> Any:
        """The first value."""
        return self.values[0]


def values_of(kind: Callable[[str], Any]) -> Callable[[str], Values]:
    """Return a type of option: values of one kind."""

    def parse(text: str) -> Values:
        return Values(text, kind)

    return parse


def add_data_options(parser: argparse.ArgumentParser, *, axes: bool = False) -> None:
    """Declare what is asked about data and problem; with ``axes``, several values are an axis."""

    def one_or_more(kind: Callable[[str], Any]) -> Callable[[str], Any]:
        return values_of(kind) if axes else kind

    more = "; A,B,... or A:B:COUNT make it an axis" if axes else ""
    parser.add_argument(
        "--data", required=True, metavar="DATA", default=argparse.SUPPRESS,
        help="toy, digits, an .npz archive, TRAIN.csv,VAL.csv, or a folder of IDX or CSV files",
    )  # fmt: skip
    parser.add_argument(
        "--problem", choices=("least-squares", "softmax"), default=None,
        help="by default softmax where the targets are integers",
    )  # fmt: skip
    parser.add_argument(
        "--ridge", type=one_or_more(non_negative), default="1e-3", metavar="R",
        help="l2 penalty of theta" + more,
    )  # fmt: skip
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="root seed of the data")
    parser.add_argument(
        "--corruption", type=one_or_more(fraction), default="0.0", metavar="Q",
        help="share of the training labels to redraw uniformly over all classes" + more,
    )  # fmt: skip


def add_variant(parser: argparse.ArgumentParser, quick: str, full: str) -> None:
    """Declare --quick and --full with their help texts; ``args.variant`` is None for neither."""
    variant = parser.add_mutually_exclusive_group()
    for name, text in (("quick", f"{quick} (the default)"), ("full", full)):
        variant.add_argument(
            f"--{name}", dest="variant", action="store_const", const=name, help=text
        )


def add_out(parser: argparse.ArgumentParser) -> None:
    """Declare the output folder."""
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", default=argparse.SUPPRESS,
        help="a new or empty folder for everything that is written",
    )  # fmt: skip


def add_executor(parser: argparse.ArgumentParser, units: str) -> None:
    """Declare who computes the ``units``."""
    parser.add_argument(
        "--executor", choices=("processes", "serial", "dask"), default=None,
        help=f"who computes the {units}; by default processes where the work is long",
    )  # fmt: skip
    parser.add_argument(
        "-j", "--jobs", type=natural, metavar="N", help="processes; by default one for each core"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="a running dask scheduler, for --executor dask"
    )


def check_executor(args: argparse.Namespace) -> None:
    """Refuse a scheduler for another executor."""
    if args.scheduler is not None and args.executor not in (None, "dask"):
        raise UserError(f"--scheduler needs --executor dask; got {args.executor}")


def resumed_command(*, adds: bool = True) -> str:
    """Return the command that was given, with ``--resume`` where it ``adds`` that."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    return shlex.join(["warmflow", *words, *(["--resume"] if adds else [])])


def load_data(args: argparse.Namespace) -> Data:
    """Load what `add_data_options` asked for."""
    from ..data import Request, load

    return load(
        Request(source=args.data, kind=args.problem, seed=args.seed, fraction=args.corruption)
    )
