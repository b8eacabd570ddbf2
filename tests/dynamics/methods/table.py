"""All methods, found in ``methods.__all__``, so that a new one meets the tests of the contract."""

import inspect

from warmflow.dynamics import methods

__all__ = ["ALL", "KINDS", "name"]


def is_method(kind: object) -> bool:
    """Tell whether a public name is a method that can be made."""
    return (
        inspect.isclass(kind) and issubclass(kind, methods.Method) and not inspect.isabstract(kind)
    )


KINDS: dict[str, type[methods.Method]] = {
    key: getattr(methods, key) for key in methods.__all__ if is_method(getattr(methods, key))
}
"""Every method by its name."""

ALL: list[methods.Method] = [kind() for kind in KINDS.values()]
"""Every method with its default knobs."""


def name(value: object) -> str:
    """Return how a method or geometry is called in the names of tests."""
    return type(value).__name__
