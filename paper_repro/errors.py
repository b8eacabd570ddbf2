"""The one exception that the command line turns into one line and exit code 2."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(Exception):
    """A fault that the user can repair.

    The message is one line that names the file or the option, the fault and the cure; line
    breaks of wrapped messages are folded into spaces.
    """

    is_of_user = True

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
