"""From functions of one theta to leading axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..types import Array

__all__ = ["over_cells"]


def over_cells(
    act: Callable[..., Array], args: tuple[Array, ...], *, vmaps: bool, at_once: int
) -> Array:
    """Apply a function of one-dimensional tensors to every cell of the leading axes.

    Arguments without leading axes are shared: what depends on them alone is computed once.

    Parameters
    ----------
    act : callable
        Of tensors ``(k,)``.
    args : tuple of (..., k)
    vmaps : bool
        Whether ``act`` runs under ``torch.func.vmap``; else cells run one after another.
    at_once : int
        Cells that run together.

    Returns
    -------
    (..., l)
        With the broadcast leading axes of all arguments, and without a graph.
    """
    import torch

    args = tuple(a.detach() for a in args)
    lead = np.broadcast_shapes(*(tuple(a.shape[:-1]) for a in args))
    if not lead:
        return act(*args).detach()
    is_shared = [a.shape[:-1].numel() == 1 for a in args]
    flat = [
        a.reshape(-1) if shared else a.expand(*lead, -1).reshape(-1, a.shape[-1])
        for a, shared in zip(args, is_shared, strict=True)
    ]
    if all(is_shared):
        out = act(*flat)[None]
    elif vmaps:
        axes = tuple(None if shared else 0 for shared in is_shared)
        out = torch.func.vmap(act, in_dims=axes, chunk_size=at_once)(*flat)
    else:
        pairs = list(zip(flat, is_shared, strict=True))
        cells = range(int(np.prod(lead)))
        out = torch.stack([act(*(a if s else a[k] for a, s in pairs)) for k in cells])
    return out.detach().reshape(*lead, *out.shape[1:])
