"""The command line: ``warmflow COMMAND ...``.

Only the standard library is imported here, so that ``--help`` answers at once; each command
imports what it needs when it runs. Faults of the user end with exit code 2 and one line on
standard error.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import NoReturn

from .errors import UserError

__all__ = ["main"]

_COMMANDS = {
    "reproduce": "reproduce the figures and numbers of arXiv 2310.17386",
    "run": "integrate one trajectory, draw it and diagnose its weights",
    "verify": "verify every statement of the theory, with a certificate for each",
    "sweep": "sweep the speeds alpha and beta over a grid",
    "compare": "compare methods at equal budgets of oracle calls and equal ratios of speeds",
    "status": "show how far a sweep, a comparison or a reproduction is, from another shell",
    "diagnose": "say whether weights collapsed, why, and what helps",
}
_DESCRIPTION = (
    "Integrate, sweep, explain and reproduce the warm-started dynamics of bilevel data reweighting."
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Write one line on standard error and exit with code 2."""
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {line} (see {self.prog} --help)\n")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that states a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def build_parser() -> Parser:
    """Make the parser of all commands."""
    from .. import __version__

    parser = Parser(prog="warmflow", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"warmflow {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".",
            allow_abbrev=False, formatter_class=Help,
        )  # fmt: skip
        module = import_module(f".commands.{name}", __package__)
        module.add_arguments(command)
        command.set_defaults(execute=module.execute)
    return parser


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C inside the block: what is done is stored, and nobody is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0: done; 1: done, but something failed on the way; 2: a fault of the user, explained in one
    line; 130: interrupted.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    execute: Callable[[argparse.Namespace], int] = args.execute
    try:
        with _termination_interrupts():
            return execute(args)
    except UserError as error:
        print(f"warmflow {args.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        line = "interrupted before anything was written; give the same command again"
        print(f"warmflow {args.command}: {line}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (such as `head`) went away: nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
