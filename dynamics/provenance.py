"""Where a result came from: the one record that every stored file carries."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["config_hash", "record"]

_LIBRARIES = (
    "numpy", "scipy", "xarray", "zarr", "numba", "scikit-learn", "sympy",
    "python-flint", "torch", "jax", "cupy", "cupy-cuda12x", "cupy-cuda13x",
)  # fmt: skip
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def record(
    config: dict[str, Any],
    *,
    root_seed: int | None = None,
    dtype: str = "float64",
    device: str = "cpu",
    wall_seconds: float | None = None,
) -> dict[str, Any]:
    """Return the provenance of a result as a JSON-ready dictionary.

    Parameters
    ----------
    config : dict
        Everything that determines the numbers; hashed in canonical JSON.
    root_seed : int, optional
        Seed from which every random stream derives.
    wall_seconds : float, optional
        Left out (None) of files that must be reproducible bit for bit.

    Returns
    -------
    dict
        Keys ``version, git_commit, git_dirty, config_hash, root_seed, libraries, threads, dtype,
        device, command, wall_seconds`` and the configuration itself.
    """
    commit, dirty = _git_state()
    return {
        "version": _version("warmflow"),
        "git_commit": commit,
        "git_dirty": dirty,
        "config": _plain(config),
        "config_hash": config_hash(config),
        "root_seed": root_seed,
        "libraries": _libraries(),
        "threads": {name: os.environ[name] for name in _THREADS if name in os.environ},
        "dtype": dtype,
        "device": device,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else "",
        "wall_seconds": wall_seconds,
    }


def config_hash(config: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of ``config``; arrays count by their content."""
    text = json.dumps(_plain(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return ``value`` in JSON types; a large array becomes its shape, dtype and hash."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        if value.size <= 64:
            return value.tolist()
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"shape": list(value.shape), "dtype": str(value.dtype), "sha256": digest}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)


@lru_cache
def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


@lru_cache(maxsize=1)
def _libraries() -> dict[str, str]:
    versions = {name: _version(name) for name in _LIBRARIES}
    found = {name: version for name, version in versions.items() if version != "unknown"}
    return {"python": platform.python_version(), **found}


@lru_cache(maxsize=1)
def _git_state() -> tuple[str, bool | None]:
    """Return commit and dirty flag of the package's own checkout, or ("unknown", None)."""
    package = Path(__file__).resolve().parent.parent
    if not (package / ".git").exists():
        return "unknown", None

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", None
