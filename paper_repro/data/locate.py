"""Where data sets in the IDX format lie on this machine, if they do."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from ..errors import UserError
from .dataset import Data
from .idx import is_idx_folder, load_idx_pool
from .images import Images, Split, digits_pool, split_images

__all__ = ["SHARED", "found", "load_named", "load_pool", "locate"]

SHARED = Path("/usr/share/datasets")
"""Where Debian's packages of data sets, such as ``dataset-fashion-mnist``, put them."""


def locate(name: str) -> Path | None:
    """Return the folder of the IDX files of `name`, or None.

    ``$WARMFLOW_DATA/name`` comes before Debian's ``/usr/share/datasets/name``.
    """
    roots = [SHARED]
    if own := os.environ.get("WARMFLOW_DATA"):
        roots.insert(0, Path(own))
    for root in roots:
        if is_idx_folder(root / name):
            return root / name
    return None


def found(*names: str) -> tuple[str, ...]:
    """Return those of `names` that are on this machine; digits always are."""
    return tuple(name for name in names if name == "digits" or locate(name) is not None)


@lru_cache(maxsize=4)
def _pool(name: str, folder: Path | None) -> Images:
    return digits_pool() if folder is None else load_idx_pool(folder)


def load_pool(name: str) -> Images:
    """Return all images of ``"digits"``, or the training images of what `locate` finds."""
    return _pool(name, None if name == "digits" else _folder(name))


def load_named(name: str, split: Split) -> Data:
    """Load ``"digits"``, or the data set that `locate` finds, and split it.

    The images of one data set are split, also where it has a test set of its own.
    """
    return split_images(name, load_pool(name), split)


def _folder(name: str) -> Path:
    folder = locate(name)
    if folder is None:
        raise UserError(
            f"{name} is not on this machine: put its IDX files into $WARMFLOW_DATA/{name}"
        )
    return folder
