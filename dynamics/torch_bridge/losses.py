"""Which losses are let in: those with one number for each sample, however they are written."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..types import Array

__all__ = ["Loss", "admit_loss", "telling_rows"]

Loss = Callable[[Array, Array], Array]
"""Outputs ``(b, ...)`` and targets ``(b, ...)`` to losses ``(b,)``."""


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
