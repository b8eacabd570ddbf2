"""All methods, found in ``methods.__all__``, so that a new one meets the tests of the contract."""

import dataclasses
import inspect

from warmflow.dynamics import methods

__all__ = ["ALL", "KINDS", "has_knob", "name", "with_knobs"]


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


def has_knob(method: methods.Method, knob: str) -> bool:
    """Tell whether a method, or the one within a loop, has a knob."""
    method = method.method if isinstance(method, methods.InnerLoop) else method
    return knob in {f.name for f in dataclasses.fields(method)}


def with_knobs(method: methods.Method, **knobs: object) -> methods.Method:
    """Return the method with other knobs, those of the method within for a loop."""
    if isinstance(method, methods.InnerLoop):
        return dataclasses.replace(method, method=dataclasses.replace(method.method, **knobs))
    return dataclasses.replace(method, **knobs)
