"""Bilevel methods: each is a frozen dataclass with its own knobs, ``init`` and a pure ``step``."""

from __future__ import annotations

from .base import Method, State
from .exact import Exact
from .joint import Joint
from .soba import SOBA

__all__ = ["SOBA", "Exact", "Joint", "Method", "State"]
