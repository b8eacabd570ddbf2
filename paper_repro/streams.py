"""Named random streams: every random number has a name and comes from one root seed.

A stream is a function of ``(root_seed, name)`` alone. Drawing another stream, adding an item or
adding a point to a grid therefore changes no number that was drawn before.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["stream"]


def stream(root_seed: int, name: str) -> np.random.Generator:
    """Return the generator called `name` under `root_seed`.

    Parameters
    ----------
    root_seed : int
        Non-negative seed of the whole run.
    name : str
        What the numbers are for, such as ``"toy/train/noise"``. Its SHA-256 becomes the spawn
        key of a `numpy.random.SeedSequence`, so streams of different names are independent.
    """
    if root_seed < 0:
        raise ValueError(f"`root_seed` must be at least 0; got {root_seed}.")
    if not name:
        raise ValueError("`name` must not be empty.")
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    sequence = np.random.SeedSequence(root_seed, spawn_key=[int(word) for word in words])
    return np.random.Generator(np.random.PCG64(sequence))
