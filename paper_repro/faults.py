"""Where arguments of the library come from the command line, its complaints go to the user."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .errors import UserError

__all__ = ["faults_of_user", "in_options"]


def in_options(message: str, options: Mapping[str, str] | None = None) -> str:
    """Return a message of the library in the words of the command line.

    A cure of the form ``backend='numpy'`` becomes the option that it stands for; ``options`` has
    those of other arguments.
    """
    message = re.sub(r"`(\w+)='(\w+)'`", r"`--\1 \2`", message)
    names = options or {}
    return re.sub(r"`([\w=]+)`", lambda found: names.get(found[1], found[0]), message)


@contextmanager
def faults_of_user(options: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turn errors about arguments inside the block into `UserError`.

    The library checks all arguments before it works and names the one at fault.
    """
    from ..dynamics import ConvergenceError

    try:
        yield
    except (ValueError, TypeError, MemoryError, ConvergenceError, ImportError) as error:
        raise UserError(in_options(str(error), options) or type(error).__name__) from error
