"""What is let in: modules with per-sample losses, losses that have one number for each sample.

A module is copied, so that nobody else's training, mode or device changes a problem under way. What
cannot have a loss for each sample, or no derivative, is refused by name where the name tells (batch
statistics, random layers, compiled modules), and by trying where only trying tells.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks
from ..types import Array

__all__ = [
    "Loss",
    "admit_constants",
    "admit_data",
    "admit_loss",
    "admit_module",
    "require_torch",
    "telling_rows",
    "torch_dtype",
]

Loss = Callable[[Array, Array], Array]
"""Outputs ``(b, ...)`` and targets ``(b, ...)`` to losses ``(b,)``."""

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
        _check_deterministic(name, part)
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
    """Refuse modules that are compiled or wrapped: their derivatives cannot be taken functionally.

    The test with the plain module shows that compiling changes no result.
    """
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


def _check_deterministic(name: str, part: Any) -> None:
    """Refuse layers whose output is random or mixes the samples of a batch."""
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


# ---------------------------------------------------------------------- losses
def admit_loss(loss: Any, outputs: Array, targets: Array) -> Loss:
    """Return the loss of each sample, from a loss as torch users write it.

    A loss that returns one number for each sample is taken as it is. One that returns the mean or
    the sum over a batch is applied to every sample by itself, if that is what it is the mean or the
    sum of.

    Parameters
    ----------
    outputs, targets : (b, ...)
        A few samples to try the loss on, at least one.
    """
    if not callable(loss):
        raise TypeError(f"`loss` must be callable; got {type(loss).__name__}.")
    loss = _owned(loss, outputs)
    value = _try(loss, outputs, targets)
    if getattr(loss, "weight", None) is not None and not value.ndim:
        raise ValueError(
            "`loss` must return one number for each sample; got a weighted mean: pass "
            "`reduction='none'`."
        )
    if value.ndim:
        _check_rows(value, outputs, targets)
        return lambda out, y: loss(out, y).reshape(out.shape[0])
    return _one_by_one(loss, outputs, targets, value)


def telling_rows(targets: Array) -> Array:
    """Return the rows to try a loss on: evenly spread, and one of every label.

    Parameters
    ----------
    targets : (n, ...)

    Returns
    -------
    (b,)
        At most 64 and the number of labels.
    """
    import torch

    rows = np.unique(np.linspace(0, len(targets) - 1, 64).round().astype(int))
    if targets.ndim == 1 and not targets.is_floating_point():
        firsts = np.unique(targets.cpu().numpy(), return_index=True)[1]
        rows = np.union1d(rows, firsts[:256])
    return torch.as_tensor(rows, device=targets.device)


def _owned(loss: Any, outputs: Array) -> Any:
    """Return a copy of a loss module where the outputs are; functions are as they are."""
    from torch import nn

    if isinstance(loss, nn.Module):
        return copy.deepcopy(loss).to(device=outputs.device, dtype=outputs.dtype)
    return loss


def _try(loss: Loss, outputs: Array, targets: Array) -> Array:
    """Return the loss of some samples, or say that it cannot be computed."""
    import torch

    try:
        value = loss(outputs, targets)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"`loss` cannot be computed for outputs {tuple(outputs.shape)} {outputs.dtype} and "
            f"targets {tuple(targets.shape)} {targets.dtype}: {error}"
        ) from None
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"`loss` must return a tensor; got {type(value).__name__}.")
    return value


def _check_rows(value: Array, outputs: Array, targets: Array) -> None:
    """Refuse a loss that has not one number for each sample."""
    b = outputs.shape[0]
    if tuple(value.shape) not in ((b,), (b, 1)):
        raise ValueError(
            f"`loss` must return one number for each of the {b} samples, shape ({b},); got "
            f"{tuple(value.shape)} for outputs {tuple(outputs.shape)} and targets "
            f"{tuple(targets.shape)}."
        )


def _one_by_one(loss: Loss, outputs: Array, targets: Array, whole: Array) -> Loss:
    """Return the loss of each sample by itself, if a batch has the mean or the sum of them."""
    import torch

    def single(out: Array, y: Array) -> Array:
        return loss(out[None], y[None])

    def each(out: Array, y: Array) -> Array:
        return torch.func.vmap(single)(out, y)

    try:
        rows = each(outputs, targets)
    except (RuntimeError, ValueError) as error:
        rows, reason = None, str(error).splitlines()[0]
    else:
        reason = "it is neither the mean nor the sum of the losses of its samples"
    if rows is not None:
        tol = 100 * torch.finfo(whole.dtype).eps * (1 + rows.abs().sum())
        if min((whole - rows.mean()).abs(), (whole - rows.sum()).abs()) <= tol:
            return each
    raise ValueError(
        f"`loss` must return one number for each sample; got a single one, and {reason}: pass "
        "`reduction='none'`."
    )
