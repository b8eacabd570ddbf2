"""What ``warmflow verify`` leaves behind: certificates, a page to read, and figures."""

from __future__ import annotations

from .folder import VerificationFolder

__all__ = ["VerificationFolder"]
