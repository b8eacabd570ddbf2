"""The array-API engine: the same Euler steps on NumPy, torch, CuPy and JAX arrays."""

from __future__ import annotations

from .engine import PortableEngine

__all__ = ["PortableEngine"]
