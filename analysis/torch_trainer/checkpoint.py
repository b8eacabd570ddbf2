"""Checkpoints of a trainer, in torch's format; the rest is :mod:`warmflow.dynamics.checkpoints`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...dynamics.checkpoints import damaged, foreign
from ...dynamics.leaves import leaves, with_leaves
from ...dynamics.storage.atomic import atomic_file

__all__ = ["pack", "read", "unpack", "write"]

FORMAT = 1


def write(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers, strings and containers of them so that a kill leaves old or new."""
    import torch

    with atomic_file(path) as aside:
        torch.save({"format": FORMAT, **content}, aside)


def read(path: Path, device: Any) -> dict[str, Any] | None:
    """Return what was written, None where nothing was; nothing in the file is executed.

    Raises
    ------
    ValueError
        For a file that is damaged, or no checkpoint.
    """
    import torch

    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise damaged(path, error) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise foreign(path)
    return content


def pack(state: Any) -> list[Any]:
    """Return the leaves of a state as tensors and numbers."""
    import torch

    def packed(leaf: Any) -> Any:
        if isinstance(leaf, np.generic):
            return leaf.item()
        return torch.as_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf

    return [packed(leaf) for leaf in leaves(state)]


def unpack(template: Any, values: list[Any]) -> Any:
    """Return a state of the kind of ``template`` from its leaves."""
    pairs = zip(leaves(template), values, strict=True)
    return with_leaves(template, [b.numpy() if isinstance(a, np.ndarray) else b for a, b in pairs])
