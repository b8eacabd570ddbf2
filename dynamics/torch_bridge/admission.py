"""Which modules and data are let in.

A module is copied, so that nobody else's training, mode or device changes a problem under way. What
cannot have a loss for each sample, or has no derivative, is refused here where the name tells
(batch statistics, random layers, compiled modules), and in ``probes`` where only trying tells.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .. import checks
from ..types import Array

__all__ = [
    "admit_constants",
    "admit_data",
    "admit_module",
    "require_torch",
    "torch_dtype",
]

DTYPES = ("float32", "float64")


def require_torch(who: str) -> Any:
    """Return torch, or say in one line how to get it."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{who} needs torch, which cannot be imported ({error}); run "
            "`pip install 'warmflow[torch]'`."
        ) from None
    return torch


def torch_dtype(dtype: Any) -> Any:
    """Return the torch dtype that ``"float32"``, ``"float64"`` or a dtype of torch means."""
    import torch

    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(
            f"`dtype` must be one of {', '.join(DTYPES)}; got {dtype!r} (that of the module, where "
            "none is given)."
        )
    return getattr(torch, name)


def admit_constants(value: Any) -> tuple[float, float]:
    """Return bounds ``0 <= mu <= L`` of the Hessian."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"`constants` must be a pair (mu, L); got {value!r}.")
    mu, L = (checks.nonnegative("constants", part) for part in value)
    if not 0 <= mu <= L or L == 0:
        raise ValueError(f"`constants` must satisfy 0 <= mu <= L and L > 0; got ({mu}, {L}).")
    return mu, L


# ---------------------------------------------------------------------- modules
def admit_module(module: Any, dtype: Any, device: Any) -> Any:
    """Return a copy of a module, of one dtype and on one device, fit for per-sample losses.

    Raises
    ------
    TypeError, ValueError
        For what is no module, is compiled, has no or unsuitable parameters, or has layers whose
        losses are random or depend on the other samples.
    """
    from torch import nn

    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module; got {type(module).__name__}.")
    for name, part in module.named_modules():
        _check_not_compiled(name, part)
        _check_layer(name, part)
    _check_parameters(module)
    try:
        own = copy.deepcopy(module)
    except Exception as error:
        raise ValueError(f"`module` cannot be copied ({error}).") from None
    first = next(own.parameters())
    wanted = torch_dtype(first.dtype if dtype is None else dtype)
    try:
        return own.to(device=first.device if device is None else device, dtype=wanted)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"`device` must be one that works here; got {device!r} ({reason})."
        ) from None


def _place(name: str) -> str:
    """Spell where in a module a part sits."""
    return f" (at {name!r})" if name else ""


def _check_not_compiled(name: str, part: Any) -> None:
    """Refuse compiled and wrapped modules: functional derivatives do not reach inside."""
    import torch
    from torch import nn

    wrapped = "_orig_mod" in part._modules
    if wrapped or getattr(part, "_compiled_call_impl", None) is not None:
        cure = "the module that it was compiled from (`module._orig_mod`)" if wrapped else "a copy"
        raise ValueError(
            f"`module` must not be compiled{_place(name)}; pass {cure} without torch.compile."
        )
    if isinstance(part, torch.jit.ScriptModule):
        raise ValueError(
            f"`module` must not be a TorchScript module{_place(name)}; pass the Python module."
        )
    if isinstance(part, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ValueError(
            f"`module` must not be wrapped in {type(part).__name__}; pass `module.module`."
        )


def _check_layer(name: str, part: Any) -> None:
    """Refuse layers that are random, mix the samples of a batch, or mask their gradients."""
    from torch import nn

    # nn.Dropout and its kin have `p`; recurrent layers and attention have `dropout`.
    is_dropout = isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0
    rate = getattr(part, "dropout", 0.0)
    drops = is_dropout or (isinstance(rate, float) and rate > 0)
    if part.training and (drops or isinstance(part, nn.RReLU)):
        raise ValueError(
            f"`module` must have no random layer; got {type(part).__name__} in training mode"
            f"{_place(name)}: call `module.eval()`, or set its rate to 0."
        )
    if isinstance(part, nn.Embedding) and part.padding_idx is not None:
        raise ValueError(
            f"`module` must have gradients that are derivatives; Embedding{_place(name)} with "
            "`padding_idx` masks them: pass padding_idx=None."
        )
    if not isinstance(part, nn.modules.batchnorm._NormBase):
        return
    over_batch = isinstance(part, nn.modules.batchnorm._BatchNorm)
    has_statistics = part.running_mean is not None
    if over_batch and not has_statistics:
        raise ValueError(
            f"`module` must treat samples one by one; got {type(part).__name__} without running "
            f"statistics{_place(name)}, which mixes them in every mode: use GroupNorm or LayerNorm."
        )
    if part.training and has_statistics:
        raise ValueError(
            f"`module` must treat samples one by one; got {type(part).__name__} in training mode"
            f"{_place(name)}, where a loss depends on the whole batch: call `module.eval()` (its "
            "running statistics are then constants), or use GroupNorm or LayerNorm."
        )


def _check_parameters(module: Any) -> None:
    """Refuse modules without parameters that can be trained, or with unsuitable ones."""
    from torch.nn.parameter import is_lazy

    trained = 0
    for name, value in module.named_parameters():
        if is_lazy(value):
            raise ValueError(
                f"`module` has a parameter without a shape yet ({name!r}); call the module once."
            )
        if value.is_meta:
            raise ValueError(f"`module` must have values; {name!r} is on the meta device.")
        if not value.is_floating_point():
            raise ValueError(f"`module` must have real parameters; {name!r} is {value.dtype}.")
        trained += int(value.requires_grad)
    if not trained:
        raise ValueError("`module` must have a parameter that requires a gradient; it has none.")


# ---------------------------------------------------------------------- data
def admit_data(name: str, pair: Any, dtype: Any, device: Any) -> tuple[Array, Array]:
    """Return inputs and targets ``(b, ...)`` as tensors: floats in ``dtype``, integers as int64.

    ``pair`` is a pair of tensors or arrays, or a dataset whose items are pairs.
    """
    import torch

    if isinstance(pair, torch.utils.data.Dataset):
        pair = _stack(name, pair)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(
            f"`{name}` must be a pair (inputs, targets) or a torch Dataset of such pairs; "
            f"got {type(pair).__name__}."
        )
    X, y = (_tensor(f"{name}[{k}]", part, dtype, device) for k, part in enumerate(pair))
    if X.shape[0] != y.shape[0] or X.shape[0] == 0:
        raise ValueError(
            f"`{name}` must have as many targets as inputs, at least one; got {X.shape[0]} inputs "
            f"and {y.shape[0]} targets."
        )
    return X, y


def _stack(name: str, dataset: Any) -> tuple[Array, Array]:
    """Return all items of a dataset as two tensors."""
    import torch

    try:
        parts = list(torch.utils.data.DataLoader(dataset, batch_size=256))
    except (TypeError, RuntimeError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:200]
        raise TypeError(f"`{name}` cannot be stacked into two tensors: {reason}") from None
    if not parts or any(not isinstance(part, tuple | list) or len(part) != 2 for part in parts):
        raise TypeError(f"`{name}` must be a dataset of pairs (input, target) with a length.")
    columns = list(zip(*parts, strict=True))
    if not all(isinstance(row, torch.Tensor) for column in columns for row in column):
        raise TypeError(f"`{name}` must have tensors or numbers as inputs and targets.")
    X, y = (torch.cat(column) for column in columns)
    return X, y


def _tensor(name: str, value: Any, dtype: Any, device: Any) -> Array:
    """Return a tensor of its own with at least one axis and finite entries."""
    import torch

    if not isinstance(value, torch.Tensor):
        try:
            value = torch.as_tensor(np.array(value))
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise TypeError(
                f"`{name}` must be a tensor or a rectangular array; got {kind}."
            ) from None
    value = value.detach()
    if value.is_complex() or value.ndim == 0:
        raise ValueError(f"`{name}` must be real with one row for each sample; got {value.dtype}.")
    if value.is_floating_point():
        value = value.to(dtype=dtype, device=device, copy=True)
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"`{name}` must be finite; got NaN or an infinite entry.")
        return value
    return value.to(dtype=torch.int64, device=device, copy=True)
