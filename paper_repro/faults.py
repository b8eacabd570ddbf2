"""Where arguments of the library come from the command line, its complaints go to the user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import UserError

__all__ = ["faults_of_user"]


@contextmanager
def faults_of_user() -> Iterator[None]:
    """Turn errors about arguments inside the block into `UserError`.

    The library checks all arguments before it works and names the one at fault. A cure of the form
    ``backend='numpy'`` becomes the option that it stands for.
    """
    from ..dynamics import ConvergenceError

    try:
        yield
    except (ValueError, TypeError, MemoryError, ConvergenceError, ImportError) as error:
        text = re.sub(r"`(\w+)='(\w+)'`", r"`--\1 \2`", str(error))
        raise UserError(text or type(error).__name__) from error
