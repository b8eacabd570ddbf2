"""Checkpoints that survive a kill: written aside, then renamed; read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...dynamics.leaves import leaves, with_leaves
from ...dynamics.storage.atomic import atomic_file

__all__ = ["check_stored", "pack", "path_of", "read", "unpack", "write"]

FORMAT = 1


def path_of(checkpoint: Any) -> Path | None:
    """Return where checkpoints go, None for nowhere.

    Raises
    ------
    TypeError, ValueError
        For what is no path, or a folder.
    """
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"`checkpoint` must be a path; got {checkpoint!r}.")
    path = Path(checkpoint)
    if path.is_dir():
        raise ValueError(f"`checkpoint` must be a file; got the folder {path}.")
    return path


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
        reason = str(error).splitlines()[0][:100]
        raise ValueError(
            f"`checkpoint` {path} cannot be read ({reason}); delete it to start anew."
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"`checkpoint` {path} is no checkpoint of this version; delete it.")
    return content


def check_stored(
    stored: dict[str, Any], spec: dict[str, str], path: Path | None, resume: bool
) -> None:
    """Refuse to overwrite a checkpoint, or to go on from that of another run."""
    if not resume:
        raise ValueError(
            f"`checkpoint` {path} exists; call `fit(..., resume=True)` to go on from it, or delete "
            "it."
        )
    for name, value in spec.items():
        if stored["spec"].get(name) != value:
            raise ValueError(
                f"`checkpoint` {path} belongs to another run: its {name} was "
                f"{stored['spec'].get(name)}; now it is {value}."
            )


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
