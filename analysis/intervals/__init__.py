"""Computer-assisted proofs by interval arithmetic (python-flint, extra ``certify``).

``krawczyk`` proves zeros of any smooth system; ``enclosure`` states the rest points of the frozen
flow as such a system; ``proof`` and ``supports`` join them into theorems about one given problem:

- :func:`prove_rest_point`: an attracting rest point with this support exists in this box;
- :func:`exclude_dense_supports`: no rest point has more than p nonzero weights.

A verdict is "proved" or "not proved", never "false".
"""

from __future__ import annotations

from .krawczyk import enclose_zero, krawczyk
from .proof import RestPointProof, prove_rest_point
from .supports import SupportExclusion, exclude_dense_supports

__all__ = [
    "RestPointProof",
    "SupportExclusion",
    "enclose_zero",
    "exclude_dense_supports",
    "krawczyk",
    "prove_rest_point",
]
