"""Checkpoints that survive a kill: written aside, then renamed; read without running code.

A checkpoint is one NumPy archive: arrays, and one text in JSON that says where each belongs.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from array_api_compat import is_array_api_obj

from .leaves import leaves, with_leaves
from .namespaces import to_numpy
from .problems import Problem
from .storage.atomic import atomic_file

__all__ = [
    "check_stored",
    "clear_leftovers",
    "damaged",
    "foreign",
    "pack",
    "path_of",
    "read",
    "unpack",
    "write",
]

FORMAT = 1
PLACE = {"array", "strides"}
"""Keys of what stands in the text for an array."""


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


def check_stored(
    stored: dict[str, str], spec: dict[str, str], path: Path | None, *, resume: bool, call: str
) -> None:
    """Refuse to overwrite a checkpoint, or to go on from that of another run.

    Parameters
    ----------
    stored, spec : dict
        What determines the run of the checkpoint, and the present one.
    call : str
        What to call to go on.
    """
    if not resume:
        raise ValueError(
            f"`checkpoint` {path} exists; call `{call}(..., resume=True)` to go on from it, or "
            "delete it."
        )
    for name, value in spec.items():
        if stored.get(name) != value:
            raise ValueError(
                f"`checkpoint` {path} belongs to another run: its {name} was {stored.get(name)}; "
                f"now it is {value}."
            )


def damaged(path: Path, error: Exception) -> ValueError:
    """Return the error for a file that cannot be read, with its cure."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:100]
    return ValueError(f"`checkpoint` {path} cannot be read ({reason}); delete it to start anew.")


def foreign(path: Path) -> ValueError:
    """Return the error for a file that can be read and is something else, with its cure."""
    return ValueError(f"`checkpoint` {path} is no checkpoint of this version; delete it.")


def write(path: Path, content: dict[str, Any]) -> None:
    """Write NumPy arrays, numbers and strings in dicts and lists so that a kill leaves old or new.

    Keys are strings.
    """
    arrays: dict[str, np.ndarray] = {}

    def put(value: Any) -> dict[str, Any]:
        assert isinstance(value, np.ndarray), f"a checkpoint cannot hold {value!r}"
        name = f"array_{len(arrays)}"
        arrays[name] = value
        return {"array": name, "strides": [size // value.itemsize for size in value.strides]}

    text = json.dumps({"format": FORMAT, **content}, default=put)
    with atomic_file(path) as aside, aside.open("wb") as stream:
        np.savez(stream, content=np.array(text), **arrays)  # type: ignore[arg-type]


def clear_leftovers(path: Path) -> None:
    """Remove what writers of a checkpoint left beside it when they were killed."""
    name = re.compile(r"\.[0-9a-f]{12}-" + re.escape(path.name))
    for part in path.parent.glob(".*") if path.parent.is_dir() else ():
        if name.fullmatch(part.name):
            part.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any] | None:
    """Return what was written, None where nothing was; nothing in the file is executed.

    Raises
    ------
    ValueError
        For a file that is damaged, or no checkpoint.
    """
    if not path.exists():
        return None
    with path.open("rb") as stream:
        try:
            content = _content(stream)
        except MemoryError:
            raise
        except Exception as error:
            raise damaged(path, error) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise foreign(path)
    return content


def pack(state: Any) -> list[Any]:
    """Return the leaves of a state, arrays of any library among them as NumPy arrays.

    Raises
    ------
    TypeError
        For what cannot be written down, such as functions.
    """
    return [_packed(leaf) for leaf in leaves(state)]


def unpack(problem: Problem, template: Any, values: list[Any]) -> Any:
    """Return a state of the kind of ``template`` from what :func:`pack` returned.

    Arrays come back in the library and on the device of the problem.

    Raises
    ------
    ValueError
        When the template has other leaves.
    """
    return with_leaves(template, [_unpacked(problem, value) for value in values])


def _packed(leaf: Any) -> Any:
    """Return a leaf as JSON knows it, or a NumPy array under the name of its kind."""
    if leaf is None or (isinstance(leaf, bool | int | float | str) and not _is_scalar(leaf)):
        return leaf
    array = np.asarray(to_numpy(leaf)) if is_array_api_obj(leaf) else np.empty(0, dtype=object)
    if array.dtype.hasobject:
        raise TypeError(f"`checkpoint` cannot hold a state with a {type(leaf).__name__} in it.")
    if _is_scalar(leaf):
        return {"scalar": array}
    return {"host" if isinstance(leaf, np.ndarray) else "native": array}


def _unpacked(problem: Problem, value: Any) -> Any:
    """Return the leaf that :func:`_packed` wrote down."""
    if not isinstance(value, dict):
        return value
    ((kind, array),) = value.items()
    if kind == "native":
        return problem.xp.asarray(array, device=problem.device)
    return array if kind == "host" else array[()]


def _is_scalar(leaf: Any) -> bool:
    """Tell numbers of NumPy from those of Python: in sums they may have another precision."""
    return isinstance(leaf, np.generic)


def _content(stream: BinaryIO) -> Any:
    """Return the text of an archive with the arrays in their places."""
    with zipfile.ZipFile(stream) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"{broken} does not have its checksum")
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as parts:

        def get(part: dict[str, Any]) -> Any:
            if part.keys() != PLACE:
                return part
            return _laid_out(parts[part["array"]], part["strides"])

        return json.loads(str(parts["content"]), object_hook=get)


def _laid_out(values: np.ndarray, strides: list[int]) -> np.ndarray:
    """Return an array whose memory has the given strides, in items.

    Sums depend on the layout in their last digits: a state that was a transpose or a broadcast view
    must be one again.
    """
    if values.size == 0 or [size // values.itemsize for size in values.strides] == strides:
        return values
    spans = [(length - 1) * step for length, step in zip(values.shape, strides, strict=True)]
    first = -sum(span for span in spans if span < 0)
    memory = np.empty(1 + sum(abs(span) for span in spans), dtype=values.dtype)
    view = np.lib.stride_tricks.as_strided(
        memory[first:], values.shape, [step * values.itemsize for step in strides]
    )
    view[...] = values
    return view
