"""The forward pass of a module as a pure function of a flat parameter vector."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..types import Array

__all__ = ["ForwardPass"]


class ForwardPass:
    """``outputs(theta, X)`` of a module that is never changed.

    Parameters
    ----------
    module : torch.nn.Module
        Admitted, and nobody else's. Parameters that require a gradient make up theta; all others,
        and the buffers, are constants.

    Attributes
    ----------
    theta : (p,)
        The parameters that the module came with.
    num_params : int
    shapes : tuple of torch.Size
        Of the parameters that make up theta, in order.
    label : str
        The class of the module.
    """

    def __init__(self, module: Any) -> None:
        import torch

        trained = {k: a for k, a in module.named_parameters() if a.requires_grad}
        self._names = tuple(trained)
        self.shapes = tuple(a.shape for a in trained.values())
        self._sizes = [a.numel() for a in trained.values()]
        self.theta = torch.cat([a.detach().reshape(-1) for a in trained.values()])
        self.num_params = sum(self._sizes)
        self._module = module
        self.label = type(module).__name__

    def outputs(self, theta: Array, X: Array) -> Array:
        """Return the outputs ``(b, ...)`` for parameters (p,) and inputs ``(b, ...)``."""
        from torch.func import functional_call

        with _plain_attention():
            return functional_call(self._module, self._named(theta), (X,))

    def check(self, name: str, X: Array) -> Array:
        """Return the outputs for the inputs of the argument ``name``, or say what is wrong."""
        import torch

        try:
            outputs = self.outputs(self.theta, X)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"`module` cannot compute outputs for `{name}`, inputs of shape {tuple(X.shape)} "
                f"and {X.dtype}: {error}"
            ) from None
        if not isinstance(outputs, torch.Tensor):
            raise TypeError(f"`module` must return one tensor; got {type(outputs).__name__}.")
        return outputs

    def buffers(self) -> list[Array]:
        """Return copies of the module's buffers."""
        return [buffer.clone() for buffer in self._module.buffers()]

    def module_at(self, theta: Array) -> Any:
        """Return a copy of the module with other parameters, that require a gradient again."""
        import torch

        own = copy.deepcopy(self._module)
        parameters = dict(own.named_parameters())
        with torch.no_grad():
            for name, value in self._named(theta).items():
                parameters[name].copy_(value)
        return own

    def to(self, device: Any, dtype: str | None) -> ForwardPass:
        """Return the same on another device or in another dtype."""
        import torch

        own = copy.deepcopy(self._module)
        return ForwardPass(own.to(device=device, dtype=getattr(torch, dtype) if dtype else None))

    def fingerprint(self) -> str:
        """Return a hash of the module's text, parameters and buffers."""
        digest = hashlib.sha256(repr(self._module).encode())
        for name, value in self._module.state_dict().items():
            array = np.ascontiguousarray(value.detach().cpu().numpy())
            digest.update(f"{name} {array.shape} {array.dtype}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _named(self, theta: Array) -> dict[str, Array]:
        """Return the flat vector as named parameters."""
        parts = theta.split(self._sizes)
        shaped = zip(self._names, parts, self.shapes, strict=True)
        return {name: part.reshape(shape) for name, part, shape in shaped}


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Compute attention by plain operations: the fused ones cannot be differentiated twice."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
