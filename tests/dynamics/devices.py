"""Array libraries under test, and a fake device on which waiting is an error.

``array_api_strict`` knows devices beside its CPU: an array on one of them cannot be read through
NumPy, and mixing devices fails. With :func:`no_waiting` its truth values and numbers cannot be read
either, which on a GPU would wait for all that was launched before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import array_api_strict
import pytest
from array_api_strict._array_object import Array

FAKE_GPU = array_api_strict.Device("device1")

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")

LIBRARIES = [
    pytest.param("array_api_strict"),
    pytest.param("torch", marks=needs_torch),
]
ALL_LIBRARIES = [*LIBRARIES, pytest.param("jax", marks=needs_jax)]


def library(name: str) -> object:
    """Return an array library by name; JAX with double precision."""
    if name == "torch":
        import torch

        return torch
    if name == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        return jax.numpy
    return array_api_strict


class HostWaited(AssertionError):
    """The host asked for a number that a device was still to compute."""


@contextmanager
def no_waiting() -> Iterator[None]:
    """Make every truth value and number of an array on the fake device an error."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__"):
            patch.setattr(Array, name, _trap(name, getattr(Array, name)))
        yield


def _trap(name: str, original):
    def trapped(self: Array):
        if self.device == FAKE_GPU:
            raise HostWaited(f"{name} of an array on a device")
        return original(self)

    return trapped
