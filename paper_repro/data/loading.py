"""From what a user types after ``--data`` to `Data`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from .corruption import Corruption, Law, corrupt
from .dataset import Data, Kind
from .idx import is_idx_folder, load_idx_folder
from .images import Split, digits
from .tables import load_csv_pair, load_npz
from .toy import Toy

__all__ = ["Request", "load"]

A = TypeVar("A")
_CURE = "give toy, digits, an .npz file, TRAIN.csv,VAL.csv or a folder of IDX or CSV files"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to load, and how.

    Parameters
    ----------
    source : str
        ``"toy"``, ``"digits"`` or a path: an `.npz` archive; ``TRAIN.csv,VAL.csv``; a folder
        with ``train.csv``, ``val.csv`` [, ``test.csv``]; a folder of IDX files.
    kind : {"least-squares", "softmax"}, optional
        None decides by the labels: integers mean softmax.
    seed : int
        Root seed of everything random about the data.
    fraction : float
        Share of training labels to corrupt.
    law : {"uniform", "wrong"}
        Law of the corruption.
    split : Split, optional
        Sizes for image data; None means 1000/250 for digits and 2000/500 for IDX folders.
    n : int, optional
        Number of training samples of the toy, or of images, in place of their own.
    noise : float, optional
        Standard deviation of y given x of the toy, in place of its own.
    """

    source: str
    kind: Kind | None = None
    seed: int = 0
    fraction: float = 0.0
    law: Law = "uniform"
    split: Split | None = None
    n: int | None = None
    noise: float | None = None


def load(request: Request) -> Data:
    """Load, and corrupt if asked."""
    data = _load_clean(request)
    if request.kind is not None and data.kind != request.kind:
        raise UserError(f"{request.source} is {data.kind} data; leave --problem {request.kind} out")
    if request.fraction == 0:
        return data
    if data.kind != "softmax":
        raise UserError(
            f"--corruption {request.fraction} needs class labels, but {request.source} is "
            "regression data; leave it out"
        )
    return corrupt(data, Corruption(fraction=request.fraction, law=request.law, seed=request.seed))


def _load_clean(request: Request) -> Data:
    if request.source == "toy":
        wanted = {"n": request.n, "noise": request.noise}
        chosen: dict[str, Any] = {k: v for k, v in wanted.items() if v is not None}
        return _checked(lambda: Toy(seed=request.seed, **chosen).make())
    if request.noise is not None:
        raise UserError(f"--noise belongs to the toy; {request.source} has its own")
    if request.source == "digits":
        return digits(_split(request, 1000, 250))
    if request.n is not None and not (Path(request.source).is_dir()):
        raise UserError(f"--n belongs to the toy and to images; {request.source} has its own size")
    if "," in request.source and not Path(request.source).exists():
        train, val, *test = (Path(part) for part in request.source.split(","))
        if len(test) > 1:
            raise UserError(f"{request.source}: too many files; give TRAIN.csv,VAL.csv[,TEST.csv]")
        return load_csv_pair(train, val, test[0] if test else None, kind=request.kind)
    path = Path(request.source)
    if not path.exists():
        raise UserError(f"{request.source}: no such file or folder; {_CURE}")
    if path.is_dir():
        return _load_folder(path, request)
    if path.suffix == ".csv":
        raise UserError(f"{path}: one CSV file has no validation samples; give TRAIN.csv,VAL.csv")
    if path.suffix != ".npz":
        raise UserError(f"{path}: unknown kind of file; {_CURE}")
    return load_npz(path, request.kind)


def _split(request: Request, n: int, m: int) -> Split:
    """Return the asked sizes, or these."""
    split = request.split or Split(n=n, m=m, seed=request.seed)
    own_n = split.n if request.n is None else request.n
    return _checked(lambda: replace(split, n=own_n))


def _checked(make: Callable[[], A]) -> A:
    """Return what ``make`` makes; a wrong size or noise is a fault of the user."""
    try:
        return make()
    except ValueError as error:
        raise UserError(str(error)) from error


def _load_folder(folder: Path, request: Request) -> Data:
    folder = folder.resolve()
    if is_idx_folder(folder):
        return load_idx_folder(folder, _split(request, 2000, 500))
    if request.n is not None:
        raise UserError(f"--n belongs to the toy and to images; {folder} has its own size")
    train, val, test = (folder / f"{role}.csv" for role in ("train", "val", "test"))
    if train.exists() and val.exists():
        return load_csv_pair(train, val, test if test.exists() else None, request.kind)
    raise UserError(f"{folder}: holds neither IDX files nor train.csv and val.csv; {_CURE}")
