"""Folders of IDX files, the format of MNIST and Fashion-MNIST, gzipped or not.

An IDX file is two zero bytes, a type code, the number of dimensions, each dimension as a
big-endian 32-bit integer, and then the values in C order.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .dataset import Data
from .images import Images, Split, split_images

__all__ = ["is_idx_folder", "load_idx_folder", "load_idx_pool", "read_idx"]

_NOTHING = (
    "no IDX images found; expected train-images-idx3-ubyte or t10k-images-idx3-ubyte (.gz or not)"
)
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """Read one IDX file; a name that ends in ``.gz`` is decompressed."""
    content = _read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise UserError(f"{path}: not an IDX file (wrong magic number); give MNIST-format files")
    num_dims = content[3]
    start = 4 + 4 * num_dims
    if num_dims == 0 or len(content) < start:
        raise UserError(f"{path}: the IDX header is cut short; download the file again")
    shape = struct.unpack(f">{num_dims}I", content[4:start])
    dtype = np.dtype(_TYPES[content[2]])
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise UserError(
            f"{path}: the header {shape} promises {expected} bytes of data, but "
            f"{len(content) - start} follow; download the file again"
        )
    return np.frombuffer(content, dtype=dtype, offset=start).reshape(shape)


def is_idx_folder(folder: Path) -> bool:
    """Whether `folder` holds an image file under a name of the MNIST family."""
    return any(_find(folder, stem, "images") is not None for stem in ("train", "t10k"))


def load_idx_folder(folder: Path, split: Split) -> Data:
    """Load a folder of IDX files.

    With ``train-*`` files, these give training and validation images and the ``t10k-*`` files,
    where present, the test images. With ``t10k-*`` files only, these are split in three.
    """
    train = _load_pair(folder, "train")
    test = _load_pair(folder, "t10k")
    pool = train or test
    if pool is None:
        raise UserError(f"{folder}: {_NOTHING}")
    if train is None or test is None:
        return split_images(folder.name, pool, split)
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        raise UserError(
            f"{folder}: training images are {train.pixels.shape[1:]} and test images "
            f"{test.pixels.shape[1:]} pixels; the files do not belong together"
        )
    classes = max(train.num_classes, test.num_classes)
    train = Images(pixels=train.pixels, labels=train.labels, num_classes=classes)
    return split_images(folder.name, train, split, test)


def load_idx_pool(folder: Path) -> Images:
    """Load the ``train-*`` images of a folder of IDX files, or the ``t10k-*`` images if alone."""
    pool = _load_pair(folder, "train") or _load_pair(folder, "t10k")
    if pool is None:
        raise UserError(f"{folder}: {_NOTHING}")
    return pool


def _find(folder: Path, stem: str, what: str) -> Path | None:
    dims = "3" if what == "images" else "1"
    for separator in ("-", "."):
        for ending in ("", ".gz"):
            path = folder / f"{stem}-{what}{separator}idx{dims}-ubyte{ending}"
            if path.exists():
                return path
    return None


def _load_pair(folder: Path, stem: str) -> Images | None:
    image_path, label_path = _find(folder, stem, "images"), _find(folder, stem, "labels")
    if image_path is None:
        return None
    if label_path is None:
        raise UserError(f"{folder}: {image_path.name} is there, but its label file is missing")
    pixels, labels = read_idx(image_path), read_idx(label_path)
    if pixels.dtype != np.uint8 or pixels.ndim < 2:
        raise UserError(f"{image_path}: expected images of unsigned bytes; got {pixels.dtype}")
    if labels.shape != (len(pixels),) or labels.dtype != np.uint8:
        raise UserError(
            f"{label_path}: expected {len(pixels)} labels of unsigned bytes, one for each image "
            f"of {image_path.name}; got {labels.dtype} of shape {labels.shape}"
        )
    if labels.size == 0:
        raise UserError(f"{image_path}: holds no images; download the file again")
    num_classes = max(int(labels.max()) + 1, 2)
    return Images(pixels=pixels / 255.0, labels=labels.astype(np.int64), num_classes=num_classes)


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file ({error}); download it again") from error
