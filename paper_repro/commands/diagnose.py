"""``warmflow diagnose``: weights from a file, or the run of a folder, explained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["add_arguments", "document", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "weights", type=Path, metavar="WEIGHTS",
        help="weights as .npy or .csv, or the folder of a `warmflow run`",
    )  # fmt: skip


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    path: Path = args.weights
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give weights as .npy or .csv, or DIR")
    found = _of_run(path) if path.is_dir() else _of_weights(path)
    print(f"verdict: {found['verdict']}")
    for name, value in found["evidence"].items():
        print(f"  {name.replace('_', ' ')}: {_text(value)}")
    print(f"advice: {found['advice']}")
    return 0


def document(report: Any) -> dict[str, Any]:
    """Verdict, evidence and advice of a diagnosis in JSON types."""
    from ...dynamics.plain import plain

    return {
        "verdict": str(report.verdict),
        "evidence": plain(report.evidence),
        "advice": report.advice,
    }


def _of_run(folder: Path) -> dict[str, Any]:
    import json

    try:
        found = json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder}: not a folder of `warmflow run` (no diagnosis.json)") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'diagnosis.json'}: cannot be read; run again") from error
    return dict(found)


def _of_weights(path: Path) -> dict[str, Any]:
    from ...analysis import diagnose
    from ..faults import faults_of_user

    w = _read(path)
    with faults_of_user():
        return document(diagnose(w))


def _read(path: Path) -> NDArray[np.float64]:
    import numpy as np

    try:
        if path.suffix == ".npy":
            w = np.load(path, allow_pickle=False)
        elif path.suffix == ".csv":
            w = np.loadtxt(_numbers(path), delimiter=",", ndmin=1)
        else:
            raise UserError(f"{path}: weights must be .npy or .csv")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: does not hold numbers ({error})") from error
    if isinstance(w, np.lib.npyio.NpzFile) or w.dtype.kind not in "buif":
        raise UserError(f"{path}: must hold one array of real numbers")
    w = np.squeeze(w)
    if w.ndim > 1:
        raise UserError(f"{path}: weights must be one row or one column; got shape {w.shape}")
    return np.atleast_1d(w).astype(np.float64)


def _numbers(path: Path) -> list[str]:
    """Lines of a CSV file, without a header."""
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    try:
        [float(cell) for cell in lines[0].split(",")] if lines else []
    except ValueError:
        del lines[0]
    if not lines:
        raise UserError(f"{path}: holds no numbers")
    return lines


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    return str(value)
