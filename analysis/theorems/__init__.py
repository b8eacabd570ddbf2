"""Every statement of the theory, verified: a function each, and :func:`verify_all`.

Statements T1-T12 are those of the theory page; I1-I5 are identities of the hypergradient;
M1-M8 say what each method does to the weights; S1-S5 are
proved symbolically with SymPy and R1-R2 with interval arithmetic (extra ``certify``).
"""

from __future__ import annotations

from .certificate import Certificate, Check, Statement
from .registry import NAMES, find, missing_library, statement
from .verify import verify_all

__all__ = [
    "NAMES", "Certificate", "Check", "Statement", "find", "missing_library", "statement",
    "verify_all",
]  # fmt: skip
